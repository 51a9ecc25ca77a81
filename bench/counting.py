"""What code asks of a GPU: kernels, bytes, scattered adds and waits of the host, counted where there is no GPU.

The code runs on fake tensors (`bench/fake_gpu.py`), which cost neither memory nor a GPU, under a mode that sees every
operation that torch dispatches:

- kernels: operations that compute; views and allocations are none. A convolution's backward is one here and up to three
  in truth; what torch.compile fuses is many here and one in truth. Two versions of the code compare all the same.
- bytes: of each kernel, what it reads and what it writes, each tensor's elements once, whatever a cache would save
- scatters: kernels that add atomically in places which meet: slow, and another order of the sum each time
- waits: operations by which the host waits for the device: a value that is asked for, a copy into ordinary memory

A node of autograd's graph belongs to the part of the forward that made it, by its sequence number; so each part has its
backward apart. `david bench counts` counts a whole step; to count something else, as the losses alone:

    counting = Counting()
    with fake_gpu(Walk(counting.entering)), counting:
        with counting.of("losses"):
            loss = compare(prediction, batch, terms).sum()
        loss.backward()
    counting.found["losses, backward"].kernels
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.autograd.graph import Node
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

REST = "rest"
# of no kernel: allocations, and what only changes how a tensor is read
NONE = ("empty", "new_empty", "lift", "detach", "alias", "resize", "set_", "_unsafe_view", "_reshape_alias")
SCATTERS = (
    *("scatter_add", "scatter_reduce", "index_add", "index_reduce", "embedding_dense_backward", "histc", "bincount"),
    *("upsample_bilinear2d_backward", "upsample_bicubic2d_backward", "upsample_linear1d_backward"),
    *("_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward", "grid_sampler_2d_backward"),
    *("replication_pad1d_backward", "replication_pad2d_backward", "reflection_pad2d_backward"),
    *("max_pool2d_with_indices_backward", "_adaptive_avg_pool2d_backward"),
)
ACCUMULATING = ("index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put", "put_")  # where they are asked to
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "is_nonzero", "equal")
OVERWRITE = ("copy_", "fill_", "zero_")  # what they change they do not read
COPIES = ("_to_copy", "copy_")


@dataclass
class Count:
    """kernels, scatters, waits: how many; read, written: bytes; by, moved: kernels, and bytes, by the name of
    their operation"""

    kernels: int = 0
    read: int = 0
    written: int = 0
    scatters: int = 0
    waits: int = 0
    by: Counter[str] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: "Count") -> "Count":
        return Count(**{name: getattr(self, name) + getattr(other, name) for name in (*UNITS, "by", "moved")})

    @property
    def bytes(self) -> int:
        return self.read + self.written

    def add(self, name: str, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> None:
        """Take in one operation, its arguments and what came out."""
        changed = {id(one): one for one in _written(func, args, kwargs)}
        given = _tensors((args, kwargs))
        fresh = [one for one in _tensors(out) if id(one) not in changed]
        self.waits += name in WAITS or _to_host(name, given, fresh)
        if all(one.device.type == "cpu" for one in (*fresh, *changed.values())):
            return  # nothing, or something for the host
        self.kernels += 1
        self.by[name] += 1
        overwrites = name in OVERWRITE
        read = sum(extent(one) for one in given if not (overwrites and id(one) in changed))
        written = sum(extent(one) for one in (*fresh, *changed.values()))
        self.read, self.written, self.moved[name] = (
            self.read + read,
            self.written + written,
            self.moved[name] + read + written,
        )
        accumulates = name in ACCUMULATING and (True in args[3:] or kwargs.get("accumulate", False))
        self.scatters += name in SCATTERS or name.rstrip("_") in SCATTERS or accumulates

    def as_json(self) -> dict[str, Any]:
        return {name: {"unit": unit, "median": getattr(self, name)} for name, unit in UNITS.items()}


UNITS = {"kernels": "kernels", "read": "bytes", "written": "bytes", "scatters": "kernels", "waits": "waits"}


def extent(tensor: torch.Tensor) -> int:
    """Bytes of the elements that a tensor has, those once that a broadcast repeats."""
    sizes = [n for n, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride or n == 0]
    return math.prod(sizes) * tensor.element_size()


def _tensors(tree: Any) -> list[torch.Tensor]:
    """Each of them once."""
    return list({id(one): one for one in tree_leaves(tree) if isinstance(one, torch.Tensor)}.values())


def _written(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
    """The arguments that the operation changes, as its schema says."""
    given = {about.name: one for about, one in zip(func._schema.arguments, args, strict=False)} | dict(kwargs)
    changed = [about.name for about in func._schema.arguments if about.alias_info and about.alias_info.is_write]
    return _tensors([given.get(name) for name in changed])


def _to_host(name: str, given: list[torch.Tensor], fresh: list[torch.Tensor]) -> bool:
    """Whether it is a copy from the device into memory of the host. `copy_` is given where it copies to first."""
    if name not in COPIES:
        return False
    there, *more = (*given, *fresh) if name == "copy_" else (*fresh, *given)
    return there.device.type == "cpu" and any(one.device.type != "cpu" for one in more)


class Counting(TorchDispatchMode):
    """Counts what is dispatched while it is entered, by part, into `found`: `PART, forward` and `PART, backward`, or
    the part's name alone for `REST` and those that are entered as `alone`."""

    def __init__(self):
        super().__init__()
        self.clear()

    def clear(self) -> None:
        """Forget all that was counted."""
        self.found: dict[str, Count] = {}
        self.forward, self.backward = REST, ""  # what counts now; the second where a node is walked
        self.begins, self.parts = [0], [REST]  # the sequence number of each part's first node

    def enter(self, part: str, alone: bool = False) -> None:
        """What comes now belongs to `part`."""
        self.forward = part if alone or part == REST else f"{part}, forward"
        self.begins.append(torch.autograd._get_sequence_nr())  # pyright: ignore[reportAttributeAccessIssue]
        self.parts.append(part)

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Meanwhile all belongs to `part`."""
        before = self.forward, self.parts[-1]
        self.enter(part)
        try:
            yield
        finally:
            self.enter(before[1])
            self.forward = before[0]

    def entering(self, node: Node | None) -> None:
        """Is called where a backward comes to a node, and with None at its end. What a leaf adds goes to the part of
        the node before it."""
        if node is None:
            self.backward = ""
        elif not node.name().endswith("AccumulateGrad"):
            self.backward = f"{self.parts[bisect_right(self.begins, node._sequence_nr()) - 1]}, backward"

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name == "_local_scalar_dense":  # a fake tensor has no value: any will do to go on
            out: Any = 1.0 if args[0].is_floating_point() else 1
        else:
            out = func(*args, **kwargs)
        if not (func.is_view or name.startswith(NONE)):
            self.found.setdefault(self.backward or self.forward, Count()).add(name, func, args, kwargs, out)
        return out
