"""The GPUs: what the system shows of them, what torch can do with them."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from david.bench.doctor.check import Asked, Said

NODES = Path("/dev")
NONE = "no NVIDIA GPU is here; david computes on the CPU"
DRIVER = "install NVIDIA's driver, or start the container with --gpus all"
SMI = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total,memory.used", "--format=csv,noheader,nounits")
SMI_S = 30.0
LEAST_FREE = 0.9  # of a GPU's memory: with less of it somebody else is at work there


def shown(asked: Asked) -> list[str]:
    """The GPUs that the system shows, as device nodes; none where they are to be left alone."""
    if asked.device == "cpu":
        return []
    return sorted(str(one) for one in NODES.glob("nvidia*") if re.fullmatch(r"nvidia\d+", one.name))


def present(asked: Asked) -> bool:
    """Whether torch has a GPU that it may use."""
    if asked.device == "cpu":
        return False
    import torch

    return torch.cuda.is_available()


def not_needed(asked: Asked, found: str = "") -> Said:
    """Of what only a GPU asks for, where there is none. found: what there is all the same"""
    why = "GPUs are left alone" if asked.device == "cpu" else "no GPU is here"
    return Said(f"{found}; not needed: {why}" if found else f"not needed: {why}")


def driver(asked: Asked) -> Said:
    nodes = shown(asked)
    try:
        done = subprocess.run(SMI, capture_output=True, text=True, timeout=SMI_S)
    except FileNotFoundError:
        if nodes:
            return Said(f"{', '.join(nodes)}, and no nvidia-smi", "nothing, if the next line is ok; else " + DRIVER)
        return not_needed(asked)
    if asked.device == "cpu":
        return not_needed(asked)
    lines = [line.split(", ") for line in done.stdout.splitlines() if line.count(", ") == 3]
    if done.returncode or not lines:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        return Said(f"nvidia-smi says: {said[0]}", DRIVER, ok=not nodes)
    return Said(f"{lines[0][1]}, {len(lines)} x {lines[0][0]}, {int(float(lines[0][2])) / 1024:,.0f} GiB")


def cuda(asked: Asked) -> Said:
    """That torch sees the GPUs which the system shows, and that each computes what the CPU does."""
    if asked.device == "cpu":
        return not_needed(asked)
    import torch

    nodes, hidden = shown(asked), os.environ.get("CUDA_VISIBLE_DEVICES")
    if not torch.cuda.is_available():
        if not nodes:
            return Said(NONE)
        if hidden is not None and hidden.strip() in ("", "-1"):
            return Said(f"{len(nodes)} hidden by CUDA_VISIBLE_DEVICES={hidden}", "unset it to train on them")
        built = torch.version.cuda
        return Said(
            f"{', '.join(nodes)}, but torch can't use them: {_reason(torch)}",
            f"torch {torch.__version__} is built for CUDA {built}: take a driver of that age, or another build of torch"
            if built
            else f"torch {torch.__version__} is built without CUDA: install one that is",
            ok=False,
        )
    told, advice = [], []
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        _require_right(torch, torch.device("cuda", number))
        free, total = torch.cuda.mem_get_info(number)
        told.append(f"{about.name} ({about.major}.{about.minor}, {total / 2**30:,.0f} GiB)")
        if free < LEAST_FREE * total:
            held = f"{(total - free) / 2**30:,.0f} GiB of GPU {number} are in use"
            advice.append(f"{held}: others at work there slow it down, see nvidia-smi")
        if not torch.cuda.is_bf16_supported(including_emulation=False):
            advice.append(f"GPU {number} has no bf16: train with --set precision=fp16")
    return Said(f"{', '.join(told)}; CUDA {torch.version.cuda}", "; ".join(dict.fromkeys(advice)))


def _reason(torch: Any) -> str:
    try:
        torch.cuda.init()
    except Exception as error:  # of several kinds
        return str(error).splitlines()[0]
    return "it gives no reason"


def _require_right(torch: Any, device: Any) -> None:
    """Raise RuntimeError where a matrix product there is not the CPU's."""
    one = torch.arange(64 * 64, dtype=torch.float32).reshape(64, 64).remainder(7)
    if not torch.equal((one.to(device) @ one.to(device)).cpu(), one @ one):
        raise RuntimeError(f"{device}: a product of small whole numbers is wrong there")
