"""A plan for people, and as JSON."""

from typing import Any

from rich.table import Table

from david.bench.plan.forecast import PUBLISHED, Forecast
from david.bench.plan.told import Told
from david.pack import tables

BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "bytes"))


def table(found: Forecast) -> Table:
    its = found.machine
    title = f"{found.recipe.name}: {found.recipe.steps:,} steps of {found.recipe.batch_size} on {its.gpus} x {its.gpu}"
    drawn = tables.table(
        "", "value", "is", "from", title=f"{title}, {its.nodes} nodes", right=("value",), words=("from",)
    )
    for name, one in (*found.numbers.items(), *((f"{part} alone", rate) for part, rate in found.rates.items())):
        drawn.add_row(name, said(one), one.origin, one.source)
    return drawn


def sentences(found: Forecast) -> list[str]:
    rates, bound = found.rates, found.bound
    others = [
        f"{name} {rate.value / rates[bound].value:,.1f} times that" for name, rate in rates.items() if name != bound
    ]
    hours, spent = found.numbers["time"], found.numbers["GPU-hours"]
    return [
        f"{said(hours)}, {said(spent)} of GPUs ({hours.origin}). What bounds it is the {bound}, at "
        f"{said(rates[bound])}; the others by themselves: {', '.join(others)}.",
        *(f"No row tells {one}" for one in found.missing),
        *(f"Published: {one}." for one in PUBLISHED),
    ]


def said(one: Told) -> str:
    base = one.unit.partition("/")[0]
    if base == "bytes":
        scale, name = next(((scale, name) for scale, name in BYTES if one.value >= scale), (1, "bytes"))
        return f"{one.value / scale:,.3g} {name}{one.unit[len(base) :]}"
    if one.unit == "share":
        return f"{one.value:.1%}"
    if one.unit == "s":
        return f"{1e3 * one.value:,.3g} ms"
    return f"{one.value:,.0f} {one.unit}" if one.value >= 100 else f"{one.value:,.3g} {one.unit}"


def as_json(found: Forecast) -> dict[str, Any]:
    return {
        **{"recipe": found.recipe.name, "machine": found.machine._asdict(), "bound": found.bound},
        **{"numbers": {name: one.as_json() for name, one in found.numbers.items()}},
        **{"rates": {name: one.as_json() for name, one in found.rates.items()}},
        **{"missing": found.missing, "published": list(PUBLISHED)},
    }
