"""A check of this machine: what looks, what it found, and what to do about it."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from david.pack.lazy import Lazy


class Said(NamedTuple):
    """What a check found. ok: it works, or is not needed here; advice: what to do, or what would be better"""

    found: str
    advice: str = ""
    ok: bool = True


class Finding(NamedTuple):
    """The same, of the check called `name`."""

    name: str
    ok: bool
    found: str
    advice: str

    @property
    def verdict(self) -> str:
        return "broken" if not self.ok else "note" if self.advice else "ok"


class Asked(NamedTuple):
    """What a checkup is asked. disk: the folder whose disk is measured; device: `cpu` leaves GPUs alone"""

    disk: str
    device: str = "auto"


@dataclass(frozen=True)
class Check:
    """look: a function of `Asked` that gives `Said`, or raises where something does not work
    advice: what to do where it raises, hangs or dies
    limit_s: after which it hangs; it may be the one that loads torch"""

    look: Lazy
    advice: str
    limit_s: float = 60.0


def finding(name: str, said: Any) -> Finding:
    found, advice, ok = said
    return Finding(name, ok, found, advice)
