"""What the configuration of every kind of network says."""

from dataclasses import dataclass

from david.model.heads.table import HEADS
from david.pack.errors import DavidError


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A kind's own configuration adds what it is made of, and gives `kind` its value.

    kind: a row of `david.model.config.KINDS`, which says what network this configures
    backbone: the name of the pretrained part
    heads: names out of `heads.table.HEADS`, in the order in which they run
    """

    kind: str
    backbone: str
    heads: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.heads or len(set(self.heads)) < len(self.heads) or not set(self.heads) <= set(HEADS):
            raise self.refusal("heads", f"one or more of {', '.join(HEADS)}, each once")

    def refusal(self, field: str, expected: str) -> DavidError:
        """The error about a field that can't be what it is."""
        return DavidError(f"model.{field}: expected {expected}, found {getattr(self, field)!r}")

    @property
    def side(self) -> int | None:
        """Of the square images that it sees best, in pixels; None where no size is better than the one trained at."""
        return None

    @property
    def fit(self) -> str:
        """How pictures reach it where nothing else is said, see `predict/fit.py`."""
        return "square"

    @property
    def published_side(self) -> int | None:
        """The side that its published weights were trained at, in pixels; None where none are known."""
        return None

    def parameters(self) -> int | None:
        """How many the whole network has, counted without building it; None where that is not known."""
        return None
