"""A number with its origin: nothing is told without one."""

from dataclasses import dataclass
from typing import Any, Literal

Origin = Literal["measured", "counted", "assumed"]
ORDER: tuple[Origin, ...] = ("assumed", "measured", "counted")  # what follows from several is of the first among theirs


@dataclass(frozen=True)
class Told:
    """origin: `measured`, in a row; `counted`, from recipe and manifest alone; `assumed`, else; source: the row, sheet
    or option"""

    value: float
    unit: str
    origin: Origin
    source: str

    def as_json(self) -> dict[str, Any]:
        return {"value": self.value, "unit": self.unit, "origin": self.origin, "source": self.source}


def counted(value: float, unit: str, source: str) -> Told:
    return Told(value, unit, "counted", source)


def assumed(value: float, unit: str, source: str) -> Told:
    return Told(value, unit, "assumed", source)


def derived(value: float, unit: str, how: str, *parts: Told) -> Told:
    """What follows from other numbers: as sure as the least sure of them."""
    return Told(value, unit, ORDER[min(ORDER.index(one.origin) for one in parts)], how)
