"""Kernels, bytes, scattered adds and waits of one step on a GPU, by part: counted on fake tensors, see `counting.py`.

The step is david's own, the second of a run, uncompiled, one rank of the recipe's whole batch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from david.bench.counting import REST, Count, Counting
from david.bench.fake_gpu import Walk, batch_of, fake_gpu, step_of
from david.bench.result import Result
from david.bench.suites.parts import learner_of
from david.pack import tables
from david.pack.errors import DavidError
from david.train.recipe import Recipe, to_json
from david.train.step.precision import name_of
from david.train.step.step import Step

ENCODER, DECODER, LOSSES, OPTIMISER = "encoder", "decoder and heads", "losses", "optimiser"
WAYS = ("forward", "backward")
OURS = tuple(f"{part}, {way}" for part in (DECODER, LOSSES) for way in WAYS)  # the encoder is timm's
ORDER = (*(f"{ENCODER}, {way}" for way in WAYS), *OURS, OPTIMISER, REST)


def measure(recipe: Recipe) -> Result:
    """Count one step of the recipe. Raises DavidError where its images have no size of their own."""
    if recipe.data.height is None:
        raise DavidError("counts: the recipe gives images no size; add --set data.height=512 --set data.width=384")
    found, precision = count(recipe)
    parts = {name: found[name] for name in ORDER if name in found}
    ours = sum((parts[name] for name in OURS if name in parts), Count())
    total = sum(parts.values(), Count())
    drawn = tables.table(
        "part", "kernels", "GB", "scatters", "waits",
        title=f"{recipe.name}: a step of {recipe.batch_size} images of {recipe.data.height} x {recipe.data.width}",
        right=("kernels", "GB", "scatters", "waits"),
    )  # fmt: skip
    for name, one in {**parts, "decoder, heads and losses": ours, "all": total}.items():
        drawn.add_row(name, f"{one.kernels:,}", f"{one.bytes / 1e9:,.1f}", f"{one.scatters}", f"{one.waits}")
    sentence = (
        f"A step takes {total.kernels:,} kernels and moves {total.bytes / 1e9:,.0f} GB; decoder, heads and losses take "
        f"{ours.kernels:,} and {ours.bytes / 1e9:,.0f} of these; {total.scatters} add where others add, and the host "
        f"waits {total.waits} times."
    )
    about: dict[str, Any] = {
        **{"recipe": to_json(recipe), "batch_size": recipe.batch_size, "precision": precision, "compile": False},
        "data": {"folder": "none: tensors without values", "size": [recipe.data.height, recipe.data.width]},
    }
    figures = {name: one.as_json() for name, one in parts.items()}
    return Result("counts", figures, drawn, verdict=sentence, about=about)


def count(recipe: Recipe) -> tuple[dict[str, Count], str]:
    """What the second step takes, by part, and what its network computes in."""
    counting = Counting()
    with fake_gpu(Walk(counting.entering)), counting:
        step, batch = step_of(recipe), batch_of(recipe)
        step(batch, 1)  # makes the optimiser's moments
        counting.clear()
        with told(step, counting):
            step(batch, 2, lambda: counting.enter(OPTIMISER, alone=True))
    return counting.found, name_of(step.reduced)


@contextmanager
def told(step: Step, counting: Counting) -> Iterator[None]:
    """Meanwhile the step tells `counting` which of its parts begins."""
    learner = learner_of(step)
    predict = learner.predict

    def told_of(image: Any) -> Any:
        counting.enter(DECODER)
        prediction = predict(image)
        counting.enter(LOSSES)
        return prediction

    hooks = [
        learner.network.backbone.register_forward_pre_hook(lambda *_: counting.enter(ENCODER)),
        learner.network.backbone.register_forward_hook(lambda *_: counting.enter(DECODER)),
    ]
    learner.predict = told_of
    try:
        yield
    finally:
        learner.predict = predict
        for hook in hooks:
            hook.remove()
