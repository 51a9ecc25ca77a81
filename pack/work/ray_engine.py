"""Shards as Ray tasks, on a cluster that shares the file system, or on a local Ray where none runs.

The bytes are those of local packing: a task writes one shard under the same plan, in a worker process of its own, so
that a decoder that crashes costs a sample and not the task.
"""

from collections.abc import Iterator
from pathlib import Path

from david.pack import cluster
from david.pack.errors import DavidError
from david.pack.work import crew
from david.pack.work.crew import Event
from david.pack.work.plan import Packing, ShardPlan

NO_NODE = "has no node of the cluster to run on; it waits for one"


def run(shards: list[ShardPlan], folder: Path, packing: Packing, *, quarantine: bool, workers: int) -> Iterator[Event]:
    """As `crew.run`; `workers` bounds a local Ray, a cluster has its own size. Events come shard by shard.

    Shards of a node that dies are begun again on another; where none is left, that is told and waited for."""
    with cluster.joined(workers) as ray:
        from ray.exceptions import RayError

        @ray.remote(num_cpus=1, max_retries=2)
        def write(one: ShardPlan) -> list[Event]:
            events = crew.run([one], folder, packing, quarantine=quarantine, workers=1)
            return [
                event for event in events if not isinstance(event.what, crew.Waits)
            ]  # over by the time they are heard

        waiting = {write.remote(one): number for number, one in enumerate(shards)}
        told = False
        try:
            while waiting:
                ready, _ = ray.wait(list(waiting), num_returns=1, timeout=None if told else crew.TOLD_S)
                if not ready:
                    if told := ray.cluster_resources().get("CPU", 0) < 1:
                        yield Event(min(waiting.values()), crew.Waits(NO_NODE))
                    continue
                told, number = False, waiting.pop(ready[0])
                try:
                    events = ray.get(ready[0])
                except RayError as error:
                    raise DavidError(
                        f"{shards[number].name}: its Ray task failed ({error}); run again to go on"
                    ) from error
                yield from (Event(number, event.what) for event in events)
        finally:
            for task in waiting:
                ray.cancel(task, force=True)
