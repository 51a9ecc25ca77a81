"""Kernels of a compiled step's decoder, heads and losses, as Inductor schedules them; no code is made or run.

    python tests/kernels.py [RECIPE [HEIGHT WIDTH]]

Counted by the scheduler of the CPU's backend, on a machine without a GPU: what it fuses differs there, what it leaves
to libraries and what casts weights hardly does. A fused group and a call of a library are a kernel each; what only
names a part of another's result, or makes nothing, is none. Weights come in half precision once (`halves.py`), and
for comparison one by one, as autocast makes them. Two minutes.
"""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch._functorch import config as functorch
from torch._functorch.aot_autograd import make_boxed_func
from torch._inductor import compile_fx, scheduler
from torch._inductor import config as inductor

from david.bench.fake_gpu import batch_of
from david.model import build
from david.model.networks.network import Network
from david.pipeline.batch import Batch
from david.train import recipes
from david.train.recipe import Recipe, override
from david.train.step.halves import Halves
from david.train.tasks.supervised import Supervised

NONE = ("NopKernelSchedulerNode",)  # of Inductor's nodes, what is no kernel
PART = "MultiOutput"


class CountedError(Exception):
    """Ends a compilation before code is made."""


class Scheduled:
    """A backend of torch.compile that counts kernels and runs the graph as it is. found: of each graph, in order"""

    def __init__(self) -> None:
        self.found: list[int] = []

    def __call__(self, graph: Any, given: Any) -> Any:
        def counted(planned: Any) -> None:
            kinds = [(type(one).__name__, type(one.node).__name__) for one in planned.nodes]
            self.found.append(sum(kind not in NONE and inner != PART for kind, inner in kinds))
            raise CountedError

        def inner(module: Any, inputs: Any, **how: Any) -> Any:
            try:
                compile_fx.compile_fx_inner(module, inputs, **how)
            except Exception as error:
                if not isinstance(getattr(error, "inner_exception", error), CountedError):
                    raise
            return make_boxed_func(module.forward)

        with mock.patch.object(scheduler.Scheduler, "codegen", counted):
            return compile_fx.compile_fx(graph, given, inner_compile=inner)


class Behind(nn.Module):
    """What comes behind the backbone."""

    def __init__(self, network: Network):
        super().__init__()
        self.network: Any = network

    def forward(self, image: torch.Tensor, tokens: Any) -> list[torch.Tensor]:
        network = self.network
        image = network.normalise(image)
        map_ = network.decoder(network.reassemble(tokens), network.resizer(image))[0]
        return [head(map_, image.shape[-2:]) for head in network.heads.values()]


def kernels(function: Callable[..., Any], *given: Any) -> tuple[int, int]:
    """Forward and backward."""
    torch.compiler.reset()
    backend = Scheduled()
    torch.compile(function, backend=backend, dynamic=False)(*given)
    forward, backward = backend.found
    return forward, backward


def of_network(recipe: Recipe, batch: Batch, at_once: bool) -> tuple[int, int]:
    network: Any = build(recipe.model).to(memory_format=torch.channels_last)
    halves = Halves(network, torch.bfloat16) if at_once else None
    with torch.autocast("cpu", torch.bfloat16), halves.in_place() if halves else nullcontext():
        with torch.no_grad():
            tokens = network.backbone(network.normalise(batch.image))
        tokens = [tuple(one.detach().clone().requires_grad_() for one in pair) for pair in tokens]
        return kernels(Behind(network), batch.image, tokens)


def of_losses(recipe: Recipe, batch: Batch) -> tuple[int, int]:
    task = Supervised(recipe.objective, recipe.model)
    b, _, h, w = batch.image.shape
    says = {"relative_depth": 1, "normals": 3, "alpha_logits": 1}
    said = {name: torch.rand(b, channels, h, w, requires_grad=True) for name, channels in says.items()}
    return kernels(task.judged, said, batch)


def main() -> int:
    name, *size = sys.argv[1:] or ["david-base"]
    height, width = size or ("96", "64")
    recipe = override(recipes.recipe(name), [f"data.height={height}", f"data.width={width}", "batch_size=2"])
    with mock.patch("david.bench.fake_gpu.CUDA", torch.device("cpu")):
        batch = batch_of(recipe)
    parts = {
        "decoder and heads": of_network(recipe, batch, at_once=True),
        "losses": of_losses(recipe, batch),
        "decoder and heads, weights cast one by one": of_network(recipe, batch, at_once=False),
    }
    for part, (forward, backward) in parts.items():
        print(f"{name}, {part}: {forward} kernels forward, {backward} backward")
    return 0


if __name__ == "__main__":
    functorch.force_non_lazy_backward_lowering = True
    with inductor.patch(force_disable_caches=True):
        sys.exit(main())
