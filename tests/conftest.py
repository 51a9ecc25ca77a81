"""Data that the tests make for themselves, and the two real samples where they are at hand."""

from pathlib import Path

import pytest

from david.pack import build, plan, synth

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 synthetic samples in 2 zips, laid out as SynthHuman is."""
    folder = tmp_path_factory.mktemp("raw")
    synth.write(folder, samples=24, zips=2, seed=0)
    return folder


@pytest.fixture(scope="session")
def shards(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`raw` packed: train and val, several shards each."""
    folder = tmp_path_factory.mktemp("packed") / "shards"
    build.build(raw, folder, plan.PackOptions(val_fraction=0.25, shard_samples=7), workers=1)
    return folder


@pytest.fixture(scope="session")
def samples_dir() -> Path:
    """The folder of the two real SynthHuman samples, without cam files."""
    folder = ROOT.parent / "shared" / "samples" / "synthhuman"
    if not folder.is_dir():
        pytest.skip("the real SynthHuman samples are not at hand")
    return folder
