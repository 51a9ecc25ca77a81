"""Data that the tests make for themselves, and the two real samples where they are at hand."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace

# pytest's workers share the cores; read once, by what is imported next and by what tests start
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // workers)))

import forked
import numpy as np
import people
import pytest
import starters
from people import made

from david.pack import synth
from david.pack.shards import manifest, shard
from david.pack.sources import synthhuman
from david.pack.work import build, plan

pytest_plugins = ["raw_sets", "zip_server"]
ROOT = Path(__file__).resolve().parent.parent

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell; what tests start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 synthetic samples in 2 zips, laid out as SynthHuman is."""
    folder = tmp_path_factory.mktemp("raw")
    with forked.forking():
        synth.write(folder, samples=24, zips=2, seed=0)
    return folder


@pytest.fixture(scope="session")
def shards(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`raw` packed: train and val, several shards each."""
    folder = tmp_path_factory.mktemp("packed") / "shards"
    build.build(raw, folder, plan.PackOptions(val_fraction=0.25, shard_samples=7), workers=1)
    return folder


@pytest.fixture(scope="session")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 samples of 48 x 36 pixels, packed: train and val, several shards each. For what asks little of a picture."""
    folder = tmp_path_factory.mktemp("figures")
    raw = starters.tiny_raw(folder / "raw.zip", samples=24)
    build.build(raw, folder / "shards", plan.PackOptions(val_fraction=0.25, shard_samples=7), workers=1)
    return folder / "shards"


@pytest.fixture(scope="session")
def far_off(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 loose samples of 48 x 36 pixels, as a telescope sees people: a hundred times as far away."""
    folder = tmp_path_factory.mktemp("far_off")
    for sample in synthhuman.samples(starters.tiny_raw(folder / "near.zip", samples=16)):
        people.store(people.changed(sample, depth_cm=people.cm(sample) * 100), folder / "raw")
    return folder / "raw"


@pytest.fixture(scope="session")
def tiny() -> Callable[[Path, list[int]], Path]:
    """Writes a shard set of noise, 16 x 12 pixels, with so many samples in each shard of `train`, and returns it."""

    def write(folder: Path, sizes: list[int]) -> Path:
        rng = np.random.default_rng([len(sizes), sum(sizes)])
        folder.mkdir(parents=True)
        listed, camera = [], np.array([[20.0, 0, 6], [0, 20, 8], [0, 0, 1]])
        for number, size in enumerate(sizes):
            samples = []
            for place in range(size):
                key, rgb = f"{number:04}{place:04}", rng.integers(0, 256, (16, 12, 3), np.uint8)
                depth_cm = rng.uniform(90, 110, (16, 12)).astype(np.float32)
                normals = np.tile(np.array([0, 0, 1], np.float32), (16, 12, 1))
                whole = np.ones((16, 12), bool)
                one = made(key, rgb, rgb[..., 0].copy(), depth_cm, normals, whole, whole, camera)
                samples.append((key, shard.encode(one, "jpeg", "lz4")))
            listed.append(shard.write(folder / f"train-{number:06}.tar", samples, "jpeg", "lz4"))
        manifest.Manifest(folder, {"image": "jpeg", "compression": "lz4"}, {"train": tuple(listed)}).write()
        return folder

    return write


@pytest.fixture(scope="session", autouse=True)
def drawn() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Runs in the tests' own process draw no `loss.png`, which takes 0.6 s each, unless within `with drawn():`."""

    @contextmanager
    def as_a_user_does() -> Iterator[None]:
        from david.train import loop
        from david.train.record import curves

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "curves", curves)
            yield

    with pytest.MonkeyPatch.context() as patch:
        if loop := sys.modules.get("david.train.loop"):
            patch.setattr(loop, "curves", SimpleNamespace(draw=lambda journal, out: None))
        yield as_a_user_does


@pytest.fixture(scope="module")
def warm() -> Iterator[None]:
    """Meanwhile Python processes that tests and david start are forked from one that has torch, see `forked`."""
    with forked.forking():
        yield


@pytest.fixture
def cold(warm: None) -> Iterator[None]:
    """In a module that is `warm`: this test's processes start from nothing, as a user's do."""
    with forked.forking(*forked.COLD):
        yield


@pytest.fixture(scope="session")
def samples_dir() -> Path:
    """The folder of the two real SynthHuman samples, without cam files."""
    folder = ROOT.parent / "shared" / "samples" / "synthhuman"
    if not folder.is_dir():
        pytest.skip("the real SynthHuman samples are not at hand")
    return folder
