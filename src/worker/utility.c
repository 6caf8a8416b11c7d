/*
 * Utility statements that concern the workers: CREATE EXTENSION brings a
 * database to the launcher, and those that need a database without sessions
 * (DROP, RENAME, SET TABLESPACE, use as a template) stop its workers first.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pg/catalog.h"
#include "pg/quiesce.h"
#include "pg/shmem.h"
#include "pg/xact.h"
#include "pgstat.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/timestamp.h"
#include "worker/launcher.h"

static ProcessUtility_hook_type prev_utility = NULL;

/* The database that the statement wants without sessions, or NULL. */
static const char *
database_to_quiesce(Node *stmt)
{
	ListCell *lc;

	switch (nodeTag(stmt))
	{
		case T_DropdbStmt:
			return ((DropdbStmt *) stmt)->dbname;
		case T_RenameStmt:
			return ((RenameStmt *) stmt)->renameType == OBJECT_DATABASE
					   ? ((RenameStmt *) stmt)->subname
					   : NULL;
		case T_AlterDatabaseStmt:
			foreach (lc, ((AlterDatabaseStmt *) stmt)->options)
			{
				if (strcmp(((DefElem *) lfirst(lc))->defname, "tablespace") == 0)
					return ((AlterDatabaseStmt *) stmt)->dbname;
			}
			return NULL;
		case T_CreatedbStmt:
			foreach (lc, ((CreatedbStmt *) stmt)->options)
			{
				DefElem *option = lfirst(lc);

				if (strcmp(option->defname, "template") == 0 && option->arg != NULL &&
					IsA(option->arg, String))
					return strVal(option->arg);
			}
			return NULL;
		default:
			return NULL;
	}
}

static bool
may_quiesce(Oid oid)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(DatabaseRelationId, oid, GetUserId());
#else
	return pg_database_ownercheck(oid, GetUserId());
#endif
}

/* Whether the statement drops our extension, and its user may. */
static bool
drops_extension(Node *stmt)
{
	Oid		  oid = InvalidOid;
	ListCell *lc;

	if (!IsA(stmt, DropStmt) || ((DropStmt *) stmt)->removeType != OBJECT_EXTENSION)
		return false;
	foreach (lc, ((DropStmt *) stmt)->objects)
	{
		if (strcmp(strVal(lfirst(lc)), "somamem") == 0)
			oid = get_extension_oid("somamem", true);
	}
#if PG_VERSION_NUM >= 160000
	return OidIsValid(oid) && object_ownercheck(ExtensionRelationId, oid, GetUserId());
#else
	return OidIsValid(oid) && pg_extension_ownercheck(oid, GetUserId());
#endif
}

/*
 * Stops the workers that must not run during the statement.  DROP EXTENSION
 * needs it because it locks our tables one by one, as a shipper does: between
 * two transactions of a shipper there would be a deadlock.
 */
static void
prepare(Node *stmt)
{
	const char *name = database_to_quiesce(stmt);
	Oid			oid = name != NULL ? get_database_oid(name, true) : InvalidOid;

	if (OidIsValid(oid) && may_quiesce(oid))
		(void) smem_quiesce(oid);
	else if (drops_extension(stmt))
		(void) smem_quiesce(MyDatabaseId);
}

typedef enum Effect
{
	NO_EFFECT,
	/* A database with the extension may have come to be, or may be connected to again. */
	NEWS_OF_DATABASES,
	/* A prepared transaction was committed; it may have written, or made the extension. */
	PREPARED_COMMITTED
} Effect;

static bool
makes_extension(CreateExtensionStmt *stmt)
{
	ListCell *lc;

	if (strcmp(stmt->extname, "somamem") == 0)
		return true;
	/* Ours may be among those that the named one requires. */
	foreach (lc, stmt->options)
	{
		if (strcmp(((DefElem *) lfirst(lc))->defname, "cascade") == 0)
			return true;
	}
	return false;
}

static Effect
effect_of(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_CreateExtensionStmt:
			return makes_extension((CreateExtensionStmt *) stmt) ? NEWS_OF_DATABASES : NO_EFFECT;
		case T_CreatedbStmt:
		case T_AlterDatabaseStmt:
			return NEWS_OF_DATABASES;
		case T_TransactionStmt:
			return ((TransactionStmt *) stmt)->kind == TRANS_STMT_COMMIT_PREPARED
					   ? PREPARED_COMMITTED
					   : NO_EFFECT;
		default:
			return NO_EFFECT;
	}
}

static void
apply(Effect effect)
{
	SmemDatabaseSlot *db;

	if (effect == NEWS_OF_DATABASES)
		smem_xact_rescan_at_commit();
	if (effect != PREPARED_COMMITTED)
		return;
	db = smem_my_database();
	if (db != NULL)
	{
		/* Whether it wrote is not known here, and is found at the next look: until then it may have. */
		smem_note_unseen(db, GetCurrentTimestamp());
		smem_wake_shippers(db, true);
	}
	else if (OidIsValid(smem_extension_oid()))
		smem_xact_rescan_at_commit();
}

static void
run(PlannedStmt *pstmt, const char *query, bool readOnlyTree, ProcessUtilityContext context,
	ParamListInfo params, QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	if (prev_utility)
		prev_utility(pstmt, query, readOnlyTree, context, params, env, dest, qc);
	else
		standard_ProcessUtility(pstmt, query, readOnlyTree, context, params, env, dest, qc);
}

static void
utility(PlannedStmt *pstmt, const char *query, bool readOnlyTree, ProcessUtilityContext context,
		ParamListInfo params, QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	Effect effect = effect_of(pstmt->utilityStmt);

	prepare(pstmt->utilityStmt);
	run(pstmt, query, readOnlyTree, context, params, env, dest, qc);
	/* The statement may be freed by now, where it ended a transaction. */
	apply(effect);
}

void
smem_utility_install(void)
{
	prev_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
}
