"""What a recorded run comes to: shares of stages, what the trainer waited for, steps that took longest, a verdict."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from david.bench.explain.path import OF_LOADER, OTHER, STAGES, Part, by_stage, waits, walk
from david.bench.explain.run import Ran
from david.train.recipe import Recipe

SLOWEST = 5  # steps that are told of
AT_ONCE = 1.2  # times the median: what a step must take to be called slow


@dataclass(frozen=True)
class Account:
    """ran: the run; path: its critical path from the first step that counts on; bounds_ns: when these steps begin, and
    when the last does, which does not count: a path ends with the trainer, whoever was slower
    steps: nanoseconds by stage, of each step that counts; together they are the step's time
    occasional: seconds of what does not happen in each step, and after how many steps it comes by the recipe
    mean_ns: of a step of a long run, by stage: what steps take, and their part of the occasional
    waited: share of the steps' time that the trainer waited for data, by what those did who made its batches"""

    ran: Ran
    path: list[Part]
    bounds_ns: list[int]
    steps: list[dict[str, int]]
    occasional: dict[str, tuple[float, int]]
    mean_ns: dict[str, float]
    waited: dict[str, float]

    @property
    def shares(self) -> dict[str, float]:
        return hundred(self.mean_ns)

    @property
    def rate(self) -> float:
        """Samples/s of the steps alone."""
        return 1e9 * self.ran.recipe.batch_size * len(self.steps) / sum(sum(one.values()) for one in self.steps)

    @property
    def samples_per_s(self) -> float:
        return 1e9 * self.ran.recipe.batch_size / sum(self.mean_ns.values())

    @property
    def cost(self) -> float:
        """Share of the steps' time that recording took, had none of it gone on beside anything."""
        return self.ran.spans * self.ran.span_ns / (1e6 * sum(self.took_ms()) / len(self.steps))

    def took_ms(self) -> list[float]:
        return [sum(one.values()) / 1e6 for one in self.steps]

    def as_json(self) -> dict[str, Any]:
        took = self.took_ms()
        return {
            "verdict": verdict(self),
            "samples_per_s": self.samples_per_s,
            "shares": self.shares,
            "step_ms": {
                **{"mean": sum(self.mean_ns.values()) / 1e6, "median": median(took)},
                **{"least": min(took), "most": max(took)},
            },
            "mean_ms": {name: one / 1e6 for name, one in self.mean_ns.items()},
            "waits": {"share": sum(self.waited.values()), "by": self.waited},
            "occasional": {name: {"seconds": one, "every": every} for name, (one, every) in self.occasional.items()},
            "slowest": slowest(self),
            "recording": {"spans_a_step": self.ran.spans, "ns_a_span": self.ran.span_ns, "share": self.cost},
            "steps": [
                {"step": self.ran.first + number, "ms": took[number - 1], "path_ns": one}
                for number, one in enumerate(self.steps, 1)
            ],
        }


def account(ran: Ran) -> Account:
    tracks = ran.tracks
    bounds = tracks.steps()[ran.first :]
    path = walk(tracks, bounds[0], bounds[-1])
    *steps, last = by_stage(path, bounds)
    occasional = {}
    for name, every in every_steps(ran.recipe).items():
        took = sum(one.pop(name, 0) for one in (*steps, last))
        times = sum(begin >= bounds[0] for begin in tracks.began(name))
        occasional[name] = took / 1e9 / max(1, times), every
    mean: dict[str, float] = defaultdict(float)
    for one in steps:
        for name, ns in one.items():
            mean[name] += ns / len(steps)
    for name, (seconds, every) in occasional.items():
        mean[name] = 1e9 * seconds / every
    waited: dict[str, float] = defaultdict(float)
    whole = sum(sum(one.values()) for one in steps)
    for _, causes in waits(tracks, range(ran.first, ran.first + len(steps))):
        for name, ns in causes.items():
            waited[name] += ns / whole
    order = {name: mean[name] for name in (*STAGES, *sorted(set(mean) - set(STAGES))) if mean.get(name)}
    return Account(
        ran, path, bounds[:-1], steps, occasional, order, dict(sorted(waited.items(), key=lambda one: -one[1]))
    )


def every_steps(recipe: Recipe) -> dict[str, int]:
    """After how many steps a run by this recipe measures, draws and saves; what it does once, after all."""
    found = {
        "evaluation": recipe.evaluate_every,
        "pictures": recipe.picture_every,
        "checkpoint": recipe.checkpoint_every,
    }
    return {name: every or recipe.steps for name, every in found.items()}


def hundred(parts: Mapping[str, float], digits: int = 4) -> dict[str, float]:
    """Shares of the whole, rounded so that they add up to 1: what is left over goes to those that lost most."""
    whole, unit = sum(parts.values()), 10**digits
    exact = {name: unit * one / whole for name, one in parts.items()}
    rounded = {name: int(one) for name, one in exact.items()}
    losers = sorted(exact, key=lambda name: rounded[name] - exact[name])
    for name in losers[: unit - sum(rounded.values())]:
        rounded[name] += 1
    return {name: one / unit for name, one in rounded.items()}


def slowest(found: Account) -> list[dict[str, Any]]:
    """The steps that took longest, and what they had more of than the median step has."""
    took = found.took_ms()
    usual = {name: median(one.get(name, 0) for one in found.steps) / 1e6 for name in STAGES}
    told = []
    for number in sorted(range(len(took)), key=took.__getitem__, reverse=True)[:SLOWEST]:
        if took[number] < AT_ONCE * median(took):
            break
        more = {name: found.steps[number].get(name, 0) / 1e6 - ms for name, ms in usual.items()}
        most = sorted((name for name in more if more[name] > 0), key=more.__getitem__, reverse=True)[:3]
        step = {"step": found.ran.first + number + 1, "ms": took[number], "times": took[number] / median(took)}
        told.append(step | {"more_ms": {name: more[name] for name in most}})
    return told


ADVICE = {
    "read": "nearer or faster storage",
    "inflate": "more threads, or shards packed with lz4",
    "join": "more threads",
    "decode": "more threads, or shards of jpeg",
    "augment": "more threads, or fewer augmentations",
    "batch": "larger batches",
    "copy": "a faster link to the device",
    "forward": "a faster device, or compile",
    "losses": "compile, or fewer terms",
    "backward": "a faster device, or compile",
    "all-reduce": "a faster network, or larger batches",
    "optimiser": "larger batches",
    "log": "a larger log_every",
    "evaluation": "a larger evaluate_every",
    "pictures": "a larger picture_every",
    "checkpoint": "a larger checkpoint_every",
}


def verdict(found: Account) -> str:
    """What bounds training, in one sentence."""
    shares = found.shares
    most = max((name for name in shares if name != OTHER), key=shares.__getitem__)
    loader, step_ms = sum(shares.get(name, 0) for name in OF_LOADER), sum(found.mean_ns.values()) / 1e6
    return (
        f"`{most}` bounds training here: it has {shares[most]:.1%} of the critical path, the loader's stages together "
        f"{loader:.1%}; a step of {found.ran.recipe.batch_size} samples takes {step_ms:,.1f} ms "
        f"and waits {sum(found.waited.values()):.1%} of it for data; {ADVICE[most]} would mend it."
    )
