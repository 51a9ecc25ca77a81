"""All checks, one after the other, in a child process: it loads torch once for all of them, and where one hangs or dies
another child takes those that are left."""

from collections.abc import Iterator
from typing import Any

from david.bench.child import Child, Failed, Tell, first_line
from david.bench.doctor.check import Asked, Check, Finding, finding
from david.pack.lazy import load

TABLE = "david.bench.doctor.table:CHECKS"


def checkup(asked: Asked, table: str = TABLE, log: Any = None) -> Iterator[Finding]:
    """The finding of each check of a table, as it comes. table: as `module:name`, a dict of name to `Check`"""
    checks: dict[str, Check] = load(table)
    left = list(checks)
    while left:
        with Child("david.bench.doctor.checkup:look", {"table": table, "names": left, "asked": asked}, log) as child:
            try:
                while left:
                    yield Finding(*child.hear(checks[left[0]].limit_s))
                    left.pop(0)
            except Failed as error:
                name = left.pop(0)
                yield Finding(name, False, str(error), checks[name].advice)


def look(tell: Tell, table: str, names: list[str], asked: list[Any]) -> None:
    """Runs in the child: tells the finding of each named check."""
    checks: dict[str, Check] = load(table)
    for name in names:
        tell(result(name, checks[name], Asked(*asked)))


def result(name: str, check: Check, asked: Asked) -> Finding:
    """What a check finds; an error of its own is what it found."""
    try:
        return finding(name, load(check.look)(asked))
    except Exception as error:
        return Finding(name, False, first_line(error), check.advice)
