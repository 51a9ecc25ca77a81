"""A step that was not finite, kept whole so that it can be looked at: its batches, its weights, what it gave.

    bad/step-00000012/
        model.safetensors       the weights that it began with, and ended with: it was left out
        rank-0.safetensors      the batch of rank 0, and so on
        bundle.json             step, losses, ids and threads of each rank, gradient's norm, recipe

B images of a rank, T terms of the loss.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from david import __version__
from david.model import Network, build
from david.model import tensors as tensor_file
from david.pack.errors import DavidError
from david.pack.files import sync, write_whole
from david.pipeline import trace
from david.pipeline.batch import TARGETS, Batch
from david.train import recipe as recipes
from david.train.distributed import World, whole
from david.train.run import BUNDLE
from david.train.shelf import MODEL
from david.train.step.gradients import cut
from david.train.step.step import Outcome, Step, seed_generators

MOST = 3  # that a run keeps: one says what is wrong, and each is as large as the network


class Watch:
    """Keeps a bundle of each step that was not finite, `MOST` at most. Every rank has one and looks at the same times.

    A step's norm is the same on all ranks, so all decide alike. Looking waits for no more than the step before: between
    two steps' changes of the weights, where the device has the next backward to do meanwhile. The weights are then
    still those that the step had, for it changed none.
    """

    def __init__(self, folder: Path, step: Step, world: World, tell: Callable[[str], None]):
        self._folder, self._step, self._world, self._tell = folder, step, world, tell
        self._held: tuple[Outcome, Batch] | None = None
        self._finite = torch.empty((), dtype=torch.bool, pin_memory=world.device.type == "cuda")
        self._sent = torch.cuda.Event() if world.device.type == "cuda" else None

    def hold(self, outcome: Outcome, batch: Batch) -> None:
        """Note a step and this rank's batch, which `look` will ask about."""
        self._held = outcome, batch
        self._finite.copy_(outcome.norm.isfinite(), non_blocking=True)
        if self._sent:
            self._sent.record()

    @trace.spanned("log")
    def look(self) -> None:
        """Keep a bundle of the step that was noted last, if it was not finite."""
        if self._held is None:
            return
        (outcome, batch), self._held = self._held, None
        if self._sent:
            with trace.span("synchronise"):
                self._sent.synchronize()
        if not self._finite and not self._overflowed(outcome):
            self._keep(outcome, batch)

    def _overflowed(self, outcome: Outcome) -> bool:
        """Whether only the scaled gradient left float16's range, as it does now and then while a scale is found."""
        return self._step.scaling is not None and not self._world.any(not bool(outcome.losses.isfinite().all()))

    def _keep(self, outcome: Outcome, batch: Batch) -> None:
        world, final = self._world, self._folder / f"step-{outcome.step:08d}"
        aside = final.with_name(f".{final.name}.part")
        full = world.leads and (final.exists() or len(list(self._folder.glob("step-*"))) >= MOST)
        losses, ids = world.gather(outcome.losses), world.gather(batch.ids)
        threads = world.gather(torch.tensor(torch.get_num_threads(), device=world.device))
        note = f"step {outcome.step} was not finite and is left out"
        if world.any(full):
            self._tell(note)
            return
        if world.leads:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
        world.wait()  # for the folder
        named = {name: one.cpu().contiguous() for name, one in batch.tensors().items()}
        tensor_file.write(named, aside / f"rank-{world.rank}.safetensors")
        world.wait()  # for all ranks' files
        state = {name: whole(tensor).cpu() for name, tensor in self._step.network.state_dict().items()}
        if world.leads:
            tensor_file.write({name: tensor.contiguous() for name, tensor in state.items()}, aside / MODEL)
            about = {
                **{"david": __version__, "step": outcome.step, "terms": list(self._step.task.terms)},
                "ranks": [
                    {"losses": [repr(value) for value in row], "ids": numbers, "threads": count}
                    for row, numbers, count in zip(losses.tolist(), ids.tolist(), threads.tolist(), strict=True)
                ],
                **{"norm": repr(outcome.norm.item()), "real": int(outcome.count)},
                "recipe": recipes.to_json(self._step.recipe),
            }
            write_whole(aside / BUNDLE, json.dumps(about, indent=1).encode() + b"\n")
            aside.rename(final)
            sync(self._folder)
        self._tell(f"{note}; look at it with: david replay --bundle {final}")


@dataclass(frozen=True)
class Again:
    """A rank's part of a step, computed again. before, now: term -> its share of the loss; finite: whether all of the
    gradient is; culprits: sample id -> the terms that are not finite for it"""

    before: dict[str, float]
    now: dict[str, float]
    finite: bool
    culprits: dict[int, list[str]]

    @property
    def same(self) -> bool:
        """Whether each term is what it was: to the bit, a nan counting as equal to another."""
        return all(a == b or (a != a and b != b) for a, b in zip(self.before.values(), self.now.values(), strict=True))


def replay(folder: Path, device: torch.device) -> tuple[int, list[Again]]:
    """Compute the step of a bundle again, in one process: its number, and what came out for each rank.

    Raises DavidError where the folder holds no whole bundle.
    """
    about, batches, network = load(folder)
    recipe, number = recipes.from_json(about["recipe"]), about["step"]
    step = Step(network.to(device).to(memory_format=torch.channels_last), recipe, World(0, 1, device))
    count, scale = torch.tensor(about["real"], device=device), torch.ones((), device=device)
    found = []
    for rank, batch in enumerate(batches):
        batch = batch.to(device)
        seed_generators(recipe.seed, number, rank)
        step.task.begin(recipe.seed, number)
        step.optimiser.zero_grad(set_to_none=True)
        with on_threads(about["ranks"][rank].get("threads")):
            now = step.gradients(batch, count, scale)
        finite = all(bool(p.grad.isfinite().all()) for p in step.parameters if p.grad is not None)
        culprits = {}
        for image in cut(batch, 1):
            alone = step.gradients(image, count, scale)
            if bad := [term for term, value in zip(step.task.terms, alone.tolist(), strict=True) if value - value != 0]:
                culprits[int(image.ids)] = bad
        before = dict(zip(step.task.terms, map(float, about["ranks"][rank]["losses"]), strict=True))
        found.append(Again(before, dict(zip(step.task.terms, now.tolist(), strict=True)), finite, culprits))
    return number, found


@contextmanager
def on_threads(count: int | None) -> Iterator[None]:
    """Meanwhile torch computes on so many threads of the CPU, by which it cuts its sums; None leaves it as it is, for a
    bundle that does not say."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def load(folder: Path) -> tuple[dict[str, Any], list[Batch], Network]:
    """What `Watch` kept: bundle.json, each rank's batch, the network with its weights, all on the host."""
    try:
        about = json.loads((folder / BUNDLE).read_bytes())
        batches = [_batch(folder / f"rank-{rank}.safetensors") for rank in range(len(about["ranks"]))]
        network = build(recipes.from_json(about["recipe"]).model)
        network.load_state_dict(load_file(folder / MODEL))
        return about, batches, network
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise DavidError(f"{folder}: not a whole bundle of a step ({type(error).__name__}: {error})") from error


def _batch(path: Path) -> Batch:
    named = load_file(path)
    if "depth" in named:
        named = _renamed(named)
    return Batch.of(named | {"image": named["image"].contiguous(memory_format=torch.channels_last)})


def _renamed(kept: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A batch that was kept before it had targets; at first normals had no mask of their own either."""
    kept = {"normals_valid": kept["valid"]} | kept
    targets = {
        "alpha": (kept.pop("alpha"), torch.ones_like(kept["valid"])),
        "depth": (kept.pop("depth"), kept.pop("valid")),
        "normals": (kept.pop("normals"), kept.pop("normals_valid")),
    }
    for name, (value, valid) in targets.items():
        kept |= {f"{TARGETS}{name}.value": value, f"{TARGETS}{name}.valid": valid}
    metres = {f"depth_{name}_m": kept.pop(f"depth_{name}_cm") / 100 for name in ("offset", "scale")}
    return kept | metres | {"sets": torch.zeros_like(kept["ids"])}
