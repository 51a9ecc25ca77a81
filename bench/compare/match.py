"""Which row stands beside which, and in what the two differ besides their figures.

Rows are matched by suite and by what was measured: recipe, data, batch, ranks. Where no row of the same is there, the
newest of the suite stands in, and what differs is named; of such a pair it is not said that it differs by more than
noise, for that would not be news.
"""

from typing import Any, NamedTuple

from david.bench.compare.noise import Spread, spreads, verdict
from david.bench.compare.sides import Row, Side
from david.pack.errors import DavidError

WHERE = ("hardware", "versions")  # what is compared, as commits are
NOT_WHAT = {*WHERE, "suite", "when", "commit", "figures", "verdict", "ratios", "missing", "failed", "rounds", "batches"}
SETTINGS = ("recipe", "network")
UNSAID = "not said"
OTHER = "something else was measured"


class Figure(NamedTuple):
    """One quantity of both rows. ratio: the second's median of the first's, None where that is zero"""

    name: str
    quantity: str
    first: Spread
    second: Spread
    ratio: float | None
    verdict: str


class Pair(NamedTuple):
    """Two rows. where: differences of hardware and versions; what: of what was measured; each: what -> both values"""

    suite: str
    recipe: str | None
    rows: tuple[Row, Row]
    where: dict[str, tuple[Any, Any]]
    what: dict[str, tuple[Any, Any]]
    figures: list[Figure]


def pairs(base: Side, other: Side) -> list[Pair]:
    """For each suite that both have and each recipe in it, the newest pair. Raises DavidError where there is none."""
    found: dict[tuple[str, str | None], Pair] = {}
    for second in other.rows:
        candidates = [row for row in base.rows if row["suite"] == second["suite"]]
        named = [row for row in candidates if _recipe(row) == _recipe(second)]
        if candidates := named or candidates:
            first = min(reversed(candidates), key=lambda row: len(_differences(row, second)))
            found[second["suite"], _recipe(second)] = _pair(first, second)
    if not found:
        had, has = (", ".join(sorted({row["suite"] for row in one.rows})) for one in (base, other))
        raise DavidError(f"{base.name} has rows of {had} and {other.name} of {has}: no suite is in both")
    return list(found.values())


def _pair(first: Row, second: Row) -> Pair:
    what = _differences(first, second)
    where = {name: (_flat(first.get(name, {})), _flat(second.get(name, {}))) for name in WHERE}
    apart = {
        f"{name}.{key}": (one.get(key, UNSAID), two.get(key, UNSAID))
        for name, (one, two) in where.items()
        for key in {**one, **two}
        if one.get(key, UNSAID) != two.get(key, UNSAID)
    }
    one, two = (spreads(row["figures"], row.get("rounds")) for row in (first, second))
    figures = [
        Figure(
            " ".join(path[:-1]), path[-1], one[path], two[path],
            two[path].median / one[path].median if one[path].median else None,
            OTHER if what else verdict(one[path], two[path]),
        )
        for path in one
        if path in two and one[path].unit == two[path].unit
    ]  # fmt: skip
    return Pair(second["suite"], _recipe(second), (first, second), apart, what, figures)


def _differences(first: Row, second: Row) -> dict[str, tuple[Any, Any]]:
    """Of what was measured. A setting that one of the two did not know yet is no difference, as its default keeps what
    was; anything else that one does not tell may have been anything, and is one."""
    one, two = ({key: value for key, value in row.items() if key not in NOT_WHAT} for row in (first, second))
    found = {
        key: (one.get(key, UNSAID), two.get(key, UNSAID))
        for key in {**one, **two}
        if key not in SETTINGS and one.get(key, UNSAID) != two.get(key, UNSAID)
    }
    for key in SETTINGS:
        before, after = _flat(one.get(key) or {}, key), _flat(two.get(key) or {}, key)
        found |= {name: (before[name], after[name]) for name in before if before[name] != after.get(name, before[name])}
    return dict(sorted(found.items()))


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """A leaf for each name, written with dots."""
    if not isinstance(value, dict):
        return {name: value}
    return {
        place: leaf
        for key, one in value.items()
        for place, leaf in _flat(one, f"{name}.{key}" if name else key).items()
    }


def _recipe(row: Row) -> str | None:
    told = row.get("recipe")
    return told.get("name") if isinstance(told, dict) else None
