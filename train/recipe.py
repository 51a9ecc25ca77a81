"""A recipe: everything that decides what a run computes, in one frozen tree.

    Recipe  ->  JSON (kept in the run, in checkpoints and exports)  ->  Recipe
    Recipe  +  `path=value` texts  ->  Recipe

`trees.py` does both, by the fields' types.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from david.model.configs.base import ModelConfig
from david.pack.errors import DavidError
from david.pipeline.config import DataConfig, fit_before
from david.train import trees
from david.train.config import ObjectiveConfig, OptimConfig
from david.train.metrics import best
from david.train.tasks.config import TaskConfig

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Attention = Literal["auto", "flash", "efficient", "cudnn", "math"]
Compile = Literal["off", "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]
SWITCHED: dict[Any, Compile] = {False: "off", True: "default"}  # `compile` as it was when it was on or off
RENAMED = {  # fields as they were called before, in stored recipes and after --set, and as they are called now
    "summation": "parallel",
    "optim.average": "optim.ema",
    "optim.average_warmup": "optim.ema_warmup",
}


@dataclass(frozen=True)
class Recipe:
    """What a run computes; where and with whom is said elsewhere and changes no result.

    batch_size: samples of one optimiser step over all ranks together
    steps: optimiser steps, and the end of the schedule
    seed: of the weights, the order, and the draws of augmentation and dropout
    pretrained: whether the backbone begins with timm's ImageNet weights
    precision: of the network's forward and backward; `auto` is bf16 on GPUs that have it, else fp32; fp16 scales the
        loss, see `scaling.py`. Losses, weights and the optimiser are fp32 always
    parallel: how ranks share the work and sum gradients: `ddp` for speed, `fsdp` for networks too large for one GPU's
        memory, `exact` for the same bits on any number of ranks, `auto` for exact on a CPU and ddp on a GPU; see
        `gradients.py`
    micro_batch: samples that a rank computes at once, its whole share of the batch where none; `exact` takes one
    recompute: drop what the ViT's blocks computed and compute it again in the backward (Chen et al., "Training Deep
        Nets with Sublinear Memory Cost", 2016): the same operations on the same numbers, so the same gradients, for a
        third more of the ViT's time and the memory of one block instead of all
    attention: which of torch's kernels computes the ViT's attention on a GPU; `auto` is the fastest, measured once at
        the size at hand, see `attention.py`
    compile: run the training step's network and losses through torch.compile, in one of its modes, or `off`; where that
        fails it is told and they run as they are. `reduce-overhead` records CUDA graphs: for 12 images a rank or fewer,
        where launching kernels takes longer than computing; `max-autotune` tries more kernels for minutes first. With
        parallel=fsdp each part that is gathered by itself is compiled by itself. true is default, false is off
    max_skipped: steps with a gradient that is not finite, in a row, before the run gives up; each is left out
    log_every, picture_every, evaluate_every, checkpoint_every: in steps; 0 means at the end only
    keep: checkpoints to keep, the newest
    best: a metric of the held-out samples; the checkpoint that is best by it is kept too
    """

    name: str
    model: ModelConfig
    data: DataConfig
    objective: TaskConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    batch_size: int = 32
    steps: int = 100_000
    seed: int = 0
    pretrained: bool = True
    precision: Precision = "auto"
    parallel: Literal["auto", "ddp", "fsdp", "exact"] = "ddp"
    micro_batch: int | None = None
    recompute: bool = False
    attention: Attention = "auto"
    compile: Compile = "off"
    max_skipped: int = 10
    log_every: int = 10
    picture_every: int = 1000
    evaluate_every: int = 5000
    checkpoint_every: int = 1000
    keep: int = 3
    best: str | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "steps", "log_every", "keep"):
            if getattr(self, name) < 1:
                raise DavidError(f"recipe: {name} is {getattr(self, name)}; it must be 1 or more")
        for name in ("seed", "max_skipped", "picture_every", "evaluate_every", "checkpoint_every"):
            if getattr(self, name) < 0:
                raise DavidError(f"recipe: {name} is {getattr(self, name)}; it must be 0 or more")
        if self.micro_batch is not None and self.micro_batch < 1:
            raise DavidError(f"recipe: micro_batch is {self.micro_batch}; it must be 1 or more, or none")
        if self.best is not None:
            best.check(self.best, self.model.heads)
        if isinstance(self.compile, bool):
            object.__setattr__(self, "compile", SWITCHED[self.compile])
        if self.compile != "off" and self.parallel == "exact":
            raise DavidError("recipe: compile does not go with parallel=exact, whose threads it would tie; take ddp")


def to_json(recipe: Recipe) -> dict[str, Any]:
    """Plain dicts, lists and values, as `json` writes and reads them."""
    return trees.to_json(recipe)


def from_json(content: dict[str, Any]) -> Recipe:
    """The recipe that `to_json` gave, an older version's too. Raises DavidError for a field that is unknown, missing or
    unfit, by its path."""
    data = content.get("data")
    if isinstance(data, dict) and "fit" not in data:  # of before there was a choice
        content = content | {"data": data | {"fit": fit_before(data.get("height"), data.get("width"))}}
    if isinstance(content.get("compile"), bool):
        content = content | {"compile": SWITCHED[content["compile"]]}
    return trees.from_json(Recipe, content, RENAMED)


def override(recipe: Recipe, assignments: Sequence[str]) -> Recipe:
    """The recipe with each `path=value` text applied, in order, as `--set` takes them, see `trees.override`."""
    return trees.override(Recipe, to_json(recipe), [_switched(one) for one in assignments], RENAMED)


def _switched(assignment: str) -> str:
    """`compile=true` and `compile=false` as they are written now."""
    path, _, text = (part.strip() for part in assignment.partition("="))
    switch = {"true": True, "false": False}.get(text.lower()) if path == "compile" else None
    return assignment if switch is None else f"compile={SWITCHED[switch]}"


def identity(recipe: Recipe) -> dict[str, Any]:
    """All that a recipe says beside its fields' defaults, by dotted paths, spelled so that no later version changes
    what it is for a recipe of before: fields that were renamed have their first names."""
    first = {now: before for before, now in RENAMED.items()}
    said = trees.said(recipe)
    if said.get("compile") == SWITCHED[True]:
        said["compile"] = True
    return {first.get(path, path): value for path, value in said.items()}
