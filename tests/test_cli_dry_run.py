"""`--dry-run` tells what the command would do, as it then does it, and writes nothing."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from david import cli
from david.pack.shards import manifest
from david.pack.work import forecast
from david.pack.work.build import BadPolicy, Part, build
from david.pack.work.plan import PackOptions
from david.train import recipes
from david.train.loop import train
from david.train.recipe import override

OPTIONS = PackOptions(val_fraction=0.25, shard_samples=7)
WORDS = ["--val-fraction", "0.25", "--shard-samples", "7"]
SMALL = ["data.height=16", "data.width=12", "model.backbone_size=32", "model.width=16", "model.head_widths=8,8"]
SMALL += ["model.reassemble=8,8,8,8", "batch_size=4", "steps=6", "picture_every=0"]
SETS = [word for setting in SMALL for word in ("--set", setting)]
Say = Callable[..., tuple[int, str]]


@pytest.fixture
def david(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Say:
    """Runs a command in `tmp_path`: its exit code, and all that it said as words with single spaces between."""

    def say(*words: object) -> tuple[int, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["david", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capfd.readouterr()
        return int(end.value.code or 0), " ".join((said.out + said.err).split())

    return say


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """All files and folders under a folder, with the time of their last change and their bytes."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *folder.rglob("*")]
    }


def test_a_dry_run_of_packing_tells_the_shards_and_writes_nothing(
    david: Say, raw: Path, shards: Path, tmp_path: Path
) -> None:
    before, raw_before = contents(tmp_path), contents(raw)
    code, said = david("pack", raw, tmp_path / "deep" / "shards", *WORDS, "--dry-run", "--workers", 3)
    assert code == 0 and contents(tmp_path) == before and contents(raw) == raw_before
    assert "24 samples in 2 archives" in said and "workers 3 processes" in said
    packed = manifest.load(shards)
    for split, rows in packed.splits.items():
        assert f"{split}: {packed.samples(split)} samples in {forecast.many(len(rows), 'shard')}" in said


def test_the_space_that_is_told_is_near_what_packing_takes(raw: Path, shards: Path, tmp_path: Path) -> None:
    def needed(folder: Path) -> float:
        return forecast.forecast(raw, folder, OPTIONS, bad=BadPolicy(), part=Part()).needed_bytes

    took = sum(one.bytes for rows in manifest.load(shards).splits.values() for one in rows)
    assert took < needed(tmp_path / "new") < 1.5 * took  # drawn samples take less than real ones
    there = Path(shutil.copytree(shards, tmp_path / "there"))
    assert needed(there) == 0
    (there / "train-000000.tar").unlink()
    assert needed(there) == pytest.approx(7 / 24 * took, rel=0.2)


def test_a_dry_run_tells_what_stands_there_and_leaves_it(david: Say, raw: Path, shards: Path, tmp_path: Path) -> None:
    there = Path(shutil.copytree(shards, tmp_path / "there"))
    (there / "train-000001.tar").write_bytes(b"cut short")
    before = contents(tmp_path)
    code, said = david("pack", raw, there, *WORDS, "--dry-run")
    assert code == 0 and "1 missing or of another size" in said and "to write 1 shard of 7 samples" in said
    code, said = david("pack", raw, there, "--dry-run")  # other options
    assert code == 2 and "shard_samples is 7 there and 1000 now" in said
    (there / "another.tar").write_bytes(bytes(10_000_000))  # not of packing
    before = contents(tmp_path)
    code, said = david("pack", raw, there, "--dry-run", "--restart")
    old = [path for path in there.iterdir() if path.name != "another.tar"]
    gone = f"{len(old)} files, {forecast.size(sum(path.stat().st_size for path in old))}, which --restart takes away"
    assert code == 0 and f"{gone}: dataset.json to val-" in said
    code, said = david("pack", "merge", there)
    assert code == 2 and f"a command of its own now: david merge {there}" in said and contents(tmp_path) == before


def test_a_dry_run_knows_a_pack_that_was_begun(david: Say, raw: Path, tmp_path: Path) -> None:
    assert build(raw, tmp_path / "shards", OPTIONS, part=Part(1, 2), workers=1) is None
    before = contents(tmp_path)
    code, said = david("pack", raw, tmp_path / "shards", *WORDS, "--dry-run")
    done = len(list((tmp_path / "shards").glob("*.tar")))
    assert code == 0 and f"begun: {done} of {2 * done} shards are finished" in said
    assert f"to write {done} shards" in said and contents(tmp_path) == before


def test_loose_files_are_not_read_by_a_dry_run(raw: Path, tmp_path: Path) -> None:
    loose = tmp_path / "loose"
    for archive in raw.glob("*.zip"):
        shutil.unpack_archive(archive, loose)
    build(loose, tmp_path / "shards", OPTIONS, workers=1)
    for path in loose.rglob("*.*"):
        path.write_bytes(bytes(path.stat().st_size))  # whoever reads them finds others than were packed
    found = forecast.forecast(loose, tmp_path / "shards", OPTIONS, bad=BadPolicy(), part=Part())
    assert (found.samples, found.to_write) == (24, 0)


def test_a_disk_without_room_is_told(raw: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    found = forecast.forecast(raw, tmp_path / "shards", OPTIONS, bad=BadPolicy(), part=Part())
    assert found.facts()["free"].endswith("NOT ENOUGH") and found.disk == tmp_path


def test_a_dry_run_of_training_writes_nothing_and_tells_where_it_goes_on(
    david: Say, tiny: Callable[[Path, list[int]], Path], tmp_path: Path
) -> None:
    shards = tiny(tmp_path / "shards", [8, 4])
    before = contents(tmp_path)
    words = ("train", "--shards", shards, *SETS, "--dry-run", "--device", "cpu")
    code, said = david(*words, "--nproc", 2)
    assert code == 0 and contents(tmp_path) == before, said
    assert "a new run would begin there" in said and "12 to train on" in said and "2.00 by step 6" in said
    assert "ranks 2, each with 2 samples" in said
    code, said = david(*words, "--nproc", 3)
    assert code == 2 and contents(tmp_path) == before
    for setting, told in {"data.decode=gpu": "this run is on a CPU", "attention=flash": "a kernel of GPUs"}.items():
        code, said = david(*words, "--set", setting)
        assert code == 2 and told in said
    recipe = override(recipes.recipe("smoke"), SMALL)
    train(recipe, shards, tmp_path / "run", stop=3, device="cpu", speaks=False)
    before = contents(tmp_path)
    code, said = david(*words, "--out", tmp_path / "run")
    assert code == 0 and "go on after step 3" in said and "steps 3, to step 6 of 6" in said, said
    code, said = david("train", "--out", tmp_path / "run", "--dry-run", "--steps", 3)
    assert code == 0 and "nothing would be trained" in said
    code, said = david(*words, "--out", tmp_path / "run", "--set", "seed=1")
    assert code == 2 and "seed = 0" in said and contents(tmp_path) == before
