"""A network's weights in half precision, made all at once before it computes.

Autocast makes them one by one, each where it is used, and each one's gradient float32 again on the way back: two
kernels a weight, of which david-base has 100 in its ViT and as many behind it. Here one operation makes all of them,
and one all gradients, of the same values to the bit. A graph of torch.compile is given them, too: it would make each
by a kernel of its own, and take 286 for the decoder and the heads forward, not 182 (`python tests/kernels.py`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from david.model.networks.network import Network

LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)  # what autocast runs in half precision


class Halves:
    """Those of a network whose layers are called by one thread at a time: meanwhile each layer has the half in place of
    its parameter.

    leave: parts of it that keep their own, by name; so do the children that a module names in `wide`"""

    def __init__(self, network: Network, dtype: torch.dtype, leave: tuple[str, ...] = ()):
        self.dtype = dtype
        kept = {inner for name in leave for inner in network.get_submodule(name).modules()}
        for module in network.modules():
            kept |= {inner for name in getattr(module, "wide", ()) for inner in module.get_submodule(name).modules()}
        self.layers = [one for one in network.modules() if isinstance(one, LAYERS) and one not in kept]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        places = [
            (layer._parameters, name) for layer in self.layers for name, p in layer._parameters.items() if p is not None
        ]
        own = [parameters[name] for parameters, name in places]
        made: Any = _Cast.apply(*own, self.dtype)
        try:
            for (parameters, name), half in zip(places, made, strict=True):
                parameters[name] = half
            yield
        finally:
            for (parameters, name), parameter in zip(places, own, strict=True):
                parameters[name] = parameter


class _Cast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[torch.Tensor, ...]:
        *weights, dtype = given
        ctx.set_materialize_grads(False)
        made = _cast(weights, dtype)
        frozen = [half for half, learns in zip(made, ctx.needs_input_grad[:-1], strict=True) if not learns]
        ctx.mark_non_differentiable(*frozen)
        ctx.dtype = weights[0].dtype
        return tuple(made)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        there = [one for one in gradients if one is not None]
        made = iter(_cast(there, ctx.dtype))
        return *(None if one is None else next(made) for one in gradients), None


def _cast(tensors: Any, dtype: torch.dtype) -> list[torch.Tensor]:
    made = [torch.empty_like(one, dtype=dtype) for one in tensors]
    if made:
        torch._foreach_copy_(made, list(tensors))
    return made
