"""The network through torch.compile, or as it is where that fails."""

from collections.abc import Callable

import torch
from torch import nn
from torch._functorch import config as functorch

from david.model.foreign import first_line
from david.model.prediction import Prediction


class Compiled:
    """Called with images it says what the network says.

    Training's graph alone is compiled: whoever else calls the network, to measure it or to draw, calls it as it is, and
    a last part of another size gets a graph of its own.

    tell: is called once, with a sentence, where torch.compile fails; the network then runs as it is
    """

    def __init__(self, network: nn.Module, tell: Callable[[str], None]):
        self.network, self.tell = network, tell
        self.graph: Callable[[torch.Tensor], Prediction] | None = torch.compile(network.forward, dynamic=False)
        # the backward too in the first forward, where what fails can still be done without: torch has no public way
        functorch.force_non_lazy_backward_lowering = True

    def __call__(self, image: torch.Tensor) -> Prediction:
        if self.graph is not None:
            try:
                return self.graph(image)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # of Dynamo, Inductor, Triton, the C++ compiler: they share no base
                self.graph = None
                cause = getattr(error, "inner_exception", error)  # of a backend
                self.tell(f"torch.compile failed, so the network runs uncompiled ({first_line(cause)})")
        return self.network(image)  # where the network itself is at fault, it says so here
