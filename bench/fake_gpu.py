"""A GPU that is not there: torch's fake tensors on the device `cuda`, with shapes, types and strides but no values.

Code that runs among them runs as it does on a GPU, choice of device by choice of device. A tensor that was left on the
CPU raises, and so does whoever asks for a value (`.item()`, `nonzero`), which on a GPU would make the host wait.

Autograd's engine asks the driver for a context before it touches a `cuda` tensor, so without a driver nothing goes
backward. `Walk` does its work here, and runs the very nodes that the engine would run: those of largest sequence number
first, what meets in one place summed, and cast to what the forward had.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.autograd.graph import Node, get_gradient_edge
from torch.utils import _foreach_utils
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from david.model.networks.network import Network, build
from david.pipeline.batch import Batch, Target
from david.train.distributed import World
from david.train.recipe import Recipe
from david.train.step.step import Step

CUDA = torch.device("cuda", 0)
Slot = tuple[Node, int]  # an input of a node of the graph


class Walk:
    """Stands in for the engine of autograd. entering: is called with each node before it runs, with None at the end"""

    def __init__(self, entering: Callable[[Node | None], None] = lambda node: None):
        self.entering = entering

    def backward(self, tensors: Any, grad_tensors: Any = None, *_: Any, **__: Any) -> None:
        """`torch.autograd.backward`, into the `grad` of every leaf."""
        self._run(_several(tensors), _several(grad_tensors), {})
        self.entering(None)

    def grad(self, outputs: Any, inputs: Any, grad_outputs: Any = None, *_: Any, **__: Any) -> tuple[Any, ...]:
        """`torch.autograd.grad`; within another walk too."""
        wanted: dict[Slot, Any] = {_slot(one): None for one in _several(inputs)}
        self._run(_several(outputs), _several(grad_outputs), wanted)
        return tuple(wanted[_slot(one)] for one in _several(inputs))

    @torch.no_grad()
    def _run(self, roots: Sequence[torch.Tensor], gradients: Sequence[Any], wanted: dict[Slot, Any]) -> None:
        given: dict[Node, dict[int, Any]] = {}
        for root, gradient in zip(roots, gradients or [None] * len(roots), strict=True):
            self._add(given, _slot(root), torch.ones_like(root) if gradient is None else gradient)
        waits = _dependencies(list(given))
        ready = [(-node._sequence_nr(), index, node) for index, node in enumerate(given) if not waits[node]]
        heapq.heapify(ready)
        while ready:
            *_, node = heapq.heappop(ready)
            self.entering(node)
            arrived = given.pop(node, {})
            for index, gradient in arrived.items():
                if (node, index) in wanted:
                    wanted[node, index] = gradient
            if node.name().endswith("AccumulateGrad"):
                if not wanted and arrived:
                    _accumulate(node.variable, arrived[0])  # pyright: ignore[reportAttributeAccessIssue]
                continue
            after = _called(node, arrived) if arrived else (None,) * len(node.next_functions)
            for (following, index), gradient in zip(node.next_functions, after, strict=False):
                if following is None:
                    continue
                if gradient is not None:
                    self._add(given, (following, index), gradient)
                waits[following] -= 1
                if not waits[following]:
                    heapq.heappush(ready, (-following._sequence_nr(), id(following), following))

    @staticmethod
    def _add(given: dict[Node, dict[int, Any]], slot: Slot, gradient: torch.Tensor) -> None:
        node, index = slot
        expected = node._input_metadata[index]
        if gradient.shape != expected.shape:  # the forward repeated it
            gradient = gradient.sum_to_size(expected.shape)
        gradient = gradient if gradient.dtype == expected.dtype else gradient.to(expected.dtype)
        here = given.setdefault(node, {})
        here[index] = here[index] + gradient if index in here else gradient


def _several(given: Any) -> Sequence[Any]:
    return () if given is None else (given,) if isinstance(given, torch.Tensor) else given


def _slot(tensor: torch.Tensor) -> Slot:
    edge = get_gradient_edge(tensor)
    return edge.node, edge.output_nr


def _dependencies(roots: list[Node]) -> dict[Node, int]:
    """How many nodes send something to each one that can be reached."""
    waits, open_ = dict.fromkeys(roots, 0), list(roots)
    while open_:
        for following, _ in open_.pop().next_functions:
            if following is None:
                continue
            if following not in waits:
                waits[following] = 0
                open_.append(following)
            waits[following] += 1
    return waits


def _accumulate(leaf: torch.Tensor, gradient: torch.Tensor) -> None:
    """As the engine's own node does, which takes a gradient that lies in memory as the leaf does, and copies others.
    That node would copy all: it can't know that nobody else keeps them."""
    if leaf.grad is not None:
        leaf.grad += gradient
    elif gradient.stride() == leaf.stride():
        leaf.grad = gradient
    else:
        leaf.grad = torch.empty_like(leaf).copy_(gradient)


def _called(node: Any, arrived: dict[int, Any]) -> tuple[Any, ...]:
    """What a node makes of the gradients of its outputs."""
    gradients = [arrived.get(index) for index in range(len(node._input_metadata))]
    if callable(node):
        found = node(*gradients)
    else:  # a `torch.autograd.Function`
        gradients = [
            torch.zeros(about.shape, dtype=about.dtype, device=about.device) if one is None else one
            for one, about in zip(gradients, node._input_metadata, strict=True)
        ]
        found = node.apply(*gradients)
        if isinstance(found, tuple):  # one for each argument of its forward, tensor or not
            found = found[: len(node.next_functions)]
    return found if isinstance(found, tuple) else (found,)


@contextmanager
def _swapped(where: Any, name: str, value: Any) -> Iterator[None]:
    kept = getattr(where, name)
    setattr(where, name, value)
    try:
        yield
    finally:
        setattr(where, name, kept)


class _Layouts(TorchDispatchMode):
    """What torch's fakes forget, under autocast and backwards: cuDNN convolves channels-last what is so on one side,
    and gives gradients in the layout of what they are of."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        out, last = func(*args, **(kwargs or {})), torch.channels_last
        backward = func is torch.ops.aten.convolution_backward.default
        if not backward and func is not torch.ops.aten.convolution.default:
            return out
        if not any(one.ndim == 4 and one.is_contiguous(memory_format=last) for one in args[backward : 2 + backward]):
            return out
        if not backward:
            return out.to(memory_format=last)
        return (*(one if one is None else one.to(memory_format=last) for one in out[:2]), out[2])


@contextmanager
def fake_gpu(walk: Walk | None = None) -> Iterator[None]:
    """Meanwhile tensors that are made are fake, those on `cuda` too, and autograd goes by `walk`; torch says of the
    device that it knows bfloat16."""
    walk = walk or Walk()
    with ExitStack() as stack:
        for where, name, answer in (
            (torch.cuda.amp.common, "amp_definitely_not_available", lambda: False),
            (torch.cuda, "is_bf16_supported", lambda *_, **__: True),
            (_foreach_utils, "_foreach_supported_types", [torch.Tensor, FakeTensor]),
            (torch.autograd, "backward", walk.backward),
            (torch.autograd, "grad", walk.grad),
        ):
            stack.enter_context(_swapped(where, name, answer))
        stack.enter_context(FakeTensorMode())
        stack.enter_context(_Layouts())
        yield


def on_gpu(recipe: Recipe) -> Network:
    """The recipe's network on the GPU that is not there, as a step takes it. Within `fake_gpu`."""
    with torch.device("meta"), _disable_current_modes():
        network = build(recipe.model).to(memory_format=torch.channels_last)
    for module in network.modules():
        for name, one in module._parameters.items():
            if one is not None:
                module._parameters[name] = nn.Parameter(_there(one), requires_grad=one.requires_grad)
        for name, one in module._buffers.items():
            if one is not None:
                module._buffers[name] = _there(one)
    return network


def _there(meta: torch.Tensor) -> torch.Tensor:
    return torch.empty_strided(meta.size(), meta.stride(), dtype=meta.dtype, device=CUDA)


def batch_of(recipe: Recipe) -> Batch:
    """A batch as the recipe's loader would hand it to the GPU that is not there."""
    b, h, w = recipe.batch_size, recipe.data.height, recipe.data.width
    assert h and w

    def some(*shape: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.zeros(shape, dtype=dtype, device=CUDA)

    kinds = {"alpha": (1, torch.uint8), "depth": (1, torch.float16), "normals": (3, torch.float16)}
    targets = {
        name: Target(some(b, channels, h, w, dtype=dtype), some(b, 1, h, w, dtype=torch.bool))
        for name, (channels, dtype) in kinds.items()
    }
    return Batch(
        image=some(b, 3, h, w, dtype=torch.uint8).contiguous(memory_format=torch.channels_last),
        targets=targets,
        intrinsics=some(b, 3, 3, dtype=torch.float32),
        depth_offset_m=some(b, dtype=torch.float32),
        depth_scale_m=some(b, dtype=torch.float32),
        ids=some(b, dtype=torch.int64),
        epochs=some(b, dtype=torch.int64),
        real=some(b, dtype=torch.bool),
        sets=some(b, dtype=torch.int64),
    )


def step_of(recipe: Recipe) -> Step:
    """The recipe's step there, uncompiled and alone. Attention by its formula: of its kernels fakes know nothing."""
    alone = replace(recipe, compile="off", parallel="ddp", attention="math")
    return Step(on_gpu(alone), alone, World(0, 1, CUDA))
