"""What the parts do that is no step: data, the doctor, the tests of GPUs, loaders, and the plain trainer.

Each runs in a process of its own, see `part.Part`.
"""

import importlib.util
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from rich.console import Console

import david
from david.bench.campaign.part import FAILED, SKIPPED
from david.bench.child import Tell, first_line

TEST = re.compile(r"^(tests/\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED)")


def here(tell: Tell) -> None:
    """What this machine is, for every row of the campaign."""
    from david.bench import rows

    tell(rows.here())


def data(tell: Tell, given: dict[str, Any], samples: int) -> None:
    """Draw people and pack them; what is there already stays."""
    from david.bench.campaign.given import Given
    from david.pack import synth
    from david.pack.shards import manifest
    from david.pack.work.build import build
    from david.pack.work.plan import PackOptions

    its = Given(**given)
    if not (its.drawn / manifest.NAME).exists():
        if not list(its.raw.glob("*.zip")):
            synth.write(its.raw, samples, zips=1, seed=0)
        build(its.raw, its.drawn, PackOptions(val_fraction=0, shard_samples=max(1, samples // 4)))
    whole = manifest.load(its.set)
    told = {"fingerprint": whole.fingerprint, "samples": whole.samples("train"), "folder": its.set.name}
    tell({"about": {"shards": told}, "said": f"{told['samples']:,} samples in {its.set}"})


def doctor(tell: Tell, given: dict[str, Any]) -> None:
    """Every check of `david doctor`."""
    from david.bench.doctor.check import Asked
    from david.bench.doctor.checkup import checkup

    device = "cpu" if given["asked"] == "cpu" else "auto"  # a GPU that torch can't use is what a doctor is for
    broken = []
    for one in checkup(Asked(given["folder"], device)):
        broken += [] if one.ok else [one.name]
        tell({"figures": {one.name: {"ok": one.ok, "found": one.found, "advice": one.advice}}})
    if broken:
        tell({"status": FAILED, "said": f"broken: {', '.join(broken)}"})
    else:
        tell({"said": "nothing is broken"})


def tests(tell: Tell, given: dict[str, Any], mark: str = "gpu", root: str | None = None) -> None:
    """The tests that carry a mark, in a process of pytest's own; told as they end, so that a cut leaves what is known.

    root: the checkout that they are of, this david's by default"""
    home = Path(root or Path(david.__file__).parent)
    if importlib.util.find_spec("pytest") is None:
        tell({"status": SKIPPED, "said": "pytest is not installed: pip install -c constraints.txt -e '.[dev]'"})
        return
    if not (home / "tests").is_dir():
        tell({"status": SKIPPED, "said": f"{home} has no tests: run it from a checkout of david"})
        return
    words = ["-m", "pytest", "-v", "-m", mark, "-p", "no:cacheprovider", "--color=no", "tests"]
    found: dict[str, str] = {}
    with subprocess.Popen(
        [sys.executable, *words], cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            print(line, end="", flush=True)  # to the part's log
            if match := TEST.match(line):
                found[match[1]] = match[2].lower()
                tell({"figures": {"tests": dict(found)}, "said": counted(found)})
    bad = [name for name, how in found.items() if how in ("failed", "error")]
    if bad:
        tell({"status": FAILED, "said": f"{counted(found)}: {', '.join(bad)}"})
    elif process.returncode not in (0, 5):  # 5: none carries the mark
        tell({"status": FAILED, "said": f"pytest ended with code {process.returncode}; its log says why"})
    elif not found:
        tell({"status": SKIPPED, "said": f"no test carries the mark {mark}"})


def counted(found: dict[str, str]) -> str:
    """`3 passed, 1 failed`"""
    ways = list(found.values())
    return ", ".join(f"{ways.count(way)} {way}" for way in dict.fromkeys(ways))


def loader(
    tell: Tell, given: dict[str, Any], recipe: str, decodes: list[str], threads: list[int], settings: list[str]
) -> None:
    """Samples/s of the loader alone by where it decodes and on how many threads. threads: 0 for all cores"""
    from david.bench.campaign.given import Given, figure, resolved
    from david.bench.suites.training import load_alone
    from david.pipeline.config import Decode
    from david.pipeline.loader import cores
    from david.train import distributed
    from david.train.recipe import to_json

    its, chosen = Given(**given), resolved(recipe, settings)
    counts = list(dict.fromkeys(one or cores(1) for one in threads))
    kinds = [(decode, count) for count in counts if count <= cores(1) for decode in decodes]
    failed: dict[str, str] = {}
    rates: dict[str, float] = {}
    with distributed.joined(its.device) as world:
        for number, (decode, count) in enumerate(kinds):
            name = f"decode {decode}, {count} threads"
            one = replace(chosen, data=replace(chosen.data, decode=cast(Decode, decode), threads=count))
            share_s = its.left_s() / (len(kinds) - number)
            try:
                once = load_alone(one, its.set, world, 1)
                batches = max(2, min(20, int(0.5 * share_s * once["rate"][0] / one.batch_size)))
                found = load_alone(one, its.set, world, batches)
            except Exception as error:  # of this kind of loader alone
                failed[name] = first_line(error)
                continue
            measured = {quantity: figure(*value) for quantity, value in found.items()}
            rates[name] = found["rate"][0]
            best = max(rates, key=rates.__getitem__)
            said = f"{best} is fastest, {rates[best]:,.0f} samples/s"
            tell({"figures": {name: measured}, "about": {"recipe": to_json(chosen)}, "said": said})
    if failed:
        tell({"status": FAILED, "said": "; ".join(f"{name}: {why}" for name, why in failed.items())})


def beside(tell: Tell, given: dict[str, Any], recipe: str, settings: list[str], batches: int, rounds: int) -> None:
    """david and the plain trainer in turns, on the drawn samples: shards here, raw files there."""
    from david.bench.campaign.given import Given, resolved
    from david.bench.suites import training

    its, chosen = Given(**given), resolved(recipe, settings)
    result = training.measure("step", ("both", "plain"), chosen, its.drawn, batches, rounds, its.device, raw=its.raw)
    result.show(Console())  # to the part's log
    tell({"figures": result.figures, "about": result.about, "said": result.verdict or ""})
