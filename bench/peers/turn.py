"""One turn of one peer in a process of its own.

    python -m david.bench.peers.turn prepare NAME RAW SAMPLES FOLDER
    python -m david.bench.peers.turn measure NAME FOLDER BATCH WORKERS BATCHES

The first prints how many bytes the samples take as the peer stores them. The second prints one JSON object: samples/s
and CPU ms a sample over BATCHES batches behind a warm-up, seconds from the start of the loader to its first batch, and
the memory that all its processes hold at the end, shared pages counted once.
"""

import json
import os
import sys
import time
from pathlib import Path

from david.bench.peers import loader

WARM_UP = 4  # batches
TICKS = os.sysconf("SC_CLK_TCK")


def family() -> list[int]:
    """This process and all its descendants."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended meanwhile
    found = [os.getpid()]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def cpu_s(pids: list[int]) -> float:
    """Seconds of CPU time that these processes took so far."""
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / TICKS


def memory_mb(pids: list[int]) -> float:
    """Proportional set sizes: a page that n processes share counts as a n-th for each."""
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    lines = [line for rollup in rollups for line in rollup.splitlines() if line.startswith("Pss:")]
    return sum(int(line.split()[1]) for line in lines) / 1e3


def turn(name: str, folder: Path, batch_size: int, workers: int, count: int) -> dict[str, tuple[float, str]]:
    peer = loader(name)
    begin = time.perf_counter()
    with peer.batches(folder, batch_size, workers) as batches:
        next(batches)
        first_s = time.perf_counter() - begin
        for _ in range(WARM_UP):
            next(batches)
        pids = family()
        cpu, begin = cpu_s(pids), time.perf_counter()
        for _ in range(count):
            next(batches)
        elapsed_s, cpu = time.perf_counter() - begin, cpu_s(pids) - cpu
        held = memory_mb(pids)
    samples = count * batch_size
    return {
        "rate": (samples / elapsed_s, "samples/s"),
        "cpu": (1e3 * cpu / samples, "CPU ms a sample"),
        "memory": (held, "MB"),
        "first": (first_s, "s to the first batch"),
    }


if __name__ == "__main__":
    what, name, *arguments = sys.argv[1:]
    if what == "prepare":
        raw, samples, folder = arguments
        print(loader(name).prepare(Path(raw), int(samples), Path(folder)), flush=True)
    else:
        folder, *numbers = arguments
        print(json.dumps(turn(name, Path(folder), *map(int, numbers))), flush=True)
    os._exit(0)  # some peers' threads hang in their own clean-up
