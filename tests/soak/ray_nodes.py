"""Nodes of a Ray cluster that die while they pack, at length.

    PYTHONPATH=tests python tests/soak/ray_nodes.py [KILLS]

A cluster on this machine: a head that computes nothing, and two nodes. SIGKILL comes to one of the two and to all that
runs there, at a random moment of a pack; another node takes its place in the next. The one that is left goes on with
the work of both, and the set is, to the byte, that of a pack without Ray.

Not part of the suite, which kills workers. Needs the extra `ray`. A fault ends it with an error.
"""

import os
import random
import signal
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import ray
from processes import called, family
from ray.cluster_utils import Cluster
from starters import contents

from david.pack import synth
from david.pack.work import build, plan, ray_engine
from david.pack.work.crew import Event
from david.pack.work.record import Done

OPTIONS = plan.PackOptions(val_fraction=0.25, shard_samples=3)
SHARDS_BEFORE = 4  # at most, that are done before a node dies
LATER_S = 1.0  # at most, after a task began there


def processes(node) -> list[int]:
    return family(node.all_processes["raylet"][0].process.pid)


def kill_in_pack(raw: Path, shards: Path, node, chance: random.Random) -> bool:
    """Pack, and kill a node of the cluster at a random moment; whether it was at work."""
    least, later_s = chance.randint(0, SHARDS_BEFORE), chance.uniform(0, LATER_S)
    done, over, killed = threading.Semaphore(0), threading.Event(), []

    def hear(event: Event) -> None:
        if isinstance(event.what, Done):
            done.release()

    def hunt() -> None:
        for _ in range(least):
            done.acquire()
        while not over.wait(0.01) and not any(called(pid, b"ray::write") for pid in processes(node)):
            pass
        if not over.wait(later_s):
            for pid in processes(node):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    hunter = threading.Thread(target=hunt)
    hunter.start()
    try:
        build.build(raw, shards, OPTIONS, runner=ray_engine.run, hear=hear)
    finally:
        over.set()
        for _ in range(least):
            done.release()
        hunter.join()
    return bool(killed)


def nodes(folder: Path, kills: int) -> str:
    raw, chance, killed, packs = folder / "raw", random.Random(0), 0, 0
    synth.write(raw, samples=24, zips=2, seed=0)
    build.build(raw, folder / "here", OPTIONS, workers=2)
    expected = contents(folder / "here")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    both = [cluster.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        while killed < kills:
            cluster.wait_for_nodes()
            shards, place = folder / str(packs), chance.randrange(2)
            packs += 1
            if kill_in_pack(raw, shards, both[place], chance):
                killed += 1
                cluster.remove_node(both[place], allow_graceful=False)
                both[place] = cluster.add_node(num_cpus=1)
            assert contents(shards) == expected, f"set {packs} differs after {killed} kills"
    finally:
        ray.shutdown()
        cluster.shutdown()
    return f"{killed} nodes killed in {packs} packs: the same bytes each time"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        print(nodes(Path(made), int(sys.argv[1]) if len(sys.argv) > 1 else 20))
