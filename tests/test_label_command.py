"""`david label`: a teacher's word for every sample of a set, however it is batched, cut into parts, killed or doubled;
what does not belong together is refused with both values."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import labelling
import numpy as np
import pytest
from labelling import OfDepth, Teacher, ask, contents, said, taught
from starters import at_once
from test_pipeline_fields import SENSOR, packed
from typer.testing import CliRunner

from david.cli import app
from david.pack import BadSample, DavidError, read
from david.pack.check.verify import verify
from david.pack.shards import index, manifest, sidecar
from david.pack.shards.manifest import Manifest
from david.pipeline.config import DataConfig
from david.pipeline.loader import Loader
from david.pipeline.reading import sets
from david.train.labels.record import Record

COUNT = 24


@pytest.fixture
def teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    teacher = Teacher()
    with taught(tmp_path, teacher):
        yield teacher


@pytest.fixture(scope="module")
def whole(figures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one run by itself writes."""
    folder = tmp_path_factory.mktemp("whole")
    with taught(folder, Teacher()) as weights:
        ask(figures, weights, folder / "out", "--batch-size", 3)
    return folder / "out"


W = Path("w.onnx")


def depths(folder: Path, split: str) -> list[sidecar.Labels]:
    """What a sidecar has of each sample, read member by member."""
    found: Manifest = sidecar.load(folder)
    labels = []
    for one in found.split(split):
        data = (folder / f"{one.name}.tar").read_bytes()
        rows, keys = index.entries(folder / f"{one.name}.idx", found.extensions, one.index_sha256)
        for row, key in zip(rows.tolist(), keys, strict=True):
            labels.append(sidecar.decode([data[at : at + size] for at, size in row], "lz4", found.fields))
            assert labels[-1].key == key
    return labels


@pytest.mark.parametrize("kind", [Teacher, OfDepth])
def test_a_sidecar_has_what_the_teacher_says_of_each_sample_in_the_sets_order(
    kind: type[Teacher], figures: Path, whole: Path, tmp_path: Path
) -> None:
    """Growing with nearness, whatever the teacher says; to a 4,000th of a sample's range."""
    folder = whole if kind is Teacher else labelling.labels(figures, tmp_path / "out", kind())
    base, found = manifest.load(figures), sidecar.load(folder)
    assert verify(folder, deep=True, workers=1)[1] == []
    assert found.fields == (sidecar.TEACHER_DEPTH,) and found.belongs["shards"] == base.fingerprint
    told = found.belongs["teacher"]
    assert (told["says"], told["size"], told["kind"], told["name"]) == (kind.fields[0], 32, "teacher", "w.onnx")
    for split in base.splits:
        samples = list(read(figures, split))
        for sample, labels in zip(samples, depths(folder, split), strict=True):
            expected = said(sample.rgb, kind()) * (1 if kind is Teacher else -1)
            value = labels.values["teacher_depth"]
            assert labels.key == sample.key and labels.masks["teacher_depth"].all() and value.dtype == np.float32
            assert np.abs(value - expected).max() <= np.ptp(expected) / 4000 + 1e-6


def run_until_killed(folder: Path, shards: Path, when: str) -> None:
    """The command, which is gone at a call of the network, or around the line of its second shard."""
    os.chdir(folder)
    teacher, finish, finished = Teacher(), Record.finish, []
    teacher.last = 4 if when == "asked" else 0

    def killed(record: Record, written: manifest.Shard) -> None:
        finished.append(written.name)
        if when == "written" and len(finished) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        finish(record, written)
        if when == "noted" and len(finished) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    Record.finish = killed  # in a process of its own
    with taught(folder, teacher):
        ask(shards, W, Path("out"), "--batch-size", 3)


@pytest.mark.parametrize(("when", "least", "most"), [("asked", 0, 1), ("written", 1, 1), ("noted", 2, 2)])
def test_killed_and_said_again_gives_the_same_bytes_and_labels_no_shard_twice(
    when: str, least: int, most: int, figures: Path, whole: Path, tmp_path: Path, teacher: Teacher, warm: None
) -> None:
    process = get_context("spawn").Process(target=run_until_killed, args=(tmp_path, figures, when))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    done = len(list((Path("out") / manifest.RECORD).glob("*-*.json")))  # a line each
    assert least <= done <= most
    with pytest.raises(DavidError, match=f"half made, {done} of 4 shards .*: david label {figures} --teacher w.onnx"):
        sets.load(f"{figures}+out")
    samples = sum(one.samples for one in manifest.load(figures).split("train")[:done])
    output = ask(figures, W, Path("out"), "--batch-size", 3)
    assert sum(teacher.calls) == COUNT - samples and f"{COUNT - samples} samples labelled" in output
    assert contents(Path("out")) == contents(whole)


def test_parts_together_are_the_whole_also_at_once(figures: Path, whole: Path, teacher: Teacher) -> None:
    assert "other parts have still to write" in ask(figures, W, Path("out"), "--batch-size", 3, "--part", "2/2")
    ask(figures, W, Path("out"), "--batch-size", 3, "--part", "1/2")
    assert contents(Path("out")) == contents(whole) and sum(teacher.calls) == COUNT
    assert "0 samples labelled, 24 were there" in ask(figures, W, Path("out"), "--batch-size", 3)
    assert contents(Path("out")) == contents(whole)

    out = Path("twice/out").absolute()
    out.parent.mkdir()
    with labelling.taught(out.parent, labelling.Teacher()) as weights:
        outcomes = at_once([lambda: labelling.labelled(figures, weights, out)] * 3)
    told = [str(one) for one in outcomes if isinstance(one, Exception)]
    assert all("another david label is at work on" in one for one in told) and len(told) < 3
    assert contents(Path("twice/out")) == contents(whole)


def test_another_teacher_or_way_is_refused_with_both_values_until_it_is_begun_anew(
    figures: Path, whole: Path, teacher: Teacher
) -> None:
    ask(figures, W, Path("out"), "--batch-size", 3, "--part", "1/2")
    with pytest.raises(DavidError, match="the teacher's batch_size is 3 there and 2 now"):
        ask(figures, W, Path("out"), "--batch-size", 2, "--part", "2/2")
    W.write_bytes(labelling.OUTLINE + bytes.fromhex("120161"))  # and who made it
    with pytest.raises(DavidError, match=r"the teacher's sha256 is [0-9a-f]{64} there and [0-9a-f]{64} now"):
        ask(figures, W, Path("out"), "--batch-size", 3)
    W.write_bytes(labelling.OUTLINE)
    with pytest.raises(DavidError, match="the teacher's fit is square there and stretch now.*--restart"):
        ask(figures, W, Path("out"), "--batch-size", 3, "--fit", "stretch")
    Path("out/mine.txt").write_text("kept")
    ask(figures, W, Path("out"), "--batch-size", 5, "--restart")
    with pytest.raises(DavidError, match="the teacher's batch_size is 5 there and 3 now"):
        ask(figures, W, Path("out"), "--batch-size", 3)
    ask(figures, W, Path("out"), "--batch-size", 3, "--restart")
    assert Path("out/mine.txt").read_text() == "kept"
    Path("out/mine.txt").unlink()
    assert contents(Path("out")) == contents(whole)


def test_flipped_bits_are_named_and_mended_to_the_same_bytes(figures: Path, whole: Path, teacher: Teacher) -> None:
    shutil.copytree(whole, "out")
    tar = Path("out/train-000001.tar")
    data = bytearray(tar.read_bytes())
    rows, keys = index.entries(tar.with_suffix(".idx"), sidecar.load(Path("out")).extensions)
    data[int(rows[2, 0].sum()) - 5] ^= 4
    tar.write_bytes(data)
    told = rf"train-000001.tar, sample 2( \({keys[2]}\))?.*teacher_depth.lz4: its bytes changed after packing"
    (fault,) = [one for one in verify(Path("out"), workers=1)[1] if "bytes changed" in one]
    with (
        pytest.raises(BadSample, match=told),
        Loader(f"{figures}+out", "train", DataConfig(), batch_size=9, seed=0) as loader,
    ):
        for _ in range(3):
            next(loader)
    assert f"sample 2 ({keys[2]}), teacher_depth.lz4: its bytes changed" in fault
    done = CliRunner().invoke(app, ["verify", "out"])
    assert "david label SHARDS --teacher FILE --out out" in str(done.exception)
    ask(figures, W, Path("out"), "--batch-size", 3)
    assert sum(teacher.calls) == 7 and contents(Path("out")) == contents(whole)


def test_what_no_labels_can_be_made_of_is_refused(figures: Path, whole: Path, teacher: Teacher) -> None:
    Path("file").write_text("")
    refused = [
        ((figures, W, Path("file")), "--out file: a file; expected a folder"),
        ((figures, W, figures), "shards: a shard set, and no labels of"),
        ((f"{figures}+{whole}", W, Path("out")), "labels are made of a shard set alone"),
        ((whole, W, Path("out")), "labels of a shard set, and no set by itself; name it behind one: SHARDS[+]"),
        ((figures, W, Path("out"), "--fit", "bend"), "fit is 'bend'"),
        ((figures, W, Path("out"), "--precision", "fp8"), "--precision fp8: there are auto"),
        ((figures, W, Path("out"), "--restart", "--part", "1/2"), "--restart takes away what all parts wrote"),
        ((figures, Path("nope"), Path("out")), "nope: no such file or folder"),
    ]
    for given, why in refused:
        with pytest.raises(DavidError, match=why):
            ask(*given)
    teacher.fields = ("metric_depth_m", "alpha")
    with pytest.raises(DavidError, match="says metric_depth_m, alpha; a teacher of depth says relative_disparity or"):
        ask(figures, W, Path("out"))
    teacher.fields = Teacher.fields
    (Path("begun") / manifest.RECORD).mkdir(parents=True)
    (Path("begun") / manifest.RECORD / "plan.json").write_text("{}")
    with pytest.raises(DavidError, match="begun: david pack has begun a shard set there"):
        ask(figures, W, Path("begun"))
    record = Record(Path("busy"))
    with record.alone(), record.claim("all", 1, 1):
        pass
    assert not teacher.calls and not Path("out").exists()


def test_a_teacher_that_says_nothing_finite_names_the_sample(figures: Path, teacher: Teacher) -> None:
    answer = Teacher.__call__

    def wild(self: Teacher, images: np.ndarray) -> dict[str, np.ndarray]:
        return {name: one * np.float32(np.inf) for name, one in answer(self, images).items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Teacher, "__call__", wild)
        with pytest.raises(BadSample, match=r"train-000000.tar, sample 0 .*not finite; compute in fp32"):
            ask(figures, W, Path("out"))
    assert not list(Path("out").glob("*.tar")) and not list(Path("out").rglob(".*.part"))


def test_other_shards_labels_are_not_joined_and_say_what_they_are(
    figures: Path, tiny: Callable[[Path, list[int]], Path], whole: Path, tmp_path: Path
) -> None:
    shards = tiny(tmp_path / "other", [3])
    theirs, ours = manifest.load(figures).fingerprint[:16], manifest.load(shards).fingerprint[:16]
    told = f"labels of the shard set {theirs}, and {shards} is {ours}, another set or packed anew"
    with pytest.raises(DavidError, match=told):
        sets.load(f"{shards}+{whole}")
    alike = [packed(tmp_path / name, SENSOR, [(9, 9)] * 3, seed) for name, seed in (("one", 1), ("other one", 2))]
    its = labelling.labels(alike[0], tmp_path / "its" / "out")
    assert sets.load(f"{alike[0]}+{its}").tables[1].belongs["shards"] == manifest.load(alike[0]).fingerprint
    with pytest.raises(DavidError, match=f"and {alike[1]} is {manifest.load(alike[1]).fingerprint[:16]}"):
        sets.load(f"{alike[1]}+{its}")
    with pytest.raises(DavidError, match=f"{figures}: a shard set, and no labels of {shards}"):
        sets.load(f"{shards}+{figures}")
    with pytest.raises(DavidError, match=f"nowhere: no labels there; make them: david label {figures} --teacher FILE"):
        sets.load(f"{figures}+{tmp_path}/nowhere")
    with pytest.raises(DavidError, match=r"its `teacher_depth` is in .*/out too; join one of them"):
        sets.load(f"{figures}+{whole}+{whole}")
    with pytest.raises(DavidError, match="labels of a shard set, and no set by itself"):
        sets.load(whole)
    with pytest.raises(DavidError, match="labels of a shard set, and no set by itself"):
        next(read(whole))
    told = CliRunner().invoke(app, ["info", str(whole), "--json"])
    found = json.loads(told.output)
    assert found["belongs"]["shards"] == manifest.load(figures).fingerprint and found["members"][0].startswith(
        "teacher"
    )
    shown = CliRunner().invoke(app, ["info", str(whole)]).output
    assert "belongs to" in shown and "teacher" in shown
    assert CliRunner().invoke(app, ["verify", str(whole), "--deep"]).exit_code == 0


def test_batches_of_other_sizes_reach_the_teacher_within_a_shard(figures: Path, tmp_path: Path) -> None:
    """A shard's bytes depend on nothing of another: no batch holds samples of two."""
    teacher = Teacher()
    labelling.labels(figures, tmp_path / "out", teacher)
    sizes = [one.samples for shards in manifest.load(figures).splits.values() for one in shards]
    expected = [min(3, size - start) for size in sizes for start in range(0, size, 3)]
    assert teacher.calls == expected
