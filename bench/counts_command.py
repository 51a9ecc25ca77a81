"""`david bench counts`."""

from david.bench.keep import keep
from david.bench.options import RESULTS, Out, RecipeName
from david.pack.options import AsJson, Settings


def counts(
    recipe: RecipeName = "david-base",
    assignments: Settings = None,
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Count what a step asks of a GPU; needs none.

    Kernels, bytes, scattered adds and waits of each of its parts, uncompiled, on tensors without values.
    """
    from david.train import recipes
    from david.train.recipe import override

    resolved = override(recipes.recipe(recipe), assignments or [])

    from david.bench.suites import counts as suite

    keep(lambda: suite.measure(resolved), out, as_json)
