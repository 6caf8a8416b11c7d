#include "core/split.h"

#include <assert.h>

static void
choose_part(SmemSplit *split)
{
	split->tried = split->guilty && split->rows > 1 ? split->rows / 2 : split->rows;
}

void
smem_split_begin(SmemSplit *split, uint32_t rows)
{
	split->rows = rows;
	split->guilty = false;
	choose_part(split);
}

bool
smem_split_passed(SmemSplit *split)
{
	split->rows -= split->tried;
	choose_part(split);
	return split->rows > 0;
}

uint32_t
smem_split_failed(SmemSplit *split)
{
	uint32_t unasked = split->rows - split->tried;

	assert(split->tried > 1);
	split->rows = split->tried;
	split->guilty = true;
	choose_part(split);
	return unasked;
}
