"""Rendered clips: one person who moves as a camera films it, the truth exact, the same bytes every time."""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from people import cm
from typer.testing import CliRunner

from david.cli import app
from david.pack.errors import DavidError
from david.pack.raw import video
from david.pack.sources.synthhuman import SynthHuman
from david.pack.synth import render, sequence

SMALL = (64, 48)


def frame(seed: int, index: int, fps: float = 4.0):
    return sequence.frame(seed, index, fps, *SMALL)


@pytest.mark.parametrize("seed", [0, 2])
def test_some_of_the_person_moves_and_some_stands_still(seed: int) -> None:
    first, second = frame(seed, 0), frame(seed, 3)
    both = first.depth_valid & second.depth_valid
    change = np.abs(cm(first) - cm(second))
    assert (change[both] == 0).mean() > 0.2, "nothing stands still"
    assert (change[both] > 0.1).sum() + (first.depth_valid ^ second.depth_valid).sum() > 20, "nothing moves"
    assert np.array_equal(first.intrinsics, second.intrinsics)


def test_motion_is_smooth_and_begins_where_the_pose_was_drawn() -> None:
    times = np.arange(0, 6, 1 / 24)
    drawn = []
    render(0, sequence.PERSON, "face", 8, 8, lambda pose: drawn.append(pose) or pose)
    for seed in range(20):
        motion = sequence.Motion.draw(np.random.default_rng(seed))
        poses = [motion.at(t, drawn[0]) for t in times]
        assert poses[0] == drawn[0]
        angles = np.array([[*p.head, p.arms[motion.side].out, p.arms[motion.side].bend] for p in poses])
        assert np.abs(np.diff(angles, axis=0)).max() < 4  # degrees from frame to frame, 24 of them a second
        assert (np.ptp(angles, axis=0)[[1, 3]] > 8).all()
        assert all(p.arms[-motion.side] == drawn[0].arms[-motion.side] and p.legs == drawn[0].legs for p in poses)


def test_the_camera_adds_noise_and_exposure_but_leaves_the_truth() -> None:
    film, truth = frame(1, 0), render(1, sequence.PERSON, sequence.TAKE[1], *SMALL)
    for name in ("alpha", "depth_m", "normals"):
        assert getattr(film, name).tobytes() == getattr(truth, name).tobytes()
    off = film.rgb.astype(int) - truth.rgb
    assert 1 < off.std() < 6 and np.abs(off.mean()) < 4
    still = [sequence.filmed(np.full((64, 64, 3), 128, np.uint8), 0, index, 24).mean() for index in range(40)]
    assert 0.5 < np.std(still) < 6  # of 255: what makes networks flicker


def test_a_clip_depends_on_seed_frames_and_rate_alone(tmp_path: Path) -> None:
    for name, workers in (("one", 1), ("two", 2)):
        sequence.write(tmp_path / name, 3, 4.0, seed=1, workers=workers, shape=SMALL)
    names = [path.name for path in sorted((tmp_path / "one").iterdir())]
    assert names == ["SynthHuman_0000.zip", "clip.mp4"]
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)


def test_frames_are_samples_and_the_video_shows_them(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    sequence.write(tmp_path, 3, 12.5, seed=1, workers=1, shape=SMALL)
    source = SynthHuman()
    found = source.scan(tmp_path)
    samples = [source.load(key, entry) for key, entry in found.items()]
    assert [s.key for s in samples] == ["0000000", "0000001", "0000002"]
    assert {s.meta["scenario"] for s in samples} == {"full_body"}
    with av.open(str(tmp_path / "clip.mp4")) as clip:
        assert clip.streams.video[0].average_rate == 12.5
        pictures = [one.to_ndarray(format="rgb24") for one in clip.decode(video=0)]
    assert len(pictures) == 3
    for picture, sample in zip(pictures, samples, strict=True):
        assert np.abs(picture.astype(int) - sample.rgb).mean() < 12  # compressed, colours at half size


def test_a_clip_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sequence.write(tmp_path, 2, seed=0, workers=1, shape=(16, 12), progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_without_pyav_the_frames_are_there_and_a_sentence_says_what_is_not(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("david.pack.commands.find_spec", lambda name: None)
    small = sequence.frame
    monkeypatch.setattr(sequence, "frame", lambda seed, index, fps, *shape: small(seed, index, fps, 16, 12))
    done = CliRunner().invoke(app, ["synth", str(tmp_path), "--sequence", "2"])
    assert done.exit_code == 0 and video.INSTALL in " ".join(done.output.split())
    assert [path.name for path in tmp_path.iterdir()] == ["SynthHuman_0000.zip"]
    with zipfile.ZipFile(tmp_path / "SynthHuman_0000.zip") as whole:
        assert len(whole.namelist()) == 10


@pytest.mark.parametrize("words", [("--sequence", "3", "--samples", "4"), ("--fps", "30")])
def test_options_that_do_not_go_together_are_refused(words: tuple[str, ...], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["synth", str(tmp_path / "out"), *words])
    assert isinstance(done.exception, DavidError) and not (tmp_path / "out").exists()


def test_a_pose_is_not_changed_in_place() -> None:
    poses = []
    render(0, 0, "face", 8, 8, lambda pose: poses.append(pose) or pose)
    before = replace(poses[0], arms=dict(poses[0].arms))
    sequence.Motion.draw(np.random.default_rng(0)).at(1.3, poses[0])
    assert poses[0] == before
