#include "postgres.h"

#include "pg/catalog.h"

#include "catalog/namespace.h"
#include "commands/extension.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

Oid
smem_extension_oid(void)
{
	return get_extension_oid("somamem", true);
}

/* Relations found since the catalog last changed.  Writing asks for three in every call. */
static struct
{
	char name[NAMEDATALEN];
	Oid	 oid;
} found[16];
static int nfound = 0;

static void
forget_found(Datum arg, int cacheid, uint32 hashvalue)
{
	nfound = 0;
}

static void
keep_found(const char *relname, Oid oid)
{
	static bool registered = false;

	if (!registered)
	{
		CacheRegisterSyscacheCallback(RELOID, forget_found, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, forget_found, (Datum) 0);
		registered = true;
	}
	if (nfound == lengthof(found))
		nfound = 0;
	strlcpy(found[nfound].name, relname, NAMEDATALEN);
	found[nfound++].oid = oid;
}

Oid
smem_relation_oid(const char *relname)
{
	Oid schema;
	Oid oid;

	for (int i = 0; i < nfound; i++)
	{
		if (strcmp(found[i].name, relname) == 0)
			return found[i].oid;
	}
	schema = get_namespace_oid("somamem", true);
	oid = OidIsValid(schema) ? get_relname_relid(relname, schema) : InvalidOid;
	if (!OidIsValid(oid))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("relation \"somamem.%s\" does not exist", relname),
						errhint("Run CREATE EXTENSION somamem in this database.")));
	keep_found(relname, oid);
	return oid;
}

Oid
smem_segment_oid(int segment)
{
	char name[] = "outbox_0";

	Assert(segment >= 0 && segment <= 9);
	name[sizeof(name) - 2] += segment;
	return smem_relation_oid(name);
}
