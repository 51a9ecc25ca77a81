"""The schedule of the learning rate: a pure function of the step, so that resuming needs no state of it."""

import math
from bisect import bisect_left
from collections.abc import Callable

from david.train.config import OptimConfig


def rate_factor(step: int, steps: int, config: OptimConfig) -> float:
    """What every rate is multiplied with at `step` (1 is the first) of a schedule of `steps`; past its end, its last.

    It rises over the first `warmup` steps and reaches 1 with the last of them.
    """
    if step < config.warmup:
        return one_cycle_rise(step, config) if config.schedule == "one_cycle" else step / config.warmup
    return FALLS[config.schedule](step, steps, config)


def progress(step: int, steps: int, config: OptimConfig) -> float:
    """The share of the way from the end of the warm-up to the end of the schedule."""
    return min(1.0, (step - config.warmup) / max(1, steps - config.warmup))


def cosine(step: int, steps: int, config: OptimConfig) -> float:
    """From 1 to `final` (Loshchilov and Hutter, "SGDR", ICLR 2017, eq. 5)."""
    return between(config.final, 1.0, progress(step, steps, config))


def constant(step: int, steps: int, config: OptimConfig) -> float:
    return 1.0


def step_decay(step: int, steps: int, config: OptimConfig) -> float:
    """`gamma` for each milestone that lies behind, as torch's MultiStepLR; or for each `every` steps, as its StepLR."""
    behind = (step - 1) // config.every if config.every else bisect_left(config.milestones, step)
    return config.gamma**behind


def polynomial(step: int, steps: int, config: OptimConfig) -> float:
    """From 1 to `final` as (1 - progress)^power (DeepLab: Chen et al., TPAMI 2018, section 4.1)."""
    return config.final + (1 - config.final) * (1 - progress(step, steps, config)) ** config.power


def one_cycle_rise(step: int, config: OptimConfig) -> float:
    """From `start` at the first step to 1 at the last of the warm-up, along a cosine; then `cosine` falls.

    Smith and Topin, "Super-Convergence", 2019, with torch's cosines; AdamW's betas stay as they are.
    """
    return between(1.0, config.start, (step - 1) / (config.warmup - 1))


def between(low: float, high: float, share: float) -> float:
    """From `high` at share 0 to `low` at 1 along half a cosine."""
    return low + (high - low) * (1 + math.cos(math.pi * share)) / 2


FALLS: dict[str, Callable[[int, int, OptimConfig], float]] = {
    "cosine": cosine,
    "constant": constant,
    "step": step_decay,
    "polynomial": polynomial,
    "one_cycle": cosine,
}
