"""A recipe: everything that decides what a run computes, in one frozen tree.

    Recipe  ->  JSON (kept in the run, in checkpoints and exports)  ->  Recipe
    Recipe  +  `path=value` texts  ->  Recipe

Both ways go by the fields' types, so a value that does not fit is refused by the name of its path.
"""

import types
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from david.model.config import ModelConfig
from david.pack.errors import DavidError
from david.pipeline.config import DataConfig
from david.train.config import ObjectiveConfig, OptimConfig
from david.train.metrics import best


@dataclass(frozen=True)
class Recipe:
    """What a run computes; where and with whom is said elsewhere and changes no result.

    batch_size: samples of one optimiser step over all ranks together
    steps: optimiser steps, and the end of the schedule
    seed: of the weights, the order, and the draws of augmentation and dropout
    pretrained: whether the backbone begins with timm's ImageNet weights
    precision: of the network's forward and backward; `auto` is bf16 on GPUs that have it, else fp32; fp16 scales the
        loss, see `scaling.py`. Losses, weights and the optimiser are fp32 always
    summation: of gradients, `ddp` for speed, `fsdp` for networks too large for one GPU's memory, `exact` for the same
        bits on any number of ranks, `auto` for exact on a CPU and ddp on a GPU; see `gradients.py`
    micro_batch: samples that a rank computes at once, its whole share of the batch where none; `exact` takes one
    recompute: drop what the ViT's blocks computed and compute it again in the backward (Chen et al., "Training Deep
        Nets with Sublinear Memory Cost", 2016): the same operations on the same numbers, so the same gradients, for a
        third more of the ViT's time and the memory of one block instead of all
    compile: run the network through torch.compile; where that fails it is told and the network runs as it is
    max_skipped: steps with a gradient that is not finite, in a row, before the run gives up; each is left out
    log_every, picture_every, evaluate_every, checkpoint_every: in steps; 0 means at the end only
    keep: checkpoints to keep, the newest
    best: a metric of the held-out samples; the checkpoint that is best by it is kept too
    """

    name: str
    model: ModelConfig
    data: DataConfig
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    batch_size: int = 32
    steps: int = 100_000
    seed: int = 0
    pretrained: bool = True
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    summation: Literal["auto", "ddp", "fsdp", "exact"] = "ddp"
    micro_batch: int | None = None
    recompute: bool = False
    compile: bool = False
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
        if self.compile and self.summation == "exact":
            raise DavidError("recipe: compile does not go with summation=exact, whose threads it would tie; take ddp")
        if self.compile and self.summation == "fsdp":
            raise DavidError("recipe: compile does not go with summation=fsdp, whose hooks it would trace; take ddp")


def to_json(recipe: Recipe) -> dict[str, Any]:
    """Plain dicts, lists and values, as `json` writes and reads them."""
    return _plain(asdict(recipe))


def from_json(content: dict[str, Any]) -> Recipe:
    """The recipe that `to_json` gave. Raises DavidError for a field that is unknown, missing or unfit, by its path."""
    return _build(Recipe, content, "")


def override(recipe: Recipe, assignments: Sequence[str]) -> Recipe:
    """The recipe with each `path=value` text applied, in order, as `--set` takes them.

    A value is written as in JSON, texts without quotes, tuples as `a,b,c`. All are applied before the whole is checked.
    """
    content = to_json(recipe)
    for assignment in assignments:
        path, equals, text = (part.strip() for part in assignment.partition("="))
        if not equals:
            raise DavidError(f"--set {assignment}: expected path=value, such as optim.rate=1e-4")
        kind, group = Recipe, content
        *above, name = path.split(".")
        for step in above:
            kind, group = _field(kind, step, path), group[step]
            if not is_dataclass(kind):
                raise DavidError(f"--set {path}: `{step}` is a value and holds no other")
        kind = _field(kind, name, path)
        if is_dataclass(kind):
            raise DavidError(f"--set {path}: a group; set one of {', '.join(f'{path}.{f.name}' for f in fields(kind))}")
        group[name] = _parse(kind, text, f"--set {path}")
    return from_json(content)


def flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of `to_json`'s tree by their dotted paths, which are what `--set` takes."""
    leaves: dict[str, Any] = {}
    for name, value in content.items():
        leaves |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return leaves


def said(tree: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of a recipe, or of a part of one, that are not their field's default, by their dotted paths."""
    leaves: dict[str, Any] = {}
    for one in fields(tree):
        value, path = getattr(tree, one.name), f"{prefix}{one.name}"
        if is_dataclass(value):
            leaves |= said(value, f"{path}.")
        elif value != one.default:
            leaves[path] = value
    return leaves


def _field(kind: Any, name: str, path: str) -> Any:
    hints = get_type_hints(kind)
    if name not in hints:
        raise DavidError(f"--set {path}: no `{name}` there; there are {', '.join(hints)}")
    return hints[name]


def _parse(kind: Any, text: str, where: str) -> Any:
    """The value of type `kind` that `text` writes."""
    if get_origin(kind) in (Union, types.UnionType):
        if text.lower() in ("none", "null"):
            return _fit(kind, None, where)
        return _parse(next(k for k in get_args(kind) if k is not types.NoneType), text, where)
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        parts = [part.strip() for part in text.strip("[]()").split(",") if part.strip()]
        return _fit(kind, [_parse(inner[0], part, where) for part in parts], where)
    if kind is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind in (int, float):
        try:
            return _fit(kind, kind(text), where)
        except ValueError:
            pass
    return _fit(kind, text, where)


def _build(kind: Any, content: Any, path: str) -> Any:
    hints = get_type_hints(kind)
    if not isinstance(content, dict):
        raise DavidError(f"recipe: {path or 'it'} must be a group, found {content!r}")
    if unknown := set(content) - set(hints):
        raise DavidError(f"recipe: no `{path}{min(unknown)}`; there are {', '.join(hints)}")
    values = {}
    for name, value in content.items():
        if is_dataclass(hints[name]):
            values[name] = _build(hints[name], value, f"{path}{name}.")
        else:
            values[name] = _fit(hints[name], value, f"recipe: {path}{name}")
    try:
        return kind(**values)
    except TypeError as error:
        raise DavidError(f"recipe: {path or 'it'} is not whole: {error}") from error


def _fit(kind: Any, value: Any, where: str) -> Any:
    """`value` as a `kind`. Raises DavidError where it is none."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is tuple and isinstance(value, list | tuple):
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
        if len(kinds) == len(value):
            return tuple(_fit(k, v, where) for k, v in zip(kinds, value, strict=True))
    elif origin in (Union, types.UnionType):
        if value is None and types.NoneType in inner:
            return None
        return _fit(next(k for k in inner if k is not types.NoneType), value, where)
    elif origin is Literal and value in inner:
        return value
    elif (kind is float and type(value) in (int, float)) or (origin is None and type(value) is kind):
        return kind(value)
    raise DavidError(f"{where}: expected {_describe(kind)}, found {value!r}")


def _describe(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin is tuple:
        count = "values" if inner[-1] is Ellipsis else f"{len(inner)} values"
        return f"{count} with commas between, each {_describe(inner[0])}"
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(k) for k in inner)
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}.get(kind, "nothing")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value
