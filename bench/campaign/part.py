"""A part of a campaign: what it asks, and how much of the time that is left it may take."""

from dataclasses import dataclass, field
from typing import Any

from david.pack.lazy import Lazy

DONE, FAILED, CUT, SKIPPED = "done", "failed", "cut", "skipped"  # what became of a part


@dataclass(frozen=True)
class Part:
    """name: the same in every campaign, so that one that goes on knows what it has
    asks: what for, a few words
    work: a function of (tell, given, **how) that runs in a child and tells dicts of `figures`, `about` and `said`, each
        of which adds to those before
    share: of the time that is left when its turn comes, but not more than `most_s`; with less than `least_s` it is
        skipped
    """

    name: str
    asks: str
    work: Lazy
    share: float
    most_s: float
    least_s: float = 10.0
    how: dict[str, Any] = field(default_factory=dict)

    def limit_s(self, left_s: float) -> float:
        """What it is given of the seconds that are left; 0 where that is too little to begin."""
        given = min(left_s, self.most_s, max(self.least_s, self.share * left_s))
        return given if given >= self.least_s else 0.0


@dataclass
class Outcome:
    """What became of a part. seconds: that it took; said: a sentence; figures: as rows have them; about: what it was
    measured on"""

    status: str
    said: str = ""
    seconds: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    def hear(self, told: dict[str, Any]) -> None:
        """Add what the part tells."""
        self.figures |= told.get("figures", {})
        self.about |= told.get("about", {})
        self.said = told.get("said", self.said)
        self.status = told.get("status", self.status)
