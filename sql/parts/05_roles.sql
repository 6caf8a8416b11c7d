/*
 * The three groups of users.  Roles belong to the whole server: they may be
 * there already, from another database or a restore, and stay when the
 * extension goes.  Two databases may get the extension at the same moment, and
 * then the second one waits for the first, and finds its role.
 */
DO $$
DECLARE
	v_role name;
BEGIN
	FOREACH v_role IN ARRAY ARRAY['somamem_writer', 'somamem_reader', 'somamem_admin'] LOOP
		CONTINUE WHEN EXISTS (SELECT 1 FROM pg_catalog.pg_roles r WHERE r.rolname = v_role);
		BEGIN
			EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', v_role);
		EXCEPTION WHEN duplicate_object OR unique_violation THEN
			NULL;
		END;
	END LOOP;
END
$$;
