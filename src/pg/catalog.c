#include "postgres.h"

#include "pg/catalog.h"

#include "catalog/namespace.h"
#include "commands/extension.h"
#include "utils/lsyscache.h"

Oid
smem_extension_oid(void)
{
	return get_extension_oid("somamem", true);
}

Oid
smem_relation_oid(const char *relname)
{
	Oid			schema = get_namespace_oid("somamem", true);
	Oid			oid = OidIsValid(schema) ? get_relname_relid(relname, schema) : InvalidOid;

	if (!OidIsValid(oid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relation \"somamem.%s\" does not exist", relname),
				 errhint("Run CREATE EXTENSION somamem in this database.")));
	return oid;
}

Oid
smem_segment_oid(int segment)
{
	char		name[NAMEDATALEN];

	snprintf(name, sizeof(name), "outbox_%d", segment);
	return smem_relation_oid(name);
}
