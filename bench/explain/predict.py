"""What a run would have been: its replay with something else, beside its replay as it was."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import mean

import torch

from david.bench import ring as rings
from david.bench.explain.account import account
from david.bench.explain.costs import OF_DALI, Costs, Work, of
from david.bench.explain.ifs import If
from david.bench.explain.replay import Setup, replay, waited
from david.bench.explain.run import Ran
from david.bench.options import LATENCY_US, NETWORK_GB
from david.bench.plan import lookup
from david.bench.ring import Ring
from david.model import build
from david.model.configs.base import ModelConfig
from david.pack import machine
from david.pipeline.engines import dali_graph
from david.pipeline.loader import cores
from david.train.recipe import Recipe

NETWORK = Ring(1e-6 * LATENCY_US, 1e9 * NETWORK_GB)  # where no row tells of sums over ranks
HALVINGS = 10  # of the interval in which the cores lie that others left
LEAST = 0.05  # of the cores, that others leave at the least
SIZED = ("forward", "losses", "backward")  # what takes longer for more images


@dataclass(frozen=True)
class Predicted:
    """rate: samples/s between evaluations, of all ranks; bound: the stage that has most of its critical path"""

    rate: float
    bound: str


class Predictor:
    """ran: what was recorded; half: the same with half as many images at once, where that matters; one: the same on
    one core, where their number matters; bytes_each: of a sample in its shard

    cores: those that the run had, for others use the machine, too; off: how far its replay with them is from it"""

    def __init__(self, ran: Ran, bytes_each: float, half: Ran | None = None, one: Ran | None = None):
        self.ran, self.half, self.one, self.bytes_each = ran, half, one, bytes_each
        self.costs, self.measured = of(ran), account(ran).rate
        self.half_costs, self.one_costs = (each and of(each) for each in (half, one))
        whole = setup_of(ran.recipe, bool(self.costs.by_dali))
        self.cores = self._left(whole)
        self.setup = replace(whole, cores=self.cores)
        self.before = account(replay(self.costs, self.setup, ran)).rate
        self.off = self.before / self.measured - 1

    def predict(self, what: If) -> Predicted:
        found = account(replay(self.costs, self.changed(what), self.ran))
        rate = self.measured * found.rate / self.before * what.counts.get("ranks", 1)
        shares = found.shares
        return Predicted(rate, max(shares, key=shares.__getitem__))

    def changed(self, what: If) -> Setup:
        """How the run would have been set up."""
        counts, setup, recipe = what.counts, self.setup, what.recipe(self.ran.recipe)
        ranks, exact = counts.get("ranks", 1), recipe.parallel == "exact"
        more = counts["cores"] / machine.cores() if "cores" in counts else 1.0
        batch = recipe.batch_size // ranks
        size = min(at_once(recipe), batch)
        here, there = dict(what.factors), {"copy": batch / self.ran.recipe.batch_size} | what.factors
        if self.costs.by_dali:
            here |= {name: here.get(name, 1.0) * batch / self.ran.recipe.batch_size for name in OF_DALI}
        if not exact and (size, batch) != (at_once(self.ran.recipe), self.ran.recipe.batch_size):
            for factors, spent in ((here, on_host), (there, on_device)):
                for name, factor in self._sizes(size, batch, spent).items():
                    factors[name] = factor * factors.get(name, 1.0)
        return replace(
            setup,
            cores=setup.cores * more,
            beside=max(1, round(setup.beside * more)),
            threads=counts.get("threads", setup.threads),
            prefetch=counts.get("prefetch", setup.prefetch),
            batch=batch,
            factors=tuple(here.items()),
            on_device=tuple(there.items()),
            delays_ns=tuple((name, 1e6 * ms) for name, ms in what.delays_ms.items()),
            disk_ns=1e3 * self.bytes_each / what.storage if what.storage else 0.0,
            sum_ns=1e9 * ring().seconds(ranks, (8 if exact else 4) * parameters(recipe.model)) if ranks > 1 else 0.0,
            hidden=not exact,
            crowded=self._crowded(counts.get("cores", machine.cores())),
        )

    def _left(self, setup: Setup) -> float:
        """The cores that others left: with them threads wait for a core as much as they did."""
        least, most = LEAST * setup.cores, float(setup.cores)
        if waited(self.costs, setup) >= self.costs.waited:
            return most
        for _ in range(HALVINGS):
            middle = (least + most) / 2
            longer = waited(self.costs, replace(setup, cores=middle)) > self.costs.waited
            least, most = (middle, most) if longer else (least, middle)
        return (least + most) / 2

    def _crowded(self, cores: int) -> tuple[float, float]:
        """How many times as long work takes on a core, and without one, with so many at work, from the records on one
        and on all. The threads of a Python get in each other's way: they wait for its lock, and hand it from core to
        core, and what they computed with it. Each core more is taken to add as much."""
        if self.one is None or self.one_costs is None:
            return 1.0, 1.0
        recorded = ((self.one, self.one_costs), (self.ran, self.costs))
        both = (costs.each(ran.recipe.batch_size) for ran, costs in recorded)
        on_core, aside = (min(1.0, alone / max(1.0, of_all)) for alone, of_all in zip(*both, strict=True))
        further = (cores - 1) / (machine.cores() - 1)
        return on_core + (1 - on_core) * further, aside + (1 - aside) * further

    def _sizes(self, size: int, batch: int, spent_ns: Callable[[Work], float]) -> dict[str, float]:
        """How many times as long a step's parts take with so many images at once, here or on a GPU: a part takes some
        time whatever its size, and some for each image, as two sizes tell."""
        assert self.half is not None and self.half_costs is not None
        (own, parts, images), (less, its_parts, its_images) = (
            (spent(costs, spent_ns), -(-ran.recipe.batch_size // at_once(ran.recipe)), ran.recipe.batch_size)
            for ran, costs in ((self.ran, self.costs), (self.half, self.half_costs))
        )
        found = {}
        for name in (name for name in SIZED if own.get(name)):
            one, other, more = own[name] / parts, less[name] / its_parts, images / parts - its_images / its_parts
            each = max(0.0, (one - other) / more) if more else one * parts / images  # one image at once in both
            fixed = max(0.0, one - each * images / parts)
            found[name] = (-(-batch // size) * fixed + batch * each) / own[name]
        return found


def at_once(recipe: Recipe) -> int:
    """Images that a rank computes at once."""
    return min(recipe.micro_batch or recipe.batch_size, recipe.batch_size)


def on_host(work: Work) -> float:
    return work.core_ns + work.aside_ns


def on_device(work: Work) -> float:
    return work.device_ns


def spent(costs: Costs, spent_ns: Callable[[Work], float]) -> dict[str, float]:
    """Nanoseconds of a step's parts, in the mean."""
    found: dict[str, list[float]] = defaultdict(list)
    for step in costs.steps:
        whole: dict[str, float] = defaultdict(float)
        for work in step:
            whole[work.name] += spent_ns(work)
        for name, ns in whole.items():
            found[name].append(ns)
    return {name: mean(ns) for name, ns in found.items()}


def setup_of(recipe: Recipe, by_dali: bool) -> Setup:
    """As this process runs a recipe. by_dali: whether DALI decodes"""
    return Setup(
        cores=machine.cores(),
        threads=recipe.data.threads or cores(1),
        prefetch=recipe.data.prefetch,
        batch=recipe.batch_size,
        in_flight=(dali_graph.AHEAD if by_dali else 1) + 1,
        decoding=dali_graph.AHEAD if by_dali else 1,
        beside=torch.get_num_threads(),
    )


def ring() -> Ring:
    """Fitted to kept rows of sums over ranks on such devices, where there are any."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    rows = [one.row for one in lookup.read(None) if one.row["suite"] == "reduce" and lookup.on(one.row, gpu)]
    return rings.fit(rings.of_rows(rows)) if rows else NETWORK


def parameters(model: ModelConfig) -> int:
    with torch.device("meta"):
        return sum(one.numel() for one in build(model).parameters())
