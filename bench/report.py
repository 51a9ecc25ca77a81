"""Figures as a table on the screen, and what they mean in one sentence."""

from rich.table import Table

from david.bench.harness import Figure

Figures = dict[str, dict[str, Figure]]

STEP_BOUND_SHARE = 0.05  # a step that waits less than this does not wait for data


def table(title: str, figures: Figures) -> Table:
    """One row a quantity: what ran, its median, its range over the rounds."""
    drawn = Table(title=title, title_justify="left")
    for heading in ("measured", "quantity", "median (range over the rounds)"):
        drawn.add_column(heading)
    for name, quantities in figures.items():
        for number, (quantity, figure) in enumerate(quantities.items()):
            drawn.add_row(name if number == 0 else "", quantity, str(figure))
    return drawn


def verdict(figures: Figures, shares_processor: bool) -> str:
    """What bounds training, in one sentence, from the figures of `load`, `step` and `both`.

    shares_processor: loader and step run on the same cores, so that each slows the other down"""
    load, step = figures["load"]["rate"].median, figures["step"]["rate"].median
    both, waited = figures["both"]["rate"].median, figures["both"]["waited"].median
    if waited < STEP_BOUND_SHARE:
        sentence = (
            f"The step bounds training here: {both:.1f} samples/s with {waited:.1%} of the time waiting for data, "
            f"while the loader alone makes {load / step:.1f} times as many as the step alone takes"
        )
    else:
        stages = {name: figure.median for name, figure in figures["load"].items() if figure.unit == "share"}
        busiest = max((name for name in stages if name not in ("prepare", "hold", "wait")), key=stages.__getitem__)
        sentence = (
            f"Data bounds training here: the step waits {waited:.1%} of its time, together they make {both:.1f} "
            f"samples/s of the step's {step:.1f}, and the loader spends most in `{busiest}`"
        )
    return sentence + (" (both share the same cores)." if shares_processor else ".")
