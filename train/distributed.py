"""Who trains with whom: torchrun's environment, Slurm's, or a single process; gloo on CPUs, NCCL on GPUs.

The collectives that the loop needs are methods of World, and cost nothing where the world is one process.
"""

import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from david.pack.errors import DavidError
from david.train.signals import EXIT_STOPPED, Stopped

TIMEOUT = timedelta(minutes=10)  # of a collective: a rank that is gone for so long is not coming back


@dataclass(frozen=True)
class Place:
    """One process among `size`. rank: 0 .. size - 1; local_rank: its number on its node; host, port: where rank 0 is
    met; own_gpu: whether the launcher shows each process no GPU but its own"""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    host: str = "localhost"
    port: int = 0
    own_gpu: bool = False


def place(environment: Mapping[str, str]) -> Place:
    """This process's place, read from torchrun's variables, else from those of a Slurm step, else alone.

    A batch script's own shell has SLURM_PROCID too but is no task of a step, and so is alone; so is a shell that
    `salloc` or `srun --pty` opens, a step of one task in a job that may ask for more.
    """
    e = environment
    if "RANK" in e and "WORLD_SIZE" in e:
        return Place(
            int(e["RANK"]), int(e["WORLD_SIZE"]), int(e.get("LOCAL_RANK", 0)), e["MASTER_ADDR"], int(e["MASTER_PORT"])
        )
    if "SLURM_PROCID" in e and "SLURM_STEP_ID" in e:
        size = int(e.get("SLURM_STEP_NUM_TASKS") or e["SLURM_NTASKS"])
        if size > 1:
            host = first_host(e.get("SLURM_STEP_NODELIST") or e["SLURM_JOB_NODELIST"])
            port = 20_000 + int(e["SLURM_JOB_ID"]) % 20_000  # the same on all ranks, rarely another job's
            own_gpu = "SLURM_GPUS_PER_TASK" in e
            return Place(int(e["SLURM_PROCID"]), size, int(e["SLURM_LOCALID"]), host, port, own_gpu)
    return Place()


def first_host(nodes: str) -> str:
    """The first host of a Slurm node list: `gpu[003-007,11],cpu1` gives `gpu003`."""
    match = re.match(r"([^,\[]+)(?:\[(\d+)[^\]]*\])?([^,\[]*)", nodes)
    if match is None:
        raise DavidError(f"SLURM_JOB_NODELIST: no host in {nodes!r}")
    return "".join(part or "" for part in match.groups())


@dataclass(frozen=True)
class World:
    """The ranks that train together, seen from one of them."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this rank is the one that writes."""
        return self.rank == 0

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        """(size, *shape): every rank's `values`, which are of one shape, in the order of ranks."""
        if self.size == 1:
            return values.unsqueeze(0)
        gathered = values.new_empty(self.size * values.numel())
        dist.all_gather_into_tensor(gathered, values.flatten())
        return gathered.view(self.size, *values.shape)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks; `values` itself is left as it is."""
        if self.size == 1:
            return values
        values = values.clone()
        dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether any rank says so. Every rank gets the same answer."""
        return bool(self.sum(torch.tensor(int(flag), device=self.device)))

    def told(self, value: int) -> int:
        """Rank 0's `value`, on every rank; waits until rank 0 comes to say it."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, device=self.device)
        dist.broadcast(tensor, src=0)
        return int(tensor)


def device_of(name: str, local_rank: int, own_gpu: bool = False) -> torch.device:
    """`auto` is a GPU where there is one, else the CPU. Raises DavidError for a device that is not there.

    own_gpu: see `Place`; the one GPU that is seen is then this rank's, whatever its number"""
    if name not in ("auto", "cpu", "cuda"):
        raise DavidError(f"--device {name}: there are auto, cpu and cuda")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if own_gpu and torch.cuda.device_count() == 1:
        return torch.device("cuda", 0)
    if local_rank >= torch.cuda.device_count():
        raise DavidError(
            f"--device {name}: rank {local_rank} of this node found {torch.cuda.device_count()} GPUs; start one rank "
            "for each GPU or take --device cpu"
        )
    return torch.device("cuda", local_rank)


@contextmanager
def joined(device: str = "auto") -> Iterator[World]:
    """Join the ranks that the environment names, and leave them at the end."""
    here = place(os.environ)
    on = device_of(device, here.local_rank, here.own_gpu)
    if on.type == "cuda":
        torch.cuda.set_device(on)
    if here.size == 1:
        yield World(0, 1, on)
        return
    dist.init_process_group(
        "nccl" if on.type == "cuda" else "gloo",
        init_method=f"tcp://{here.host}:{here.port}" if "RANK" not in os.environ else "env://",
        rank=here.rank,
        world_size=here.size,
        timeout=TIMEOUT,
        device_id=on if on.type == "cuda" else None,
    )
    try:
        yield World(here.rank, here.size, on)
    finally:
        dist.destroy_process_group()


def launch(ranks: int, function: Callable[..., Any], **arguments: Any) -> Any:
    """What `function(**arguments)` returns on rank 0 of `ranks` processes of this machine, under torchrun's agent.

    Any rank's end in an error ends all. A DavidError or Stopped of a rank comes back as this process's own.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // ranks)))
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # what it would say is raised below
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=f"david-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        return elastic_launch(config, _reporting)(function, arguments)[0]
    except SignalException as error:
        raise Stopped(f"stopped by {error.sigval.name}; the same command goes on from the last checkpoint") from error
    except ChildFailedError as error:
        # a rank that says why comes before those that only lost their peer
        rank, failure = min(error.failures.items(), key=lambda item: (item[1].exitcode not in SAID, item[1].timestamp))
        if failure.exitcode in SAID:
            raise SAID[failure.exitcode](failure.message) from error
        if failure.exitcode < 0:
            raise DavidError(
                f"rank {rank} died by {failure.signal_name()} and the others were ended; the same command goes on from "
                "the last checkpoint"
            ) from error
        raise


SAY_S = 3.0  # that a rank whose collective broke waits: its peer, which ended first, is about to say why
SAID: dict[int, type[Exception]] = {2: DavidError, EXIT_STOPPED: Stopped}  # exit codes of ranks that say why


def _reporting(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Runs in each rank: leaves the sentence of an expected end where torchrun's agent looks for it."""
    try:
        return function(**arguments)
    except (DavidError, Stopped) as error:
        code = EXIT_STOPPED if isinstance(error, Stopped) else 2
        report = {"message": str(error), "timestamp": int(time.time())}
        Path(os.environ["TORCHELASTIC_ERROR_FILE"]).write_text(json.dumps(report))
        raise SystemExit(code) from error
    except RuntimeError:
        time.sleep(SAY_S)
        raise
