"""Every peer delivers the very samples that david delivers, and one that is missing or breaks is named."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from david.bench import raw as raw_samples
from david.bench.peers import PEERS, loader
from david.bench.suites import peers
from david.pack.raw import archive
from david.pack.sources import synthhuman


def arrays(batch: Any) -> dict[str, np.ndarray]:
    """A peer's batch on the host; DALI delivers lists of tensors, some with a channel behind."""
    found = {}
    for name in ("image", "alpha", "depth", "valid", "normals"):
        field = batch[name]
        array = np.asarray(field.as_array() if hasattr(field, "as_array") else field)
        found[name] = array.reshape(array.shape[:3]) if array.shape[-1] == 1 else array
    return found


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_delivers_the_samples_and_their_mirror_images(name: str, raw: Path, tmp_path: Path) -> None:
    if name not in peers.installed()[0]:
        pytest.skip(f"{PEERS[name]} is not installed")
    peer = loader(name)
    assert peer.prepare(raw, 8, tmp_path) > 0
    expected = {}
    for key, kinds in list(synthhuman.scan(raw).items())[:8]:
        stored = synthhuman.load(key, kinds)
        expected[stored.alpha.tobytes()] = (stored, False)
        expected[stored.alpha[:, ::-1].tobytes()] = (stored, True)
    mirrors = set()
    with peer.batches(tmp_path, 4, 1) as batches:
        for _ in range(4):
            batch = arrays(next(batches))
            for slot in range(4):
                sample, mirrored = expected[batch["alpha"][slot].tobytes()]
                mirrors.add(mirrored)
                turn = (slice(None), slice(None, None, -1 if mirrored else 1))
                assert np.array_equal(batch["valid"][slot].astype(bool), sample.depth_valid[turn])
                vectors = np.moveaxis(batch["normals"][slot].view(np.float16), 0, -1)
                wanted = sample.normals[turn] * [-1 if mirrored else 1, 1, 1]
                there = sample.depth_valid[turn]
                np.testing.assert_allclose(vectors[there], wanted[there], atol=1e-3)
                assert abs(batch["image"][slot].astype(int) - sample.rgb[turn].astype(int)).mean() < 3
                depth, metres = batch["depth"][slot].view(np.float16)[there], sample.depth_m[turn][there]
                assert np.corrcoef(depth.astype(float), metres)[0, 1] > 0.9999
    assert mirrors == {False, True}


@pytest.mark.parametrize("name", ["david", "floor"])
def test_a_turn_of_our_own_gives_every_figure(name: str, raw: Path, tmp_path: Path) -> None:
    module = loader(name)
    assert module.prepare(raw, 8, tmp_path) > 0
    command = [sys.executable, "-m", "david.bench.peers.turn", "measure", name, str(tmp_path), "4", "1", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout)
    assert set(figures) == {"rate", "cpu", "memory", "first"}
    assert figures["rate"][0] > 0 and figures["memory"][0] > 0


def test_a_peer_that_is_not_installed_is_named_with_what_it_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PEERS, "nobody", "no_such_package.inside")
    names, missing = peers.installed()
    assert "nobody" not in names and missing["nobody"] == "no_such_package.inside"
    assert "webdataset" in names


def test_few_samples_are_taken_over_and_over_and_a_row_says_so(raw: Path, tmp_path: Path) -> None:
    few = raw_samples.repeated(raw, tmp_path / "few", 3)
    about = raw_samples.about(few, 7)
    assert about == {"folder": "few", "distinct": 3, "raw_kb": about["raw_kb"]} and about["raw_kb"] > 100
    assert raw_samples.told(about, 7).startswith("7 samples, 3 distinct, of `few`, ")
    assert raw_samples.told(about, 3).startswith("3 samples of `few`")
    names = synthhuman.scan(raw_samples.repeated(few, tmp_path / "many", 7))
    assert len(names) == 7
    alphas = [archive.read(kinds["alpha"]) for kinds in names.values()]
    assert alphas[0] == alphas[3] == alphas[6] != alphas[1]
    figures, failed = peers.compare(few, 7, 4, 1, 1, 1, told=lambda _: None, names=[])
    assert not failed and set(figures) == {"david", "floor"} and figures["david"]["rate"].median > 0


def test_every_kept_row_says_what_it_was_measured_on() -> None:
    for path in (Path(__file__).parent.parent / "bench" / "results").glob("*.jsonl"):
        for row in map(json.loads, path.read_text().splitlines()):
            assert row.get("data", {}).get("folder"), f"{path.name}: the row of {row['when']} names no data"
