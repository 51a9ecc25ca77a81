"""Who trains with whom: torchrun's environment, Slurm's, or a single process; gloo on CPUs, NCCL on GPUs.

The collectives that the loop needs are methods of World, and cost nothing where the world is one process.
"""

import errno
import json
import logging
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.distributed.tensor import DTensor

from david.pack import machine
from david.pack.errors import DavidError
from david.pipeline import trace
from david.train.pulse import Pulse, report
from david.train.signals import EXIT_STOPPED, PATIENCE_S, Passing, Stopped, start_tracker

TIMEOUT = timedelta(minutes=10)  # of a collective: a rank that is gone for so long is not coming back


@dataclass(frozen=True)
class Place:
    """One process among `size`. rank: 0 .. size - 1; local_rank: its number on its node; host, port: where rank 0 is
    met"""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    host: str = "localhost"
    port: int = 0


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
            return Place(int(e["SLURM_PROCID"]), size, int(e["SLURM_LOCALID"]), host, port)
    return Place()


def first_host(nodes: str) -> str:
    """The first host of a Slurm node list: `gpu[003-007,11],cpu1` gives `gpu003`."""
    match = re.match(r"([^,\[]+)(?:\[(\d+)[^\]]*\])?([^,\[]*)", nodes)
    if match is None:
        raise DavidError(f"SLURM_JOB_NODELIST: no host in {nodes!r}")
    return "".join(part or "" for part in match.groups())


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself, or all of one that is shared out: then all ranks ask for it together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


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
        with trace.span("all-reduce"):
            values = values.clone()
            dist.all_reduce(values)
            return values

    def any(self, flag: bool) -> bool:
        """Whether any rank says so. Every rank gets the same answer."""
        return flag if self.size == 1 else bool(self.sum(torch.tensor(int(flag), device=self.device)))

    def wait(self) -> None:
        """Return once every rank has come here."""
        self.any(False)

    def from_leader(self, value: int) -> int:
        """Rank 0's `value`, on every rank; waits until rank 0 comes to say it."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, device=self.device)
        dist.broadcast(tensor, src=0)
        return int(tensor)


def device_of(name: str, local_rank: int = 0) -> torch.device:
    """`auto` is a GPU where there is one, else the CPU. Raises DavidError for a device that is not there.

    Of the GPUs that it is shown, a rank takes the one of its number on the node, counted round: a launcher may show
    each rank its own alone, as Slurm does with --gpus-per-task or --gpu-bind=single:1. Whether two then have the same
    is for `refuse_shared` to say."""
    if name not in ("auto", "cpu", "cuda"):
        raise DavidError(f"--device {name}: there are auto, cpu and cuda")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.device_count():
        raise DavidError(f"--device {name}: no GPU is there; take --device cpu")
    return torch.device("cuda", local_rank % torch.cuda.device_count())


def refuse_shared(gpus: Sequence[str]) -> None:
    """Raise DavidError where two ranks have the same GPU. gpus: of each rank, the same text for the same GPU only"""
    for rank, gpu in enumerate(gpus):
        if gpu in gpus[:rank]:
            raise DavidError(
                f"ranks {gpus.index(gpu)} and {rank} have the same GPU ({gpu}); start one rank for each GPU or take "
                "--device cpu"
            )


def gpus_of(store: Any, rank: int, size: int, device: torch.device) -> list[str]:
    """Every rank's GPU by host and identity, told through the store where the ranks met: NCCL would hang first."""
    store.set(f"gpu/{rank}", f"{socket.gethostname()} {torch.cuda.get_device_properties(device).uuid}")
    return [store.get(f"gpu/{each}").decode() for each in range(size)]


@contextmanager
def joined(device: str = "auto", patience_s: float = PATIENCE_S) -> Iterator[World]:
    """Join the ranks that the environment names, and leave them at the end.

    patience_s: how long a rank may give no sign of life, see `pulse.py`"""
    here = place(os.environ)
    on = device_of(device, here.local_rank)
    if on.type == "cuda":
        torch.cuda.set_device(on)
    if here.size == 1:
        yield World(0, 1, on)
        return
    where = "env://" if "RANK" in os.environ else f"tcp://{here.host}:{here.port}"
    store, _, _ = next(dist.rendezvous(where, here.rank, here.size, timeout=TIMEOUT))
    store.set_timeout(TIMEOUT)
    if on.type == "cuda":
        refuse_shared(gpus_of(store, here.rank, here.size, on))
    dist.init_process_group(
        "nccl" if on.type == "cuda" else "gloo",
        store=dist.PrefixStore("group", store),
        rank=here.rank,
        world_size=here.size,
        timeout=TIMEOUT,
        device_id=on if on.type == "cuda" else None,
    )
    with Pulse(dist.PrefixStore("pulse", store), here.rank, here.size, patience_s):
        try:
            yield World(here.rank, here.size, on)
        except Stopped:  # of all ranks together
            dist.destroy_process_group()
            raise
        # Not where this rank failed alone: with NCCL it would wait for its peers, and they for it. Its end is theirs.
        dist.destroy_process_group()


def launch(ranks: int, function: Callable[..., Any], **arguments: Any) -> Any:
    """What `function(**arguments)` returns on rank 0, see `of_each`."""
    return of_each(ranks, function, **arguments)[0]


def of_each(ranks: int, function: Callable[..., Any], **arguments: Any) -> dict[int, Any]:
    """What `function(**arguments)` returns on each of `ranks` processes of this machine, under torchrun's agent.

    Any rank's end in an error ends all. A DavidError or Stopped of a rank, and an OSError that says of what, comes back
    as this process's own. Signals go to the ranks, and this process waits until they have saved, however long that
    takes.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, machine.cores() // ranks)))
    for agent in ("torch.distributed.elastic", "torch.multiprocessing.spawn"):
        logging.getLogger(agent).setLevel(logging.CRITICAL)  # what it would say is raised below
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=f"david-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        signals_to_handle="SIGHUP,SIGQUIT",
    )
    start_tracker()
    passing = Passing()
    try:
        with passing:
            return elastic_launch(config, _reporting)(function, arguments)
    except SignalException as error:
        raise Stopped(f"stopped by {error.sigval.name}; the same command goes on from the last checkpoint") from error
    except ChildFailedError as error:
        # a rank that says why comes before those that only lost their peer
        rank, failure = min(error.failures.items(), key=lambda item: (item[1].exitcode not in SAID, item[1].timestamp))
        if failure.exitcode in SAID:
            raise SAID[failure.exitcode](failure.message) from error
        if passing.came and -failure.exitcode in (signal.SIGTERM, signal.SIGKILL):  # before it could save, or at once
            name = passing.came[0].name
            raise Stopped(f"stopped by {name}; the same command goes on from the last checkpoint") from error
        if failure.exitcode < 0:
            raise DavidError(
                f"rank {rank} died by {failure.signal_name()} and the others were ended; the same command goes on from "
                "the last checkpoint"
            ) from error
        raise


SAY_S = 3.0  # that a rank whose collective broke waits: its peer, which ended first, is about to say why
EXIT_SYSTEM = 74  # as BSD's sysexits count an error of input and output
SAID: dict[int, Callable[[str], Exception]] = {  # exit codes of ranks that say why, and what that is here
    2: DavidError,
    EXIT_STOPPED: Stopped,
    EXIT_SYSTEM: lambda said: OSError(*json.loads(said)),
}


def _reporting(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Runs in each rank: leaves the sentence of an expected end where torchrun's agent looks for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C comes from the parent, see `Passing`
    try:
        return function(**arguments)
    except (DavidError, Stopped) as error:
        code = EXIT_STOPPED if isinstance(error, Stopped) else 2
        report(str(error))
        raise SystemExit(code) from error
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM):
            raise
        names = [None if name is None else os.fsdecode(name) for name in (error.filename, error.filename2)]
        report(json.dumps([error.errno, error.strerror, names[0], None, names[1]]))
        raise SystemExit(EXIT_SYSTEM) from error
    except RuntimeError:
        time.sleep(SAY_S)
        raise
