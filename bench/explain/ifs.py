"""`--if`: what a run would have been with something else, as people write it.

`threads=4`, `decode=x0.5` (half as long), `augment=+2` (2 ms more each time, without a core), `decode=gpu` (where that
happens), `storage=50` (MB/s, for all threads together), `ranks=8` (each with what this one has); several at once with
commas.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from david.bench.explain.path import LOADER, OTHER, STAGES
from david.pack.errors import DavidError
from david.train.recipe import Recipe

COUNTS = ("threads", "prefetch", "batch", "micro_batch", "cores", "ranks")
STORAGE, PLACED, PLACES = "storage", "decode", ("cpu", "gpu")
FIXED = (LOADER, OTHER, "copy", "all-reduce", "evaluation", "pictures", "checkpoint")
CHANGEABLE = tuple(name for name in STAGES if name not in FIXED)
OF_SAMPLES = ("read", "inflate", "join", "decode", "augment")  # what can be slowed in a run, to see
HOW = (
    f"write NAME=N for {', '.join(COUNTS)}; storage=N in MB/s; STAGE=xN or STAGE=+N (times, or ms more) for "
    f"{', '.join(CHANGEABLE)}; decode=gpu or decode=cpu on a machine with a GPU"
)


@dataclass(frozen=True)
class If:
    """text: as it was written; counts: what is another number, by name; storage: MB/s, 0 where it is as it is
    factors, delays_ms: of stages; decode: where, empty as it is"""

    text: str
    counts: dict[str, int]
    factors: dict[str, float]
    delays_ms: dict[str, float]
    storage: float = 0.0
    decode: str = ""

    def runs(self, cores: int) -> bool:
        """Whether a machine of so many cores can run it, to see: it can be slower, not faster, and is one machine."""
        stages = {*self.factors, *self.delays_ms} <= set(OF_SAMPLES) and all(one >= 1 for one in self.factors.values())
        return stages and "ranks" not in self.counts and self.counts.get("cores", 1) <= cores

    def base(self, recipe: Recipe) -> Recipe:
        """The recipe whose record tells: where images are decoded no record of the other tells."""
        return replace(recipe, data=replace(recipe.data, decode=self.decode)) if self.decode else recipe

    def recipe(self, recipe: Recipe) -> Recipe:
        """The recipe with what of it recipes have. Raises DavidError where there is no such, or where it can't be."""
        recipe, counts = self.base(recipe), self.counts
        batch = counts.get("batch", recipe.batch_size)
        if "micro_batch" in counts and recipe.parallel == "exact":
            raise DavidError(f"--if {self.text}: parallel=exact computes one sample at a time; add --set parallel=ddp")
        if batch % counts.get("ranks", 1):
            raise DavidError(
                f"--if {self.text}: a batch of {batch} can't be shared by {counts['ranks']} ranks; choose a multiple"
            )
        data = replace(recipe.data, **{name: counts[name] for name in ("threads", "prefetch") if name in counts})
        return replace(recipe, data=data, batch_size=batch, micro_batch=counts.get("micro_batch", recipe.micro_batch))


def parse(texts: Sequence[str]) -> list[If]:
    """Raises DavidError where one can't be read."""
    return [_parse(text) for text in texts]


def _parse(text: str) -> If:
    found, named = If(text, {}, {}, {}), set[tuple[str, str]]()
    for part in text.split(","):
        name, _, value = (one.strip() for one in part.partition("="))
        how = name, "place" if value in PLACES else "more" if value[:1] == "+" else ""  # of a stage there may be each
        if how in named:
            raise DavidError(f"--if {text}: {name} is there twice; write two --if to see each")
        named.add(how)
        match = re.fullmatch(r"([x+]?)(\d+\.?\d*|\.\d+)", value)
        kind, number = (match[1], float(match[2])) if match else ("", 0.0)
        if name in COUNTS and not kind and number >= 1 and number == int(number):
            found.counts[name] = int(number)
        elif name == STORAGE and not kind and number > 0:
            found = replace(found, storage=number)
        elif name == PLACED and value in PLACES:
            found = replace(found, decode=value)
        elif name in CHANGEABLE and kind and number > 0:
            (found.factors if kind == "x" else found.delays_ms)[name] = number
        else:
            raise DavidError(f"--if {text}: {part.strip() or 'nothing'} is no change; {HOW}")
    return found
