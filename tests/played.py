"""What `david bench explain` finds in virtual time, of samples and steps that take what a test says."""

from dataclasses import replace
from typing import Any

from smallest import SMALLEST

from david.bench.explain import tracks
from david.bench.explain.account import Account, account
from david.bench.explain.costs import Costs, Work
from david.bench.explain.replay import Setup, replay
from david.bench.explain.run import Ran
from david.train import recipes
from david.train.recipe import override

MS = 10**6
RECIPE = override(recipes.recipe("smoke"), [*SMALLEST, "parallel=exact", "batch_size=4", "steps=100"])
LIKE = Ran(RECIPE, tracks.Tracks({}, {}, 0, 2), 0, 0.0, 0.0)


def played(sample: dict[str, float], step: dict[str, float], images: int = 0, **how: Any) -> Account:
    """A replay of samples and steps, in milliseconds on a core, in virtual time."""

    def works(some: dict[str, float]) -> list[Work]:
        return [Work(name, MS * ms) for name, ms in some.items()]

    beside = [works({"forward": 1, "backward": 2})] if images else []
    nothing = Work("batch", 0)
    costs = Costs([works(sample)], [works(step)], beside, nothing, nothing)
    setup = replace(Setup(cores=8, threads=1, prefetch=2, batch=4), **how)
    return account(replay(costs, setup, LIKE))
