"""Where a process stands among others, read from environments as launchers leave them."""

import pytest
import torch

from david.pack.errors import DavidError
from david.train.distributed import Place, device_of, first_host, place

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
        (TASK, Place(5, 8, 1, "gpu004", 20_000 + 2193449 % 20_000, own_gpu=True)),
        ({k: v for k, v in TASK.items() if k != "SLURM_GPUS_PER_TASK"}, Place(5, 8, 1, "gpu004", 33449)),
        ({k: v for k, v in TASK.items() if "STEP_NUM" not in k}, Place(5, 8, 1, "gpu004", 33449, own_gpu=True)),
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
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for count in (1, 4):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert device_of("auto", 3, own_gpu=True) == torch.device("cuda", 0 if count == 1 else 3)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DavidError, match="rank 3 of this node found 1 GPUs; start one rank for each GPU"):
        device_of("auto", 3)
    assert device_of("cpu", 3) == torch.device("cpu")
