"""Where a process stands among others, read from environments as launchers leave them."""

import errno
import multiprocessing
import os
import signal
import socket
from contextlib import nullcontext
from datetime import timedelta
from multiprocessing import resource_tracker
from pathlib import Path
from queue import Queue
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from smallest import SMALLEST

from david.model import build
from david.pack.errors import DavidError
from david.pipeline.loader import Loader
from david.train import distributed, recipes
from david.train.distributed import Place, device_of, first_host, place
from david.train.pulse import OVER, Pulse
from david.train.recipe import Recipe, override
from david.train.signals import SIGNALS, Passing, Stopped, StopSignals, start_tracker
from david.train.step.gradients import settled
from david.train.step.step import Step

pytestmark = pytest.mark.usefixtures("warm")
# A task of `srun --nodes 2 --ntasks-per-node 4 --gpus-per-task 1`, the sixth of eight.
TASK = {
    **{"SLURM_JOB_ID": "2193449", "SLURM_JOBID": "2193449", "SLURM_STEP_ID": "0", "SLURM_STEPID": "0"},
    **{"SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NODEID": "1", "SLURM_NTASKS": "8", "SLURM_NPROCS": "8"},
    **{"SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "4"},
    **{"SLURM_JOB_NODELIST": "gpu[003-004,011]", "SLURM_STEP_NODELIST": "gpu[004,011]", "SLURM_GPUS_PER_TASK": "1"},
    **{"SLURM_TASKS_PER_NODE": "4(x2)", "SLURM_STEP_TASKS_PER_NODE": "4(x2)", "SLURMD_NODENAME": "gpu011"},
}
# The shell of a batch script that asked for four tasks on four nodes.
BATCH_SHELL = {
    **{"SLURM_JOB_ID": "200505", "SLURM_JOBID": "200505", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},
    **{"SLURM_NTASKS": "4", "SLURM_NPROCS": "4", "SLURM_NNODES": "4", "SLURM_TASKS_PER_NODE": "1(x4)"},
    **{"SLURM_JOB_NODELIST": "gnode[10,20,25,37]", "SLURM_NODELIST": "gnode[10,20,25,37]", "SLURM_NODEID": "0"},
}
# The shell that `salloc --ntasks 8` opens on the first node: a step of its own, of one task.
INTERACTIVE_SHELL = BATCH_SHELL | {
    **{"SLURM_STEP_ID": "4294967290", "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "8"},
    **{"SLURM_STEP_NODELIST": "gnode10", "SLURM_STEP_NUM_NODES": "1"},
}
TORCHRUN = {
    **{"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1"},
    **{"MASTER_ADDR": "gpu003", "MASTER_PORT": "29400", "TORCHELASTIC_RUN_ID": "none"},
}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Place()),
        (TASK, Place(5, 8, 1, "gpu004", 20_000 + 2193449 % 20_000)),
        ({k: v for k, v in TASK.items() if k != "SLURM_GPUS_PER_TASK"}, Place(5, 8, 1, "gpu004", 33449)),
        ({k: v for k, v in TASK.items() if "STEP_NUM" not in k}, Place(5, 8, 1, "gpu004", 33449)),
        (TASK | {"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, Place()),
        (BATCH_SHELL, Place()),
        (INTERACTIVE_SHELL, Place()),
        (TORCHRUN, Place(3, 4, 1, "gpu003", 29400)),
        (TASK | TORCHRUN, Place(3, 4, 1, "gpu003", 29400)),  # torchrun as a task of each node
    ],
    ids=["alone", "task", "all GPUs", "old Slurm", "one task", "batch shell", "salloc", "torchrun", "both"],
)
def test_the_place_is_the_one_that_the_launcher_gave(environment: dict[str, str], expected: Place):
    assert place(environment) == expected


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gnode[10,20,25,37]", "gnode10"),
        ("gpu[003-007,011],cpu1", "gpu003"),
        ("login1", "login1"),
        ("a-1,a-2", "a-1"),
        ("rack[1-2]-node", "rack1-node"),
    ],
)
def test_the_first_host_of_a_node_list(nodes: str, first: str):
    assert first_host(nodes) == first


def test_a_rank_takes_the_gpu_of_its_number_or_the_one_that_it_is_shown(monkeypatch):
    """--gpus-per-task and --gpu-bind=single:1 show each rank one, whatever its number."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for count, index in ((1, 0), (2, 1), (4, 3), (8, 3)):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert device_of("auto", 3) == torch.device("cuda", index)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(DavidError, match="no GPU is there"):
        device_of("cuda", 3)
    assert device_of("cpu", 3) == torch.device("cpu")


class OneStore(dict):
    """What ranks that meet in one process have for a store."""

    def clone(self) -> "OneStore":
        return self

    def set(self, key: str, value: str) -> None:
        self[key] = value

    def get(self, key: str) -> bytes:
        return super().__getitem__(key).encode()

    def check(self, keys: list[str]) -> bool:
        return all(key in self for key in keys)

    def set_timeout(self, timeout: timedelta) -> None:
        pass


def test_ranks_that_share_a_gpu_are_refused_by_name_and_others_are_not(monkeypatch):
    store, shown = OneStore(), {"uuid": "GPU-7"}
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(**shown))
    monkeypatch.setattr(socket, "gethostname", lambda: shown.get("host", "gpu1"))
    cuda = torch.device("cuda", 0)
    for rank, (host, uuid) in enumerate((("gpu1", "GPU-7"), ("gpu1", "GPU-8"), ("gpu2", "GPU-7"))):
        shown.update(host=host, uuid=uuid)
        found = distributed.gpus_of(store, rank, rank + 1, cuda)
    assert found == ["gpu1 GPU-7", "gpu1 GPU-8", "gpu2 GPU-7"]
    distributed.refuse_shared(found)  # one GPU shown to each, on two hosts
    with pytest.raises(DavidError, match=r"ranks 1 and 3 have the same GPU \(gpu1 GPU-8\); start one rank for each"):
        distributed.refuse_shared([*found, "gpu1 GPU-8"])


@pytest.mark.parametrize("end", [None, Stopped("a signal"), DavidError("alone"), RuntimeError("NCCL")])
def test_a_rank_that_fails_alone_does_not_wait_for_its_peers(monkeypatch, end: Exception | None):
    """Leaving a group of NCCL waits for the others: only ranks that come to their end together do that."""
    left = []
    monkeypatch.setattr(distributed, "place", lambda _: Place(1, 2, 1, "localhost", 1))
    monkeypatch.setattr(dist, "rendezvous", lambda *_, **__: iter([(OneStore(), 1, 2)]))
    monkeypatch.setattr(dist, "PrefixStore", lambda name, store: store)
    monkeypatch.setattr(dist, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: left.append(1))
    with pytest.raises(type(end)) if end else nullcontext(), distributed.joined("cpu"):
        if end:
            raise end
    assert bool(left) == (end is None or isinstance(end, Stopped))


def test_a_rank_without_a_sign_of_life_is_named_and_one_that_is_done_is_not():
    store, said = OneStore({"1": OVER, "2": "5 elsewhere 1"}), Queue()
    with Pulse(store, 0, 3, 0.1, said.put):
        assert said.get(timeout=60).startswith("rank 2 on elsewhere has given no sign of life for 0.1 s")
    assert store["0"] == OVER

    class Gone(OneStore):
        def get(self, key: str) -> bytes:
            raise RuntimeError("Broken pipe")

    with Pulse(Gone({"0": ""}), 1, 3, 0.1, said.put):
        assert said.get(timeout=60).startswith("rank 0, or the launcher, has given no sign of life")


def test_a_stopped_rank_ends_the_others_with_its_name():
    with pytest.raises(DavidError, match=r"rank 1 on \S+ has given no sign of life for 3 s"):
        distributed.launch(2, stop_rank_1)


def test_what_the_system_refuses_a_rank_is_what_it_refuses_the_command(tmp_path):
    with pytest.raises(OSError) as error:
        distributed.launch(2, write_into_a_file, path=tmp_path / "a \udcff")
    assert error.value.errno == errno.ENOTDIR and error.value.filename == str(tmp_path / "a \udcff" / "b")


def write_into_a_file(path: Path) -> None:
    with distributed.joined("cpu") as world:
        if world.rank == 1:
            path.touch()
            (path / "b").write_text("")
        world.any(False)


def stop_rank_1() -> None:
    with distributed.joined("cpu", patience_s=3.0) as world:
        if world.rank == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        world.any(False)


def test_a_step_of_ddp_sends_no_buffers(figures: Path):
    """They are constants that each rank makes for itself: one that differs stays as it is."""
    recipe = override(recipes.recipe("smoke"), [*SMALLEST, "batch_size=4", "parallel=ddp"])
    assert distributed.launch(2, offset_of_a_buffer, shards=figures, recipe=recipe) == [0, 1]


def offset_of_a_buffer(shards: Path, recipe: Recipe) -> list[float]:
    """By how much each rank's buffers differ from the network's own, after two steps since rank 1's were moved by 1."""
    with distributed.joined("cpu") as world:
        with Loader(shards, "train", recipe.data, batch_size=4, rank=world.rank, world_size=2, seed=0) as loader:
            torch.manual_seed(0)
            network = build(recipe.model)
            step, own = Step(network, recipe, world), network.get_buffer("mean").clone()
            network.get_buffer("mean").add_(world.rank)
            for number in (1, 2):
                step(next(loader), number)
        return world.gather((network.get_buffer("mean") - own).mean()).round().tolist()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_passed_on_to_the_ranks_and_a_second_ctrl_c_ends_them(number: signal.Signals, capfd):
    process = multiprocessing.get_context("spawn").Process(target=wait_for_ever)
    with Passing() as passing:
        process.start()
        os.kill(os.getpid(), number)
        process.join()
        assert process.exitcode == -signal.SIGTERM and passing.came == [number]
        if number == signal.SIGINT:
            assert "Ctrl-C again" in capfd.readouterr().err
            process = multiprocessing.get_context("spawn").Process(target=wait_for_ever)
            process.start()
            os.kill(os.getpid(), number)
            process.join()
            assert process.exitcode == -signal.SIGKILL


def test_a_signal_to_the_whole_group_leaves_pythons_own_tracker_alone():
    tracker = resource_tracker.ResourceTracker()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    start_tracker(tracker.ensure_running)
    try:
        blocked = next(
            x for x in Path(f"/proc/{tracker._pid}/status").read_text().splitlines() if x.startswith("SigBlk")
        )
        assert int(blocked.split()[1], 16) >> (signal.SIGUSR1 - 1) & 1
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    finally:
        tracker._stop()


def wait_for_ever() -> None:
    while True:
        signal.pause()


def test_alone_a_second_ctrl_c_leaves_at_once_and_under_a_launcher_it_says_nothing_new(capfd):
    for alone in (True, False):
        with StopSignals(alone) as signals:
            os.kill(os.getpid(), signal.SIGTERM)
            assert signals.requested
            with pytest.raises(KeyboardInterrupt) if alone else nullcontext():
                os.kill(os.getpid(), signal.SIGINT)
    assert capfd.readouterr().err == ""
    for speaks in (True, False):
        with StopSignals(True, speaks) as signals:
            os.kill(os.getpid(), signal.SIGINT)
            assert signals.requested
        assert ("Ctrl-C again leaves at once" in capfd.readouterr().err) == speaks


@pytest.mark.parametrize(
    ("device", "settings", "way"),
    [
        ("cpu", [], "exact"),
        ("cuda", [], "ddp"),
        ("cpu", ["compile=true"], "ddp"),
        ("cpu", ["micro_batch=2"], "ddp"),
        ("cuda", ["parallel=exact"], "exact"),  # a run of before goes on as it began
    ],
)
def test_the_first_look_sums_exactly_on_a_cpu_and_fast_on_a_gpu(device: str, settings: list[str], way: str):
    assert settled(override(recipes.recipe("smoke"), settings), torch.device(device)).parallel == way
