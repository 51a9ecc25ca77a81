"""What the parts about the optimiser step do: how fast, of what the device could, with how much memory and waiting.

Each runs in a process of its own, see `part.Part`.
"""

import gc
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from david.bench.campaign.given import Given, figure, most_memory_gb, resolved
from david.bench.child import Tell, first_line
from david.bench.harness import WARM_UP, finish, take_turns
from david.bench.suites import training
from david.bench.suites.apart import apart
from david.bench.suites.parts import flops, matrix_rate
from david.bench.suites.peaks import peak_gflops
from david.model import build
from david.pipeline.batch import Batch
from david.train import distributed
from david.train.distributed import World
from david.train.recipe import Recipe, to_json
from david.train.step import decoding
from david.train.step.gradients import settled
from david.train.step.precision import half_precision, name_of
from david.train.step.step import Step

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}


def step(tell: Tell, given: dict[str, Any], recipe: str, settings: list[str], decides: bool = False) -> None:
    """The step on one batch, and with its loader: samples/s, GFLOP/s, memory, and the wait for data. A batch that does
    not fit into memory is halved. What torch.compile could not do is said.

    decides: on a GPU who decodes is found out first, as a run does where its recipe leaves it open"""
    its, chosen = Given(**given), resolved(recipe, settings)
    with distributed.joined(its.device) as world, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        asked, told = chosen.batch_size, []
        if decides:
            chosen, told = decoding.settled(chosen, its.set, None, world)
        while (begun := begin(chosen, its.set, world)) is None:
            chosen = replace(chosen, batch_size=chosen.batch_size // 2)
        made, batch, first_s = begun
        tell({"about": _about(chosen, world.device)})
        if world.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(world.device)
        once_s = len(batch) / training.step_alone(made, batch, 1)["rate"][0]
        rate = training.step_alone(made, batch, its.repeats(once_s, 0.3))["rate"][0]
        done = flops(chosen.model, batch) * rate / 1e9
        figures = {
            "rate": figure(rate, "samples/s"),
            "step": figure(1e3 * len(batch) / rate, "ms"),
            "first step": figure(first_s, "s"),
            **of_the_device(done, chosen, world.device),
            "memory": figure(most_memory_gb(world.device), "GB at most"),
        }
        said = [*told, *dict.fromkeys(str(one.message) for one in warned if "torch.compile" in str(one.message))]
        if chosen.batch_size < asked:
            said.append(f"batches of {chosen.batch_size}: {asked} images do not fit into its memory")
        tell({"figures": {"step": figures}, "said": "; ".join(said)})
        found = training.both(made, chosen, its.set, world, its.repeats(1.5 * once_s, 0.35))
        tell({"figures": {"both": {name: figure(*value) for name, value in found.items()}}})


def begin(recipe: Recipe, shards: Path, world: World) -> tuple[Step, Batch, float] | None:
    """The step, a batch, and the seconds of its first step; None where the batch is too large for the memory and may be
    halved."""
    try:
        batch, made = training.one_batch(recipe, shards, world), training.make_step(recipe, world)
        since = time.perf_counter()
        made(batch, 1)
        finish(world.device)
        return made, batch, time.perf_counter() - since
    except torch.OutOfMemoryError:
        if recipe.batch_size == 1:
            raise
    gc.collect()  # what the failed step held is gone only now
    if world.device.type == "cuda":
        torch.cuda.empty_cache()
    return None


def encoder_and_decoder(tell: Tell, given: dict[str, Any], recipe: str, settings: list[str]) -> None:
    """Each alone, forward and backward: milliseconds and share of what the device could."""
    its, chosen = Given(**given), resolved(recipe, settings)
    with distributed.joined(its.device) as world:
        batch = training.one_batch(chosen, its.set, world)
        tell({"about": _about(chosen, world.device)})
        found = apart(chosen, batch, 5 if world.device.type == "cuda" else 2)
        for name, measured in found.items():
            done, unit = measured["arithmetic"]
            figures = {"time": figure(*measured["time"]), **of_the_device(done, chosen, world.device)}
            tell({"figures": {name: figures | {"arithmetic": figure(done, unit)}}})
        tell({"said": ", ".join(f"{name} {measured['time'][0]:,.1f} ms" for name, measured in found.items())})


def attention(tell: Tell, given: dict[str, Any], recipe: str, settings: list[str], rounds: int = 3) -> None:
    """Attention's forward and backward at the ViT's size by each of torch's backends, in turns."""
    its, chosen = Given(**given), resolved(recipe, settings)
    with distributed.joined(its.device) as world:
        with torch.device("meta"):
            vit: Any = build(chosen.model).backbone.vit
        first, device = vit.blocks[0].attn, world.device
        tokens = vit.patch_embed.num_patches + vit.num_prefix_tokens
        size = (chosen.batch_size, first.num_heads, tokens, vit.embed_dim // first.num_heads)
        half = half_precision(chosen.precision, device)
        q, k, v = (torch.randn(size, device=device, dtype=half or torch.float32).requires_grad_() for _ in range(3))

        def once(backend: SDPBackend) -> float:
            since = 0.0
            with sdpa_kernel(backend):
                for number in range(WARM_UP + 1):
                    if number == WARM_UP:
                        finish(device)
                        since = time.perf_counter()
                    torch.nn.functional.scaled_dot_product_attention(q, k, v).sum().backward()
            finish(device)
            return 1e3 * (time.perf_counter() - since)

        able, failed = {}, {}
        for name, backend in BACKENDS.items():
            with warnings.catch_warnings():  # which say why a backend can't: the error says it too
                warnings.simplefilter("ignore")
                try:
                    once(backend)
                    able[name] = backend
                except RuntimeError as error:
                    failed[name] = first_line(error)
        turns = take_turns({name: lambda one=one: {"time": (once(one), "ms")} for name, one in able.items()}, rounds)
    figures = {name: {key: one.as_json() for key, one in found.items()} for name, found in turns.items()}
    fastest = min(turns, key=lambda name: turns[name]["time"].median)
    about = _about(chosen, device) | {"attention": list(size), "unable": failed}
    tell({"figures": figures, "about": about, "said": f"{fastest} is fastest at {' x '.join(map(str, size))}"})


def of_the_device(done: float, recipe: Recipe, device: torch.device) -> dict[str, Any]:
    """What `done` GFLOP/s are of the product of large matrices that this device makes in the recipe's type, and of what
    its data sheet says, where that is known (MFU)."""
    figures = {
        "arithmetic": figure(done, "GFLOP/s"),
        "of the matrix rate": figure(done / matrix_rate(recipe, device), "share"),
    }
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    if peak := peak_gflops(name, half_precision(recipe.precision, device) is not None):
        figures["MFU"] = figure(done / peak, "share")
    return figures


def _about(recipe: Recipe, device: torch.device) -> dict[str, Any]:
    half = half_precision(recipe.precision, device)
    return {"recipe": to_json(settled(recipe, device)), "computed_in": name_of(half)}
