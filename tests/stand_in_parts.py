"""What stands in for parts of `david bench campaign`, which run in processes of their own: they end in every way."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

from david.bench.campaign.part import SKIPPED, Part


def counts(tell: Any, given: dict[str, Any], says: str) -> None:
    """Tells its name, and that it ran, by a line in a file of the campaign's folder."""
    with Path(given["folder"], "ran.txt").open("a") as file:
        file.write(f"{says}\n")
    tell({"figures": {"step": {"rate": {"unit": "samples/s", "median": 12.5, "least": 12.0, "most": 13.0}}}})
    tell({"said": f"{says} ran", "about": {"recipe": {"name": says}}})


def begins_and_hangs(tell: Any, given: dict[str, Any]) -> None:
    tell({"figures": {"step": {"rate": {"unit": "samples/s", "median": 1.0, "least": 1.0, "most": 1.0}}}})
    Path(given["folder"], "hangs.txt").write_text(f"{os.getpid()}")
    threading.Event().wait()


def fails(tell: Any, given: dict[str, Any]) -> None:
    raise ValueError("no such thing\nand more")


def dies_as_a_part(tell: Any, given: dict[str, Any]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def skips(tell: Any, given: dict[str, Any]) -> None:
    tell({"status": SKIPPED, "said": "nothing to do"})


def part(name: str, work: str, most_s: float = 60.0, least_s: float = 0.1, **how: Any) -> Part:
    return Part(name, f"what {name} asks", f"stand_in_parts:{work}", 1.0, most_s, least_s, how)
