"""Depth in metres by david's commands alone: from the files that others publish, or lists that a guide asks for, to
figures and TensorBoard."""

import json
from pathlib import Path

import layouts
import numpy as np
import pytest
from learn_rooms import command
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from david.pack import read
from david.train.journal import read as lines

COUNT, SIZE = 10, (48, 64)
SMALL = (
    *("--recipe", "metric-smoke", "--device", "cpu"),
    *(word for one in ("data.height=28", "data.width=42", "batch_size=4", "steps=2") for word in ("--set", one)),
)
FIGURES = ("a1", "a2", "a3", "abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog")


def labelled(folder: Path) -> Path:
    """NYU Depth V2's labelled part as published: transposed arrays in HDF5 behind MATLAB's 512 bytes, the last four
    samples for testing."""
    h5py, scipy_io = pytest.importorskip("h5py"), pytest.importorskip("scipy.io")
    folder.mkdir()
    views = layouts.views(COUNT, SIZE)
    images, filled = np.stack([one.rgb for one in views]), np.stack([one.depth_m for one in views]).astype(np.float32)
    raw = np.where(np.stack([layouts.holes(one) for one in views]), 0, filled)
    with h5py.File(folder / "nyu_depth_v2_labeled.mat", "w", userblock_size=512) as file:
        file["images"] = images.transpose(0, 3, 2, 1)
        file["depths"], file["rawDepths"] = (one.transpose(0, 2, 1) for one in (filled, raw))
        file["labels"] = np.zeros((COUNT, *SIZE[::-1]), np.uint16)
    numbers = np.arange(1, COUNT + 1, dtype=np.uint16)[:, None]
    scipy_io.savemat(folder / "splits.mat", {"trainNdxs": numbers[:-4], "testNdxs": numbers[-4:]})
    return folder


def test_the_labelled_file_is_packed_trained_on_and_measured(tmp_path: Path) -> None:
    raw, shards, run = labelled(tmp_path / "raw"), tmp_path / "shards", tmp_path / "run"
    file = raw / "nyu_depth_v2_labeled.mat"
    assert "6 train, 4 test samples" in command("pack", file, shards, "--workers", 1, "--lossless")
    command("train", "--shards", shards, "--out", run, *SMALL)
    where = ("--device", "cpu", "--json")
    metrics = json.loads(command("eval", "--run", run, "--shards", shards, "--split", "test", *where))["metrics"]
    assert all(np.isfinite(metrics[f"metric_{name}"]) for name in FIGURES)
    words = (
        "--run",
        run,
        "--benchmark",
        "nyu",
        "--out",
        tmp_path / "nyu",
        "--accept",
        "depth",
    )  # it has learnt nothing
    by_root = [json.loads(command("eval", *words, "--root", root, *where)) for root in (raw, shards)]
    assert [one["images"] for one in by_root] == [4, 4]
    one, other = (found["subjects"][0]["over_images"] for found in by_root)
    assert one["metric_abs_rel"] == pytest.approx(other["metric_abs_rel"], rel=1e-3)  # float16 lies between


def test_lists_in_csv_and_json_are_packed_mixed_and_heard_by_tensorboard(tmp_path: Path) -> None:
    """The guide's --nyu-csv and --sunrgbd-json."""
    raw = tmp_path / "raw"
    csv, entries = [], []
    for number, view in enumerate(layouts.views(8, SIZE)):
        names = {kind: f"my set/{kind}/{number}.png" for kind in ("image", "depth", "depth_bfx")}
        layouts.picture(raw / names["image"], view.rgb)
        layouts.picture(raw / names["depth"], layouts.steps(view))
        layouts.picture(raw / names["depth_bfx"], layouts.bits_rotated(np.rint(view.depth_m * 1000).astype(np.uint16)))
        csv.append(f"{names['image']},{names['depth']}\r\n")
        entries.append({**names, "K": [[1, 0, 0]] * 3})
    (raw / "nyu.csv").write_bytes(b"\xef\xbb\xbf" + "".join([*csv[:4], "\r\n", *csv[4:]]).encode())  # BOM, CRLF, a gap
    (raw / "sun.json").write_text(json.dumps(entries))
    sets = tmp_path / "nyu", tmp_path / "sun"
    scale = ("--depth-scale", 0.001, "--workers", 1, "--val-fraction", 0.5)
    command("pack", raw, sets[0], "--list", raw / "nyu.csv", "--columns", "rgb=1,depth=2", *scale)
    columns = ("--columns", "rgb=image,depth=depth_bfx", "--depth-bits", "rotated")
    command("pack", raw, sets[1], "--list", raw / "sun.json", *columns, *scale)
    for folder, holes in zip(sets, (True, False), strict=True):
        samples = [one for split in ("train", "val") for one in read(folder, split)]
        assert len(samples) == 8 and all(one.depth_valid.all() != holes for one in samples)
        assert all(0.5 < np.nanmedian(one.depth_m) < 9 for one in samples)
    run = tmp_path / "run"
    words = [word for folder in sets for word in ("--shards", folder)]
    command("train", *words, "--out", run, *SMALL, "--set", "evaluate_every=1", "--set", "steps=2")
    board = EventAccumulator(str(run / "tensorboard")).Reload()
    measured = list(lines(run / "metrics.jsonl"))
    assert [one["step"] for one in measured] == [1, 2]
    for name in (f"metric_{name}" for name in FIGURES):
        told = [(event.step, event.value) for event in board.Scalars(f"val/{name}")]
        assert told == [(one["step"], pytest.approx(one[name], rel=1e-6)) for one in measured]
