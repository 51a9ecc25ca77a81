"""The encoder and what follows it, each alone: how long its forward and backward take, and how much they compute.

B images. The encoder is the network's backbone, with its resize; the rest is fed with tokens that are there already.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from david.bench.harness import WARM_UP, Measured, finish
from david.bench.suites.parts import flops
from david.model import build
from david.model.configs.base import ModelConfig
from david.pipeline.batch import Batch
from david.train.recipe import Recipe
from david.train.step.precision import computing_in, half_precision

NAMES = ("encoder", "decoder")


def flops_apart(model: ModelConfig, batch: Batch) -> dict[str, int]:
    """Floating-point operations of forward and backward on one image, as `parts.flops` counts them: of the encoder by
    itself, and of all that follows."""
    with torch.device("meta"):
        network: Any = build(model)
        image = network.normalise(torch.empty(1, *batch.image.shape[1:], dtype=torch.uint8))
    with FlopCounterMode(display=False) as counter:
        _total(network.backbone(image)).backward()
    encoder = counter.get_total_flops()
    return {"encoder": encoder, "decoder": flops(model, batch) - encoder}


def apart(recipe: Recipe, batch: Batch, steps: int) -> dict[str, Measured]:
    """Milliseconds and GFLOP/s of each; compiled where the recipe's network is."""
    device, count = batch.image.device, flops_apart(recipe.model, batch)
    torch.manual_seed(recipe.seed)
    network: Any = build(recipe.model).to(device).to(memory_format=torch.channels_last)
    half = half_precision(recipe.precision, device)
    image = network.normalise(batch.image).contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), computing_in(half, device):
        taps = [tuple(one.clone().requires_grad_() for one in tap) for tap in network.backbone(image)]

    encode = _compiled(network.backbone.forward, recipe)
    found = {"encoder": _alone(lambda: encode(image), network, half, device, steps)}
    network.backbone.forward = lambda image: taps
    decode = _compiled(network.forward, recipe)
    found["decoder"] = _alone(lambda: decode(batch.image), network, half, device, steps)
    return {
        name: {"time": (ms, "ms"), "arithmetic": (count[name] * len(batch) / ms / 1e6, "GFLOP/s")}
        for name, ms in found.items()
    }


def _compiled(function: Callable[..., Any], recipe: Recipe) -> Callable[..., Any]:
    """By torch.compile in the recipe's mode, where it has one."""
    mode = {"false": "off", "true": "default"}.get(said := str(recipe.compile).lower(), said)
    return function if mode == "off" else torch.compile(function, dynamic=False, mode=mode)


def _alone(
    forward: Callable[[], Any], network: Any, half: torch.dtype | None, device: torch.device, steps: int
) -> float:
    """Milliseconds of a forward and its backward."""
    begin = 0.0
    for number in range(WARM_UP + steps):
        if number == WARM_UP:
            finish(device)
            begin = time.perf_counter()
        network.zero_grad(set_to_none=True)
        with computing_in(half, device):
            said = forward()
        _total(said).backward()
    finish(device)
    return 1e3 * (time.perf_counter() - begin) / steps


def _total(said: Any) -> torch.Tensor:
    """The sum of all that a module gives, which every value of it has a gradient of."""
    tensors = said.values() if isinstance(said, dict) else [one for pair in said for one in pair]
    return torch.stack([one.float().sum() for one in tensors]).sum()
