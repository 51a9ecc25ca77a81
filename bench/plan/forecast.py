"""From a recipe, data and machines to time, storage and network, each number with its origin.

An image costs a rank the same whatever its share of the batch. Gradients are summed while the backward runs, so that of
a sum only what is longer than the backward adds to a step. Evaluation, pictures and checkpoints are left out.
"""

from functools import lru_cache
from typing import NamedTuple

from david.bench import ring as rings
from david.bench.plan.data import Data
from david.bench.plan.lookup import Kept, newest, on, same_step
from david.bench.plan.told import Told, assumed, counted, derived
from david.bench.ring import Ring
from david.bench.suites.peaks import PEAKS
from david.model.configs.base import ModelConfig
from david.model.size import STATE_BYTES
from david.pack.errors import DavidError
from david.train.forecast import AVERAGE_BYTES
from david.train.recipe import Recipe

BACKWARD = 2 / 3  # of a step: twice the products of the forward
SAVED_BYTES = 12  # a parameter in a checkpoint: float32 weight, and AdamW's two moments
LINE_BYTES = {"ledger": 130, "journal": 500}
PUBLISHED = (
    "DAViD, multi-task Large: 528 A100-hours (the paper)",
    "the unofficial trainer: 4 x RTX 4090, 26 hours for 155 epochs of about 100,000 faces, 104 GPU-hours",
)
A100_HOURS = 528.0


class Machine(NamedTuple):
    """gpus: of all nodes; gpu: a name in peaks.PEAKS, or cpu; mfu: share of its peak; cores: for each GPU; bytes/s of
    links within a node, of a node's network, and that a node reads storage at; latency_s: of a step of a sum"""

    gpus: int
    nodes: int
    gpu: str
    mfu: float
    cores: int
    link: float
    network: float
    latency_s: float
    storage: float


class Forecast(NamedTuple):
    """numbers: by name; rates: what each part could do by itself, in samples/s; missing: what no row told, and what to
    run"""

    recipe: Recipe
    machine: Machine
    numbers: dict[str, Told]
    rates: dict[str, Told]
    missing: list[str]

    @property
    def bound(self) -> str:
        return min(self.rates, key=lambda name: self.rates[name].value)


def forecast(recipe: Recipe, data: Data, machine: Machine, kept: list[Kept]) -> Forecast:
    """Raises DavidError for a GPU that no sheet tells of, or a network whose size is not known."""
    if machine.gpu != "cpu" and machine.gpu not in PEAKS:
        raise DavidError(f"--gpu {machine.gpu}: no data sheet of it; there are {', '.join(PEAKS)}, and cpu")
    if (count := recipe.model.parameters()) is None:
        raise DavidError(f"{recipe.name}: how many parameters {recipe.model.backbone} has is not known")
    missing: list[str] = []
    parameters = counted(count, "parameters", "the network's configuration")
    one = _step(recipe, machine, kept, missing)
    alone = derived(one.value * machine.gpus, "samples/s", f"{machine.gpus} times a rank's", one)
    step = derived(recipe.batch_size / alone.value, "s", "a batch over what all ranks do", alone)
    gradient = derived(4 * count, "bytes", "float32, 4 bytes a parameter", parameters)
    total = _sum(machine, gradient, kept, missing)
    hidden = assumed(BACKWARD * step.value, "s", "the backward is two thirds of a step, and hides a sum over ranks")
    whole_s = step.value + max(0.0, total.value - hidden.value)
    parts = (step, total, hidden) if machine.gpus > 1 else (step,)
    whole = derived(whole_s, "s", "step, and what of the sum is longer than the backward", *parts)
    rates = {"step": derived(recipe.batch_size / whole_s, "samples/s", "a batch over a step with its sum", whole)}
    if machine.gpus > 1:
        least = max(total.value, 1e-12)
        rates["all-reduce"] = derived(recipe.batch_size / least, "samples/s", "a batch over a sum", total)
    if (loader := _loader(recipe, machine, kept, missing)) is not None:
        rates["loader"] = loader
    storage = f"{machine.storage / 1e9:,.3g} GB/s of each node (--storage)"
    disk = assumed(machine.storage * machine.nodes, "bytes/s", storage)
    rates["storage"] = derived(
        disk.value / data.each.value, "samples/s", f"{storage} over a sample's bytes", disk, data.each
    )
    slowest = min(rates.values(), key=lambda rate: rate.value)
    sure = list(rates.values())
    images = counted(recipe.steps * recipe.batch_size, "samples", "steps times batch of the recipe")
    hours = derived(images.value / slowest.value / 3600, "h", "all samples over the slowest part's rate", images, *sure)
    saved = SAVED_BYTES + AVERAGE_BYTES * (recipe.optim.ema > 0)
    state = STATE_BYTES + AVERAGE_BYTES * (recipe.optim.ema > 0)
    shared = machine.gpus if recipe.parallel == "fsdp" else 1
    checkpoint = derived(saved * count, "bytes", f"{saved} bytes a parameter: weights, moments, average", parameters)
    checkpoints = recipe.keep + (recipe.best is not None)
    steps_s = slowest.value / recipe.batch_size
    packed = derived(data.each.value * data.samples.value, "bytes", "samples times their size", data.each, data.samples)
    packs = data.each, data.shard
    node_rate = slowest.value / machine.nodes
    numbers = {
        "time": hours,
        "GPU-hours": derived(hours.value * machine.gpus, "h", "time times GPUs", hours),
        "epochs": derived(images.value / data.samples.value, "epochs", "samples over the set's", images, data.samples),
        "samples": data.samples,
        "a sample": data.each,
        "a rank's step alone": one,
        "a backward": hidden,
        "samples a second": derived(slowest.value, "samples/s", "of the slowest part", *sure),
        "a step, with its sum": whole,
        "a sum over ranks": total,
        "a gradient": gradient,
        "memory a rank": derived(
            state * count / shared, "bytes", f"{state} bytes a parameter; what a step computes comes on top", parameters
        ),
        "raw": data.raw or assumed(0, "bytes", "the manifest does not tell"),
        "shards": packed,
        "a shard": derived(data.each.value * data.shard.value, "bytes", "its samples times their size", *packs),
        "a checkpoint": checkpoint,
        "checkpoints": derived(checkpoints * checkpoint.value, "bytes", f"{checkpoints} are kept", checkpoint),
        "ledger and journal": assumed(
            recipe.steps * (LINE_BYTES["ledger"] + LINE_BYTES["journal"] / recipe.log_every), "bytes",
            f"{LINE_BYTES['ledger']} bytes a step, {LINE_BYTES['journal']} a line of the journal",
        ),
        "shards read a node": derived(
            node_rate * data.each.value, "bytes/s", "its samples a second times their size", *sure, data.each
        ),
        "shards fetched a node": derived(
            packed.value * images.value / data.samples.value / (3600 * hours.value), "bytes/s",
            "from an address, where the cache holds little of the set: all of it each epoch", hours, packed,
        ),
        "gradients a node": derived(
            steps_s * 2 * (machine.nodes - 1) / machine.nodes * gradient.value, "bytes/s",
            "2 (nodes - 1) / nodes of a gradient each step, in and out", *sure, gradient,
        ),
    }  # fmt: skip
    if machine.gpu != "cpu":
        share = _flops(recipe) * images.value / (3600 * A100_HOURS * 1e12 * PEAKS["A100"][0])
        numbers["MFU if it took DAViD's 528 A100-hours"] = assumed(
            share, "share", "this recipe's operations over 528 hours at an A100's peak; the paper's steps are unknown"
        )
    return Forecast(recipe, machine, numbers, rates, missing)


def _flops(recipe: Recipe) -> int:
    """Of an image's forward and backward, counted."""
    return _flops_at(recipe.model, recipe.data.height or 512, recipe.data.width or 512)


@lru_cache(maxsize=4)
def _flops_at(model: ModelConfig, height: int, width: int) -> int:
    from david.bench.suites.parts import flops_at

    return flops_at(model, height, width)


def _step(recipe: Recipe, machine: Machine, kept: list[Kept], missing: list[str]) -> Told:
    """Samples/s of one rank."""
    if found := newest(kept, lambda row: on(row, machine.gpu) and same_step(row, recipe)):
        rate = found.row["figures"]["step"]["rate"]["median"] / found.row.get("ranks", 1)
        return Told(rate, "samples/s", "measured", found.source)
    missing.append(
        f"the step of {recipe.name} on {machine.gpu}: david bench step --shards DIR --recipe {recipe.name} --out FILE"
    )
    if machine.gpu == "cpu":
        raise DavidError(f"no row of a step on CPUs fits; run {missing[-1].partition(': ')[2]}, and give it as --rows")
    halves = recipe.precision != "fp32"
    peak = 1e12 * PEAKS[machine.gpu][0 if halves else 1]
    return assumed(
        machine.mfu * peak / _flops(recipe), "samples/s",
        f"{machine.mfu:.0%} (--mfu; ViT training on H100 as published: 5% eager, 16% compiled, 23% tuned) of "
        f"{peak / 1e12:,.0f} TFLOP/s ({machine.gpu}'s data sheet), over {_flops(recipe) / 1e9:,.0f} GFLOP an image",
    )  # fmt: skip


def _sum(machine: Machine, gradient: Told, kept: list[Kept], missing: list[str]) -> Told:
    """Seconds of summing a gradient over all ranks."""
    if machine.gpus == 1:
        return counted(0, "s", "one rank has nothing to sum")
    fits = [one for one in kept if one.row["suite"] == "reduce" and on(one.row, machine.gpu)]
    if fits:
        measured = rings.of_rows(one.row for one in fits)
        its = rings.fit(measured)
        off = sorted(rings.errors(its, measured))[len(measured) // 2]
        most = max(one.ranks for one in measured)
        said = (
            f"a ring fitted to {len(measured)} sums of up to {most} ranks, {off:.0%} off in the median: "
            f"{1e6 * its.latency_s:,.0f} us a step, {its.bandwidth / 1e9:,.2f} GB/s; {fits[-1].source}"
        )
        known = machine.nodes == 1 and machine.gpus <= most
        return Told(its.seconds(machine.gpus, gradient.value), "s", "measured" if known else "assumed", said)
    missing.append(f"sums over ranks on {machine.gpu}: david bench reduce --nproc 8 --out FILE")
    width, name = (machine.link, "--link") if machine.nodes == 1 else (min(machine.link, machine.network), "--network")
    its = Ring(machine.latency_s, width)
    said = f"a ring at {width / 1e9:,.0f} GB/s ({name}) and {1e6 * machine.latency_s:,.0f} us a step (--latency)"
    return assumed(its.seconds(machine.gpus, gradient.value), "s", said)


def _loader(recipe: Recipe, machine: Machine, kept: list[Kept], missing: list[str]) -> Told | None:
    """Samples/s of all ranks' loaders, from what a core does."""

    def fits(row: dict) -> bool:
        told = (row.get("recipe") or {}).get("data", {})
        sizes = all(told.get(side) == getattr(recipe.data, side) for side in ("height", "width"))
        return sizes and "load" in row["figures"]

    found, say = newest(kept, fits), "its loader alone"
    rate = found.row["figures"]["load"]["rate"]["median"] if found else 0.0
    if found is None and (recipe.data.height, recipe.data.width) == (512, 384):
        found = newest(kept, lambda row: row["suite"] == "loaders" and "david" in row["figures"])
        rate = found.row["figures"]["david"]["rate"]["median"] if found else 0.0
        say = "loader at 512 x 384 with flips alone"
    if found is None:
        size = f"{recipe.data.height} x {recipe.data.width}"
        missing.append(f"the loader at {size}: david bench load --shards DIR --recipe {recipe.name} --out FILE")
        return None
    here = Told(rate / found.row["hardware"]["cores"], "samples/s a core", "measured", found.source)
    cores = assumed(machine.cores * machine.gpus, "cores", "--cores for each GPU")
    said = f"{here.value:,.0f} samples/s a core ({say}; {here.source}) times {cores.value:.0f} cores (--cores)"
    return derived(here.value * cores.value, "samples/s", said, here, cores)
