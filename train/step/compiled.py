"""Parts of a training step through torch.compile, or as they are where that fails.

Three graphs at most, of the network, of the losses, and of what sums them up, with sizes as numbers; a last part of
another size gets graphs of its own. Where the network's weights are shared out, each part of it that is gathered by
itself is a graph by itself, see `sharding.py`. Training's graphs alone: whoever measures or draws calls the network as
it is.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch._functorch import config as functorch

from david.model.foreign import first_line

WITH_GRAPHS = ("reduce-overhead", "max-autotune")  # modes that record CUDA graphs
FEW = 12  # images of a rank at once, up to which the launches of kernels take longer than the kernels


class Compiler:
    """Makes graphs. mode: a recipe's `compile`; tell: is called with a sentence where torch.compile fails, once for
    the network and once for what else there is"""

    def __init__(self, mode: str, tell: Callable[[str], None]):
        self.mode, self.tell = mode, tell
        self.on = mode != "off"
        if self.on:
            # the backward too in the first forward, where what fails can still be done without: torch has no public way
            functorch.force_non_lazy_backward_lowering = True

    def __call__(self, function: Callable[..., Any], what: str = "the network runs", vital: bool = True) -> Any:
        """The function, or the module, as a graph; itself where nothing is compiled.

        vital: where this fails the others are not tried, as what fails is the compiler"""
        return Compiled(function, what, vital, self) if self.on else function

    def begin_step(self) -> None:
        """What the graphs of the step before gave is not needed any more, and CUDA graphs may write over it."""
        if self.on and self.mode in WITH_GRAPHS:
            torch.compiler.cudagraph_mark_step_begin()

    def advise(self, images: int, device: torch.device) -> None:
        """Say so where CUDA graphs, which keep a step's memory for themselves, gain nothing."""
        if self.mode == "reduce-overhead" and device.type == "cuda" and images > FEW:
            self.tell(
                f"compile=reduce-overhead is for {FEW} images at once or fewer, where launching kernels takes longer "
                f"than computing; here are {images}: compile=default is as fast and takes less memory"
            )


class Compiled:
    """Called as what it was made of. Where nothing is to be learnt, as in an evaluation, it runs that as it is."""

    def __init__(self, function: Callable[..., Any], what: str, vital: bool, compiler: Compiler):
        self.function, self.what, self.vital, self.compiler = function, what, vital, compiler
        forward = function.forward if isinstance(function, nn.Module) else function
        mode = None if compiler.mode == "default" else compiler.mode  # none is known to all backends
        self.graph: Callable[..., Any] | None = torch.compile(forward, dynamic=False, mode=mode)

    def __call__(self, *args: Any, **named: Any) -> Any:
        if self.graph is not None and self.compiler.on and torch.is_grad_enabled():
            try:
                return self.graph(*args, **named)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # of Dynamo, Inductor, Triton, the C++ compiler: they share no base
                self.graph = None
                self.compiler.on &= not self.vital
                cause = getattr(error, "inner_exception", error)  # of a backend
                self.compiler.tell(f"torch.compile failed, so {self.what} uncompiled ({first_line(cause)})")
        return self.function(*args, **named)  # where the function itself is at fault, it says so here
