/* Owners: the values that stand in tables and dumps, and what is alike and what is not. */
#include "core/owner.h"
#include "tap.h"

#define NAMES 2000

static uint64_t
owner(const char *tenant, const char *session)
{
	return smem_owner(smem_str(tenant), smem_str(session));
}

/* Names that differ in a digit have nothing in common: pairs with an equal half, of two million. */
static int
count_equal_halves(void)
{
	static uint64_t of[NAMES];
	int				equal = 0;

	for (int i = 0; i < NAMES; i++)
	{
		char name[16];

		snprintf(name, sizeof(name), "t%d", i);
		of[i] = owner(name, name);
		for (int j = 0; j < i; j++)
			equal += of[i] >> 32 == of[j] >> 32 || (uint32_t) of[i] == (uint32_t) of[j];
	}
	return equal;
}

int
main(void)
{
	uint64_t a = owner("acme", "s1");

	/* Computed by another program from the words of owner.h. */
	tap_ok(a == 0x3a25b665c48511cf, "a tenant and a session");
	tap_ok(owner("", "") == 0xefd01f607056f5fb, "empty names");
	tap_ok(owner("gr\xc3\xb6\xc3\x9f\x65", "\xe6\x96\x87") == 0x2eb895f57fee55dd, "beyond ASCII");
	tap_ok(((a ^ owner("acme", "s2")) & SMEM_OWNER_TENANT) == 0,
		   "a tenant's sessions have a half in common");
	tap_ok(a != owner("acme", "s2"), "and only that");
	tap_ok((uint32_t) a != (uint32_t) owner("acne", "s1"),
		   "equal sessions of two tenants have not");
	tap_ok(owner("ab", "c") != owner("a", "bc"), "nor have names that are alike in a row");
	tap_is_int(count_equal_halves(), 0, "names that differ little have nothing in common");
	return tap_done();
}
