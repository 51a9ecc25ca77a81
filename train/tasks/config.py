"""What a recipe's `objective` says: which task, and how its terms are weighed. Without torch."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from david.model.configs.base import ModelConfig
from david.pack.errors import DavidError
from david.train.losses.table import TERMS


@dataclass(frozen=True)
class TaskConfig:
    """What the configuration of every task says. kind: a row of `tasks.table.TASKS`"""

    kind: str

    def check(self, heads: Sequence[str], fields: Collection[str] | None = None) -> None:
        """Raise DavidError where this task can't train these heads, or not on sets that have these fields."""

    def require(self, model: ModelConfig, size: tuple[int, int] | None) -> None:
        """Raise DavidError where this task can't train a network on images of (rows, columns), None: of any size."""


@dataclass(frozen=True, init=False)
class ObjectiveConfig(TaskConfig):
    """Of the task `supervised`: a weight for each row of `losses.table.TERMS`, by its name.

    Its fields are those names, so a row that somebody adds is a field too. What is not given has the row's own weight;
    0 leaves a term out, and so does a network without its head.

    uncertainty: let each head's weight be learnt besides, see `supervised.Supervised`
    """

    kind: Literal["supervised"]
    weights: dict[str, float]
    uncertainty: bool

    def __init__(
        self,
        kind: Literal["supervised"] = "supervised",
        weights: Mapping[str, float] | None = None,
        uncertainty: bool = False,
        **each: float,
    ):
        """each: weights by name; they come before those in `weights`"""
        given = {**(weights or {}), **each}
        if unknown := given.keys() - TERMS.keys():
            raise DavidError(f"recipe: no `objective.{min(unknown)}`; there are {', '.join(self.hints())}")
        for name, weight in given.items():
            if not weight >= 0:
                raise DavidError(f"recipe: objective.{name} is {weight}; it must be 0 or more")
        all_weights = {name: given.get(name, term.weight) for name, term in TERMS.items()}
        for name, value in (("kind", kind), ("weights", all_weights), ("uncertainty", uncertainty)):
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> float:
        """The weight of a term."""
        if name in TERMS:
            return self.__dict__.get("weights", {}).get(name, TERMS[name].weight)
        raise AttributeError(f"an objective has no term {name!r}")

    @staticmethod
    def hints() -> dict[str, Any]:
        """Its fields, as stored recipes and `--set` name them, and their types."""
        return {"kind": Literal["supervised"], **dict.fromkeys(TERMS, float), "uncertainty": bool}

    @staticmethod
    def defaults() -> dict[str, Any]:
        return {"kind": "supervised", **{name: term.weight for name, term in TERMS.items()}, "uncertainty": False}

    def terms(self, heads: Sequence[str]) -> tuple[str, ...]:
        """The terms of these heads that have a weight. Raises DavidError where a head would learn nothing."""
        chosen = tuple(name for name, term in TERMS.items() if term.head in heads and getattr(self, name))
        for head in heads:
            if not any(TERMS[name].head == head for name in chosen):
                those = [f"objective.{name}" for name, term in TERMS.items() if term.head == head]
                why = f"but each of its weights is 0: {', '.join(those)}" if those else "which no term compares"
                raise DavidError(f"recipe: model.heads has {head}, {why}")
        return chosen

    def check(self, heads: Sequence[str], fields: Collection[str] | None = None) -> None:
        for name in self.terms(heads):
            if fields is not None and TERMS[name].target not in fields:
                raise DavidError(
                    f"recipe: the head {TERMS[name].head} learns from the field {TERMS[name].target}, which no shard "
                    f"set here has: the heads are {', '.join(heads)}, the fields {', '.join(fields)}; leave the head "
                    "out with --set model.heads=..., or the term with a weight of 0"
                )
