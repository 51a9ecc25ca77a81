"""`david predict`: pictures to files, however the run ends and however it is cut into parts."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from predicting import ask, lines
from smallest import network

from david.model import weights


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "w.safetensors"
    weights.save(network(), path)
    return path


def photos(folder: Path, count: int, seed: int = 0) -> Path:
    """Soft pictures of many sizes, in two folders."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        path = folder / ("sub" if number % 3 else "") / f"p{number}.{'png' if number % 2 else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = int(rng.integers(20, 60)), int(rng.integers(20, 60))
        cv2.imwrite(str(path), cv2.resize(rng.integers(0, 256, (4, 5, 3), np.uint8), size))
    return folder


def test_a_folder_is_predicted_with_a_line_for_each_and_a_broken_one_named(trained: Path, tmp_path: Path) -> None:
    folder, out = photos(tmp_path / "in", 5), tmp_path / "out"
    (folder / "broken.jpg").write_text("no picture")
    code, said = ask(folder, "--weights", trained, "--out", out, "--size", 32, "--save", "depth,alpha")
    assert code == 1 and "5 inputs of 6 predicted, 1 could not be" in said
    told = lines(out / "predictions.jsonl")
    names = [str(folder / name) for name in ("broken.jpg", "p0.jpg", "p3.png")]
    assert [line["input"] for line in told][:3] == names
    assert "no picture that can be read" in told[0]["error"]
    for line in told[1:]:
        height, width = line["size"]
        for name, size in line["files"].items():
            assert (out / name).stat().st_size == size
            assert cv2.imread(str(out / name), cv2.IMREAD_UNCHANGED).shape == (height, width)
