"""david's loader against other loaders and its own floor, in turns, on the same samples and cores."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from david.bench import raw as raw_samples
from david.bench.harness import Figure, Measured, take_turns
from david.bench.peers import PEERS
from david.bench.raw import repeated
from david.bench.result import Result
from david.pack import machine
from david.pack.errors import DavidError

BATCH_SIZE = 16
OURS = ("david", "floor")
TURN = ("-m", "david.bench.peers.turn")
TURN_S = 600  # a turn that takes longer hangs


def measure(raw: Path, samples: int, batches: int, rounds: int, console: Console) -> Result:
    """Compare on the first `samples` samples of `raw`, over and over where it holds fewer. console: shows what runs"""
    data = raw_samples.about(raw, samples)
    workers = machine.cores()
    with console.status("measuring") as status:
        figures, failed = compare(raw, samples, BATCH_SIZE, workers, batches, rounds, told=status.update)
    missing = installed()[1]
    rates = {name: found["rate"].median for name, found in figures.items()}
    ratios = {name: rates["david"] / rate for name, rate in rates.items() if name != "david"}
    told = [
        f"{ratio:.2f} times {name}" if name != "floor" else f"{ratio:.2f} of the floor"
        for name, ratio in ratios.items()
    ]
    return Result.of(
        "loaders",
        f"batches of {BATCH_SIZE}, {workers} workers each, mirrored at random; {raw_samples.told(data, samples)}",
        figures,
        verdict=f"david: {', '.join(told)}",
        notes=(
            *(
                f"{name}: not measured, since {package} is not installed (pip install david-train[peers])"
                for name, package in missing.items()
            ),
            *(f"{name}: failed: {error}" for name, error in failed.items()),
        ),
        about={
            **{"ratios": ratios, "missing": missing, "failed": failed, "data": data, "samples": samples},
            **{"batch_size": BATCH_SIZE, "workers": workers, "batches": batches, "rounds": rounds},
        },
    )


def installed() -> tuple[list[str], dict[str, str]]:
    """The peers that can run here, and those that can't with the package that they miss."""
    missing = {name: package for name, package in PEERS.items() if not _found(package)}
    return [name for name in PEERS if name not in missing], missing


def _found(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # its parent is missing
        return False


def compare(
    raw: Path,
    samples: int,
    batch_size: int,
    workers: int,
    batches: int,
    rounds: int,
    told: Callable[[str], None],
    names: list[str] | None = None,
) -> tuple[dict[str, dict[str, Figure]], dict[str, str]]:
    """Figures of each contender, and the peers that failed with their errors.

    raw: as `david pack` takes it; workers: threads or processes of each; names: of peers, else all that are installed
    """
    from david.bench.peers import david_loader

    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as work:
        sizes, chosen = {}, repeated(raw, Path(work) / "samples", samples)
        for name in (*OURS, *(names if names is not None else installed()[0])):
            folder = Path(work) / ("david" if name == "floor" else name)
            told(f"writing the samples as {name} stores them")
            if not folder.exists():
                folder.mkdir()
                if name == "david":
                    sizes[name] = david_loader.prepare(chosen, samples, folder)
                    continue
                done = _run([*TURN, "prepare", name, str(chosen), str(samples), str(folder)])
                if done.returncode:
                    failed[name] = done.stderr.strip().splitlines()[-1]
                    continue
                sizes[name] = int(done.stdout.split()[-1])
        sizes["floor"] = sizes["david"]

        def contender(name: str) -> Measured:
            folder = Path(work) / ("david" if name == "floor" else name)
            numbers = map(str, (batch_size, workers, batches))
            done = _run([*TURN, "measure", name, str(folder), *numbers])
            if done.returncode:
                failed[name] = (done.stderr.strip() or "no message").splitlines()[-1]
                return {}
            figures = {quantity: tuple(value) for quantity, value in json.loads(done.stdout.splitlines()[-1]).items()}
            return figures | {"size": (sizes[name] / samples / 1e3, "kB a sample")}

        figures = take_turns({name: lambda name=name: contender(name) for name in sizes}, rounds, told)
    return {name: found for name, found in figures.items() if name not in failed}, failed


def _run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=TURN_S)
    except subprocess.TimeoutExpired as error:
        raise DavidError(f"{' '.join(arguments[:3])}: nothing came within {TURN_S} s; leave that peer out") from error
