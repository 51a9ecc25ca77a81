"""How fast a folder of pictures is predicted, beside a plain loop that does as the official demo does.

- `david`: `model/predict/runner.py`, as `david predict` runs it: decoding, network and writing at the same time
- `plain`: `peers/plain_predictor.py`, one picture after the other

Both run the same ONNX file with onnxruntime on the CPU and write the same files, each turn in a process of its own that
has so many cores. Latency is of one picture after another, from the file's bytes to all fields at its size, nothing
written. Memory is the most that a turn's process held, after a quarter of the pictures and at its end.
"""

import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from rich.console import Console

from david.bench.harness import Contender, Measured, take_turns
from david.bench.peers.plain_predictor import SAVES, PlainPredictor
from david.bench.result import Result
from david.pack import machine
from david.pack.errors import DavidError

ALONE = 8  # pictures that latency is measured on
DIFFERENT = 4  # pictures that are made; the others are the same again
WANTED = 1.5  # times the plain loop, on two cores


def measure(
    images: Path | None,
    onnx: Path | None,
    count: int,
    megapixels: float,
    saves: tuple[str, ...],
    rounds: int,
    console: Console,
    on: tuple[int, ...] = (),
) -> Result:
    """Predict `count` pictures, those of the folder `images` over and over, or made ones of so many megapixels; by an
    ONNX file of the multi-task contract, or one that is exported from an untrained `david-smoke`.

    on: numbers of cores; one and two, where none is given. Raises DavidError where something of it can't be."""
    if unknown := sorted(set(saves) - set(SAVES)):
        raise DavidError(f"--save {unknown[0]}: the plain loop writes {', '.join(SAVES)}")
    have = machine.cores()
    on = tuple(dict.fromkeys(sorted(on))) or tuple(range(1, min(have, 2) + 1))
    if on[-1] > have:
        raise DavidError(f"--cores {on[-1]}: this process may use {have}")
    with tempfile.TemporaryDirectory() as work, console.status("making pictures") as status:
        folder = Path(work) / "in"
        folder.mkdir()
        size = _repeat(images, folder, count) if images else make(folder, count, megapixels)
        file = onnx or _exported(Path(work) / "smoke.onnx")
        contenders: dict[str, Contender] = {
            f"{who}, {_cores(cores)}": _turn(who, folder, file, saves, cores)
            for cores in on
            for who in ("david", "plain")
        }
        figures = take_turns(contenders, rounds, told=status.update)
    ratios = {
        quantity: {
            _cores(cores): _ratio(
                figures[f"david, {_cores(cores)}"][key].median, figures[f"plain, {_cores(cores)}"][key].median, key
            )
            for cores in on
        }
        for quantity, key in {"images/s over plain": "rate", "latency under plain": "latency"}.items()
    }
    best = ratios["images/s over plain"][_cores(on[-1])]
    sentence = f"{best:.2f} times the plain loop on {_cores(on[-1])}; wanted on two: {WANTED}"
    about = {
        **{"ratios": ratios, "images": count, "rounds": rounds, "saves": list(saves)},
        **{
            "data": {"folder": images.name if images else "made on the spot", "size": size},
            "network": str(onnx) if onnx else "david-smoke, untrained, 512 px",
        },
    }
    title = f"predicting {count} images{f' of {size[1]} x {size[0]}' if size else ''}, writing {', '.join(saves)}"
    return Result.of("predict", title, figures, verdict=sentence, about=about)


def _cores(number: int) -> str:
    return f"{number} {'core' if number == 1 else 'cores'}"


def _ratio(ours: float, theirs: float, key: str) -> float:
    return theirs / ours if key == "latency" else ours / theirs


def make(folder: Path, count: int, megapixels: float, seed: int = 0) -> list[int]:
    """Write JPEGs with the detail and the noise of photographs, 4:3; rows and columns of each."""
    import simplejpeg

    height = max(3, round((megapixels * 1e6 * 3 / 4) ** 0.5))
    width = round(height * 4 / 3)
    rng, made = np.random.default_rng(seed), []
    for _ in range(min(count, DIFFERENT)):
        layers = [
            cv2.resize(
                rng.normal(0, size, (height // step + 2, width // step + 2, 3)).astype(np.float32), (width, height)
            )
            for step, size in ((400, 50), (60, 25), (8, 8))
        ]
        noise = rng.normal(128, 4, (height, width, 1)).astype(np.float32)
        pixels = np.clip(layers[0] + layers[1] + layers[2] + noise, 0, 255).astype(np.uint8)
        made.append(simplejpeg.encode_jpeg(pixels, quality=92, colorsubsampling="420"))
    for number in range(count):
        (folder / f"{number:05}.jpg").write_bytes(made[number % len(made)])
    return [height, width]


def _repeat(images: Path, folder: Path, count: int) -> None:
    """Links to the JPEGs and PNGs of a folder, as often as it takes."""
    found = sorted(path for path in images.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not found:
        raise DavidError(f"{images}: no folder with JPEGs or PNGs")
    for number in range(count):
        path = found[number % len(found)]
        (folder / f"{number:05}{path.suffix.lower()}").symlink_to(path.resolve())


def _exported(path: Path) -> Path:
    import torch

    from david.model import build
    from david.model.export import export

    torch.manual_seed(0)
    export(build("david-smoke").eval(), path, size=512)
    return path


def _turn(who: str, folder: Path, file: Path, saves: tuple[str, ...], cores: int) -> Contender:
    return lambda: in_a_process(TURNS[who], folder, file, saves, cores)


def in_a_process(work: Callable[..., Measured], *given: object) -> Measured:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def david(folder: Path, file: Path, saves: tuple[str, ...], cores: int) -> Measured:
    """One turn of ours, in a process of its own."""
    _only(cores)
    from david.model.predict import inputs, pictures, runner
    from david.train.use.load import load

    predictor = load(file, device="cpu")
    listing = inputs.listed([str(folder)])
    alone_s = [_timed(lambda one=one: predictor.predict(pictures.read(one.path))) for one in listing.inputs[:ALONE]]
    with tempfile.TemporaryDirectory() as out:
        job, begin, held = runner.Job(predictor, Path(out), saves), time.perf_counter(), 0.0
        for number, outcome in enumerate(runner.run(job, listing.inputs), 1):
            if outcome.error:
                raise DavidError(outcome.error)
            held = _held() if number <= max(1, len(listing.inputs) // 4) else held
        elapsed_s = time.perf_counter() - begin
    return _measured(len(listing.inputs), elapsed_s, alone_s, held)


def plain(folder: Path, file: Path, saves: tuple[str, ...], cores: int) -> Measured:
    """One turn of the plain loop, in a process of its own."""
    _only(cores)
    predictor = PlainPredictor(file, cores)
    paths = sorted(folder.iterdir())

    def alone(path: Path) -> object:
        picture = cv2.imread(str(path))
        assert picture is not None
        return predictor.predict(picture)

    alone_s = [_timed(lambda path=path: alone(path)) for path in paths[:ALONE]]
    with tempfile.TemporaryDirectory() as out:
        begin, held = time.perf_counter(), 0.0
        for number, path in enumerate(paths, 1):
            predictor.write(path, Path(out), saves)
            held = _held() if number <= max(1, len(paths) // 4) else held
        elapsed_s = time.perf_counter() - begin
    return _measured(len(paths), elapsed_s, alone_s, held)


TURNS: dict[str, Callable[..., Measured]] = {"david": david, "plain": plain}


def _only(cores: int) -> None:
    """Of the processors that this process may use, so many."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _held() -> float:
    """MB, the most that this process has held: of its own, where `ru_maxrss` begins with what its parent held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6


def _measured(count: int, elapsed_s: float, alone_s: list[float], held: float) -> Measured:
    return {
        "rate": (count / elapsed_s, "images/s"),
        "latency": (1e3 * median(alone_s), "ms"),
        "memory after a quarter": (held, "MB"),
        "memory": (_held(), "MB"),
    }
