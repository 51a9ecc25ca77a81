"""The zips that SynthHuman is published in: where, their names, and which of them to pack side by side.

60 chunks of 5,000 samples (the last has 3,008) hold the set in stored order: faces in chunks 0 .. 19, full bodies in
19 .. 39, upper bodies in 39 .. 59.
"""

from collections.abc import Sequence

from david.pack.errors import DavidError

BASE_URL = "https://facesyntheticspubwedata.z6.web.core.windows.net/iccv-2025/data/"
CHUNKS = 60
SAMPLE = "SynthHuman_sample.zip"


def name(chunk: int) -> str:
    """The zip of a chunk. Raises DavidError where there is no such chunk."""
    if not 0 <= chunk < CHUNKS:
        raise DavidError(f"chunk {chunk}: SynthHuman has chunks 0 .. {CHUNKS - 1}")
    return f"SynthHuman_{chunk:04d}.zip"


def groups(names: Sequence[str], at_most: int = 3) -> tuple[tuple[str, ...], ...]:
    """Zips dealt into groups of at most `at_most`, each from all over the stored order; a pure function.

    All 60 in threes are chunks (g, 20 + g, 40 + g): faces, full bodies and upper bodies in equal shares. Packing
    group by group permutes samples within a group only. What that costs, all 298,008 labels, batches of 96 read in
    shard order through a shuffle buffer of 1,024, mean entropy in bits of a batch's scenarios and of its zips:

    | permuted over            | scenarios (at most 1.585) | zips (at most 5.91) |
    |--------------------------|---------------------------|---------------------|
    | nothing: stored order    | 0.02                      | 0.47                |
    | groups of 2 zips         | 1.03                      | 1.22                |
    | groups of 3 zips         | 1.57                      | 1.71                |
    | groups of 6 zips         | 1.57                      | 2.61                |
    | the whole set            | 1.57                      | 5.39                |

    So with threes the scenarios are as well mixed as over the whole set; but a batch that is read in shard order sees
    3 or 4 zips, not 60.
    """
    if at_most < 1:
        raise DavidError(f"groups of {at_most} zips: a group needs at least 1")
    ordered = sorted(set(names))
    count = -(-len(ordered) // at_most)
    return tuple(tuple(ordered[first::count]) for first in range(count))
