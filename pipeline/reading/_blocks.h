/* A member (a table of sizes, then its LZ4 blocks, see `pack/shards/schema.py`), inflated as far as it is needed: by a
   function of LZ4 that comes by its address. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 65536 };

typedef int (*Decompress)(const char *packed, char *out, int packed_size, int room); /* LZ4_decompress_safe */

typedef struct {
    const char *packed;
    char *out;
    int64_t bytes, blocks; /* of `out`; the last block is filled up */
    int64_t *starts;       /* of each block in `packed`, and the end of the last; -1 - start once it is inflated */
} Member;

static void member_close(Member *member) { free(member->starts); }

/* Whether the table of sizes is that of so many bytes. -1: no memory. Close it in any case. */
static int member_open(Member *member, const void *packed, int64_t size, void *out, int64_t bytes)
{
    int64_t blocks = (bytes + BLOCK - 1) / BLOCK, end = 4 * blocks;
    *member = (Member){packed, out, bytes, blocks, NULL};
    if (size < end)
        return 0;
    if ((member->starts = malloc(sizeof *member->starts * (size_t)(blocks + 1))) == NULL)
        return -1;
    for (int64_t block = 0; block < blocks; block++) {
        uint32_t of_block;
        memcpy(&of_block, member->packed + 4 * block, 4);
        member->starts[block] = end;
        if (of_block > size - end)
            return 0;
        end += of_block;
    }
    member->starts[blocks] = end;
    return end == size;
}

/* Whether the blocks that hold the bytes begin .. end - 1 are whole; `out` then has those. spare: BLOCK bytes */
static int member_need(Member *member, Decompress decompress, int64_t begin, int64_t end, char *spare)
{
    end = end < member->bytes ? end : member->bytes;
    for (int64_t block = begin / BLOCK; block * BLOCK < end; block++) {
        int64_t start = member->starts[block], stop = member->starts[block + 1], at = block * BLOCK;
        if (start < 0)
            continue;
        stop = stop < 0 ? -1 - stop : stop;
        int last = member->bytes - at < BLOCK;
        if (decompress(member->packed + start, last ? spare : member->out + at, (int)(stop - start), BLOCK) != BLOCK)
            return 0;
        if (last)
            memcpy(member->out + at, spare, (size_t)(member->bytes - at));
        member->starts[block] = -1 - start;
    }
    return 1;
}
