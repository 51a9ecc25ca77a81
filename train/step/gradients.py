"""The gradient of the loss over the global batch, left in the parameters; the same on every rank.

B this rank's images, T terms of the loss. `Learner` is what is differentiated: the network and its task.

A term's loss is its mean over the real images of the global batch. So each rank divides its sums by the global count,
and the ranks' gradients are summed. Three ways to sum, for speed, for memory and for proof:

- `Ddp` overlaps the all-reduce with the backward (Li et al., "PyTorch Distributed", VLDB 2020).
- `Fsdp` gives each rank a share of every sum, and of the weights, see `sharding.py`.
- `Exact` computes each image by itself, on one thread, and adds the gradients in float64, where sums of a few float32
  numbers are exact and their order is nothing. On a CPU the result is the same to the bit on any number of ranks, cores
  and threads. It matters: through ReLUs and absolute values, whose gradients jump, a difference in the last bit of a
  weight grows to a thousandth of the loss in 20 steps.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from inspect import signature
from threading import Semaphore
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from david.model.networks.network import Network
from david.model.prediction import Prediction
from david.pipeline import trace
from david.pipeline.batch import Batch
from david.train.distributed import World
from david.train.losses.masked import within
from david.train.recipe import Recipe
from david.train.step.compiled import Compiler
from david.train.step.halves import Halves
from david.train.step.precision import computing_in, half_precision
from david.train.step.sharding import compile_parts, share_out
from david.train.tasks.task import Task

# Takes this rank's batch, the global number of real images and the factor on the loss; leaves the gradient, with that
# factor, in the parameters, and returns this rank's share (T,) of each term's mean: the sum over ranks is the mean.
Gradients = Callable[[Batch, torch.Tensor, torch.Tensor], torch.Tensor]

# DDP sends no buffers in a step: none changes, they are constants that every rank makes for itself.
_NEW_NAME, _OLD_NAME = "forward_sync_buffers", "broadcast_buffers"  # the second is older torch's
NO_BUFFERS: dict[str, Any] = {
    _NEW_NAME if _NEW_NAME in signature(DistributedDataParallel).parameters else _OLD_NAME: False
}


class Learner(nn.Module):
    """Network and task as one module from tensors to a tensor, which is what DDP and autograd see through.

    reduced: what the network computes in, see `precision.py`
    halves: its weights so, where one thread computes with them whole, see `halves.py`
    compiler: makes graphs of its parts where the recipe asks for them; answer, end: those of the network, and of
        `ended`, where there are such
    asked: what the task calls in the network's place, if anything
    tell: is called with a sentence where torch.compile fails, see `compiled.py`"""

    def __init__(self, network: Network, task: Task, recipe: Recipe, device: torch.device, tell: Callable[[str], None]):
        super().__init__()
        self.network, self.task = network, task
        self.asked = task.join(network)
        self.reduced = half_precision(recipe.precision, device)
        self.compiler = Compiler(recipe.compile, tell)
        self.halves = None
        if self.reduced is not None and settled(recipe, device).parallel == "ddp":
            # a block that is computed again on the way back takes the weights that it finds then
            self.halves = Halves(network, self.reduced, leave=("backbone",) if recipe.recompute else ())
        self.answer = self.end = None
        if self.compiler.on and recipe.parallel != "fsdp":  # which compiles by parts, and shares out the task's weights
            self.answer = self.compiler(self.asked or network)
            self.end = self.compiler(self.ended, "sums of losses run", vital=False)
        if self.compiler.on:
            task.compile_with(self.compiler)

    @trace.spanned("losses")
    def forward(self, batch: Batch, count: torch.Tensor) -> torch.Tensor:
        """(T + 1,) float32: the sum of each term over the images of `batch` that it counts, divided by `count`; then
        what is descended. Over all batches that share one `count` they add up to those of the whole."""
        with computing_in(None, batch.image.device):
            terms, images = self.task(self.predict, batch)
            return (self.end or self.ended)(terms, images, count)

    def ended(self, terms: torch.Tensor, images: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        """What `forward` gives, of each image's terms, and of the images that each counts, (T, B)."""
        shares = within(terms, images).sum(1) / count
        # the gradient of a loss that is not finite may be: made nan, it tells every rank through the norm
        sound = shares.detach().sum() * 0 + 1
        total = self.task.total(shares, images.sum(1) / count) * sound
        return torch.cat([shares, total.unsqueeze(0)])

    @trace.spanned("forward")
    def predict(self, image: torch.Tensor) -> Prediction:
        with computing_in(self.reduced, image.device), self.halves.in_place() if self.halves else nullcontext():
            return (self.answer or self.asked or self.network)(image)


class Ddp:
    """Micro-batches one after the other, gradients summed in their own precision, over ranks by DDP.

    DDP averages over ranks, so the loss is multiplied with their number. The graph is static except while gradients
    gather over several backwards, which DDP's static graphs do not allow.
    """

    def __init__(self, learner: Learner, recipe: Recipe, world: World):
        self.size, self.micro_batch, self.compiler = world.size, recipe.micro_batch, learner.compiler
        self.learner: nn.Module = learner
        if world.size > 1:
            self.learner = DistributedDataParallel(
                learner,
                device_ids=[world.device.index] if world.device.type == "cuda" else None,
                gradient_as_bucket_view=True,
                static_graph=recipe.micro_batch is None,
                **NO_BUFFERS,
            )

    def __call__(self, batch: Batch, count: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        losses = []
        self.compiler.begin_step()
        parts = cut(batch, self.micro_batch)
        for index, part in enumerate(parts):
            with self.summing(last=index == len(parts) - 1):
                share = self.learner(part, count)
                with trace.span("backward"):
                    (share[-1] * scale * self.size).backward()
            losses.append(share[:-1].detach())
        return sum(losses[1:], losses[0])

    def summing(self, last: bool) -> AbstractContextManager:
        """Meanwhile gradients are summed over ranks after the last micro-batch only."""
        waits = not last and isinstance(self.learner, DistributedDataParallel)
        return self.learner.no_sync() if waits else nullcontext()  # pyright: ignore[reportCallIssue]


class Fsdp(Ddp):
    """The same over weights that are shared out; FSDP2 averages over ranks as DDP does. Between micro-batches each rank
    keeps the gradients whole, in float32."""

    def __init__(self, learner: Learner, recipe: Recipe, world: World):
        self.learner, self.size, self.micro_batch = learner, world.size, recipe.micro_batch
        self.compiler = learner.compiler
        self.shared = share_out(learner.network, learner.task, world, learner.reduced) if world.size > 1 else ()
        compile_parts(learner.network, learner.compiler)

    def summing(self, last: bool) -> AbstractContextManager:
        for module in self.shared:
            module.set_requires_gradient_sync(last)
        return nullcontext()


class Exact:
    """Image by image, side by side on threads, each of which sums its images' gradients in float64."""

    def __init__(self, learner: Learner, recipe: Recipe, world: World):
        self.learner, self.world = learner, world
        self.parameters = [p for p in learner.parameters() if p.requires_grad]
        self.threads = torch.get_num_threads()
        self.pool = ThreadPoolExecutor(self.threads, thread_name_prefix="images")
        self.asking = Semaphore(at_once_forward(self.threads))
        self.sums: list[Sum] = []  # one a thread that had images; kept, as fresh memory takes time

    def __call__(self, batch: Batch, count: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        images = cut(batch, 1)
        threads = min(self.threads, len(images))
        shares = [images[first::threads] for first in range(threads)]
        self.sums += [Sum(self.parameters) for _ in shares[len(self.sums) :]]
        torch.set_num_threads(1)  # inside an operator, whose sums would depend on it
        try:
            with trace.span("images"):
                losses = list(self.pool.map(lambda share, into: self.of(share, into, count, scale), shares, self.sums))
        finally:
            torch.set_num_threads(self.threads)
        with trace.span("backward"):
            first, *others = self.sums[:threads]
            for other in others:
                first.flat += other.flat
            first.flat.copy_(self.world.sum(first.flat))
            for parameter, values in zip(self.parameters, first.parts, strict=True):
                parameter.grad = torch.empty_like(parameter).copy_(values)
        return sum_wide([losses[n % threads][n // threads] for n in range(len(images))])

    @trace.spanned("share")
    def of(self, images: list[Batch], into: "Sum", count: torch.Tensor, scale: torch.Tensor) -> list[torch.Tensor]:
        """The losses (T,) of each of these batches of one; the sum of their gradients goes into `into`."""
        found = []
        for number, image in enumerate(images):
            with self.asking:
                losses = self.learner(image, count)
            with trace.span("backward"):
                gradients = torch.autograd.grad(losses[-1] * scale, self.parameters)
                (torch._foreach_add_ if number else torch._foreach_copy_)(into.parts, gradients)
            found.append(losses[:-1].detach())
        return found


def at_once_forward(threads: int) -> int:
    """How many of so many threads go forward at once. There Python asks for one small operator after the other: threads
    that do so together wait for its lock, and hand it from core to core. Backward torch's engine does."""
    return max(1, threads // 2)


class Sum:
    """flat: float64, all parameters one after the other; parts: views of it, each laid out as its parameter is"""

    def __init__(self, parameters: list[nn.Parameter]):
        sizes = [p.numel() for p in parameters]
        self.flat = torch.zeros(sum(sizes), dtype=torch.float64)
        places = self.flat.split(sizes)
        self.parts = [place.as_strided(p.shape, p.stride()) for place, p in zip(places, parameters, strict=True)]


def sum_wide(tensors: list[torch.Tensor]) -> torch.Tensor:
    """The sum of float32 tensors in float64."""
    total = tensors[0].double()
    for tensor in tensors[1:]:
        total += tensor
    return total


def gradients(learner: Learner, recipe: Recipe, world: World) -> Gradients:
    """The way that the recipe's `parallel` names."""
    return WAYS[settled(recipe, world.device).parallel](learner, recipe, world)


WAYS: dict[str, Callable[[Learner, Recipe, World], Gradients]] = {"ddp": Ddp, "fsdp": Fsdp, "exact": Exact}


def settled(recipe: Recipe, device: torch.device) -> Recipe:
    """The recipe with `parallel=auto` made one of the others, which is what its run is told to have.

    Exact on a CPU, where it costs little; ddp on a GPU, and where the recipe asks for what exact can't."""
    if recipe.parallel != "auto":
        return recipe
    exact = device.type == "cpu" and recipe.compile == "off" and recipe.micro_batch is None
    return replace(recipe, parallel="exact" if exact else "ddp")


def cut(batch: Batch, micro_batch: int | None) -> list[Batch]:
    """The batch in parts of `micro_batch` samples, the last may have fewer; whole where that is None."""
    size = micro_batch or len(batch)
    return [batch.slice(start, min(start + size, len(batch))) for start in range(0, len(batch), size)]
