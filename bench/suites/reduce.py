"""How long it takes to sum so many bytes over the ranks here: gloo on CPUs, NCCL on GPUs."""

import time
from typing import Any

import torch
import torch.distributed as dist

from david.bench.harness import WARM_UP, Figure, finish
from david.bench.result import Result, table
from david.bench.ring import Measured, Ring, errors, fit
from david.pack.errors import DavidError
from david.train import distributed
from david.train.distributed import World

SIZES = tuple(4**power for power in range(6, 14))  # 4 kB to 67 MB
LEAST_S = 0.05  # that the sums of a size take together


def measure(rounds: int, device: str) -> Result:
    """Every rank comes here. Raises DavidError where it is alone."""
    with distributed.joined(device) as world:
        if world.size == 1:
            raise DavidError("reduce: one rank has nothing to sum with; add --nproc 2, or start it with torchrun")
        times: dict[int, list[float]] = {size: [] for size in SIZES}
        for _ in range(rounds):
            for size, found in times.items():
                found.append(seconds(size, world))
        size, kind = world.size, world.device.type
    figures = {f"{one:,} bytes": {"time": Figure("ms", tuple(1e3 * s for s in found))} for one, found in times.items()}
    middles = [Measured(size, one, figures[f"{one:,} bytes"]["time"].median / 1e3) for one in SIZES]
    ring = fit(middles)
    kept = {
        name: {"bytes": one, "time": found["time"].as_json()}
        for one, (name, found) in zip(SIZES, figures.items(), strict=True)
    }
    about: dict[str, Any] = {"ranks": size, "rounds": rounds, "backend": "nccl" if kind == "cuda" else "gloo"}
    drawn = table(f"a sum over {size} x {kind}", figures)
    about |= {"data": {"folder": "none: zeros"}, "fit": ring._asdict()}
    return Result("reduce", kept, drawn, sentence(ring, middles), about)


def seconds(size: int, world: World) -> float:
    """Of one sum, the mean of several; all ranks do as many."""
    values = torch.zeros(size // 4, device=world.device)
    begun = time.perf_counter()
    for _ in range(WARM_UP):
        dist.all_reduce(values)
    finish(world.device)
    once_us = world.from_leader(int(1e6 * (time.perf_counter() - begun) / WARM_UP) + 1)
    times = max(3, min(100, int(1e6 * LEAST_S / once_us)))
    begun = time.perf_counter()
    for _ in range(times):
        dist.all_reduce(values)
    finish(world.device)
    return (time.perf_counter() - begun) / times


def sentence(ring: Ring, measured: list[Measured]) -> str:
    off = sorted(errors(ring, measured))
    return (
        f"{1e6 * ring.latency_s:,.0f} us a step and {ring.bandwidth / 1e9:,.2f} GB/s a rank tell these times within "
        f"{off[len(off) // 2]:.0%} in the median and {off[-1]:.0%} at most."
    )
