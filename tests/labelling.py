"""A teacher whose word is known, in the place of every network that `david label` loads, and what it labels."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from david.cli import app
from david.model.predict.engine import Engine
from david.model.predict.predictor import Predictor
from david.pack.part import Part
from david.train.use import load as loading

OUTLINE = bytes.fromhex("0808 3a04 0a00 6200")  # an ONNX file's: a version, and a graph of one node and one output
SIDE = 32


class Teacher(Engine):
    """Says of each pixel ten times what it sees of red; at its `last` call the process is gone."""

    fields = ("relative_disparity", "alpha")
    kind, versions = "teacher", {"echo": "1"}
    last = 0

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        if len(self.calls) + 1 == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        self.calls.append(len(images))
        planes = images.transpose(0, 3, 1, 2).astype(np.float32) / 255
        return {self.fields[0]: 10 * planes[:, :1], "alpha": planes[:, 1:2]}


class OfDepth(Teacher):
    fields = ("relative_depth", "alpha")


@contextmanager
def taught(folder: Path, teacher: Engine) -> Iterator[Path]:
    """Meanwhile every network that is loaded is this one; the file that can be named as its weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "_engine", lambda *_: (teacher, {}))
        weights = folder / "w.onnx"
        weights.write_bytes(OUTLINE)
        yield weights


def said(rgb: np.ndarray, teacher: Engine, fit: str = "square") -> np.ndarray:
    """What a teacher says of a picture by itself: (H, W) float32."""
    return Predictor((teacher,), fit=fit, side=SIDE).predict(rgb)[teacher.fields[0]]  # type: ignore[arg-type]


def words(shards: object, weights: Path, out: Path, *more: object) -> list[str]:
    given = ["label", shards, "--teacher", weights, "--out", out, "--size", SIDE, "--no-progress", *more]
    return [str(word) for word in given]


def ask(shards: object, weights: Path, out: Path, *more: object) -> str:
    """What the command said; an error of our own is raised."""
    done = CliRunner().invoke(app, words(shards, weights, out, *more))
    if done.exception:
        raise done.exception
    return done.output


def labels(shards: Path, out: Path, teacher: Engine | None = None) -> Path:
    """A sidecar of a set."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with taught(out.parent, teacher or Teacher()) as weights:
        return labelled(shards, weights, out)


def labelled(shards: Path, weights: Path, out: Path) -> Path:
    """The same where a network is `taught` already."""
    from david.train.labels import work

    place = loading.found(weights)
    told = work.label(work.Work(shards, place, out, "", size=SIDE, batch_size=3, part=Part()))
    assert told.whole is not None
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
