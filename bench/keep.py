"""What every suite's command does with what it measured: show it, and add its row to a file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from david.pack.options import aside

if TYPE_CHECKING:
    from david.bench.result import Result

console = Console()


def keep(measure: Callable[[], "Result"], out: Path, as_json: bool, leads: bool = True) -> None:
    """Measure, show what was found, and add its row to the file `out`; where JSON is asked for, print that too. Ranks
    that do not lead show and keep nothing."""
    from david.bench import rows
    from david.train.use.stopping import Terminated

    if leads:
        rows.prepare(out)
    with aside(as_json):
        with Terminated():  # what a suite made aside is taken away
            result = measure()
        if not leads:
            return
        result.show(console)
        row = result.row()
        rows.append(out, row)
        console.print(f"row added to {out}", soft_wrap=True)
    if as_json:
        print(json.dumps(row, indent=2))
