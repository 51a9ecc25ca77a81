"""What `docs/extending.md` says works: its Python, put together into one file of the user's, trains without touching
the package."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import starters
from smallest import SMALLEST

from david import pack
from david.model import config, weights
from david.model.heads.table import HEADS
from david.pack.errors import DavidError
from david.pack.sources.table import SOURCES
from david.pack.work import build
from david.train import recipes, run
from david.train.commands import as_rank
from david.train.journal import read
from david.train.loop import train
from david.train.losses.table import TERMS
from david.train.metrics.table import METRICS
from david.train.recipe import from_json, override, to_json
from david.train.tasks.table import TASKS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "extending.md"
TABLES = (SOURCES, config.KINDS, config.MODELS, HEADS, TERMS, METRICS, TASKS)
SMALL = [*SMALLEST, "batch_size=4", "optim.warmup=1", "checkpoint_every=1"]


@pytest.fixture
def before() -> Iterator[list[dict]]:
    """David's tables as they are, and are again afterwards."""
    found = [dict(table) for table in TABLES]
    yield found
    as_they_were(found)


def as_they_were(before: list[dict]) -> None:
    for table, rows in zip(TABLES, before, strict=True):
        table.clear()
        table.update(rows)


@pytest.fixture
def mine(tmp_path: Path, before: list[dict]) -> Path:
    """The page's Python as one file."""
    path = tmp_path / "mine.py"
    path.write_text("\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.S)))
    return path


def test_the_page_stays_short() -> None:
    assert len(PAGE.read_text().splitlines()) < 150


def rooms(folder: Path) -> Path:
    """Smooth depth in metres with holes, and pictures of another shape than the batch's."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        depth = np.add.outer(np.linspace(1, 3, 40), np.linspace(0, rng.uniform(0.5, 1), 60)).astype(np.float32)
        depth[:5, :7] = 0
        np.save(folder / f"{number}.npy", depth)
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 256, (40, 60, 3), np.uint8))
    return folder


def test_a_source_a_head_a_loss_and_a_metric_of_ones_own_are_packed_trained_and_measured(
    mine: Path, before: list[dict], figures: Path, tmp_path: Path
):
    settings = [*SMALL, "steps=3", "best=slant_mae", "data.weights=3,1"]
    recipe, out = override(recipes.recipe(str(mine)), settings), tmp_path / "run"
    assert from_json(json.loads(json.dumps(to_json(recipe)))) == recipe
    source = SOURCES["rooms"]()
    build.build(rooms(tmp_path / "raw"), tmp_path / "shards", source=source, runner=starters.quick, workers=1)
    first = next(iter(pack.read(tmp_path / "shards", "train")))
    assert first.depth_valid.sum() == 40 * 60 - 5 * 7 and 1 <= first.depth_m[first.depth_valid].min() < 1.6
    sets = [figures, tmp_path / "shards"]
    train(recipe, sets, out, device="cpu", speaks=False, stop=2)
    content = to_json(recipe)
    as_they_were(before)
    finished = as_rank(content, str(mine), shards=sets, out=out, device="cpu", speaks=False)  # a process of its own
    lines = list(read(out / "journal.jsonl"))
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert all(line["depth_charbonnier"] > 0 and line["slant_charbonnier"] > 0 for line in lines)
    assert not {"normals_cosine", "alpha_bce"} & lines[0].keys()
    assert 0 < finished.metrics["slant_mae"] < 1 and "depth_rmse_cm" in finished.metrics
    assert set(weights.load(out / run.WEIGHTS).config.heads) == {"depth", "slant"}
    with pytest.raises(DavidError, match="for the heads depth there are depth_abs_rel"):
        override(recipe, ["model.heads=depth"])


def test_a_task_of_ones_own_trains(mine: Path, figures: Path, tmp_path: Path):
    recipe = override(recipes.recipe(str(mine)), [*SMALL, "steps=2", "objective.kind=mirror", "objective.mirror=0.5"])
    assert from_json(json.loads(json.dumps(to_json(recipe)))) == recipe
    train(recipe, figures, tmp_path / "run", device="cpu", speaks=False)
    lines = list(read(tmp_path / "run" / "journal.jsonl"))
    assert all(line["mirror"] > 0 for line in lines)
    rest = lines[0]["depth_ssi_mse"] + lines[0]["depth_gradient_matching"] + lines[0]["slant_charbonnier"]
    assert lines[0]["loss"] == pytest.approx(rest + 0.5 * lines[0]["mirror"])


def test_a_run_whose_rows_are_not_there_names_what_is_missing(mine: Path) -> None:
    content = to_json(recipes.recipe(str(mine)))
    del TERMS["depth_charbonnier"]
    with pytest.raises(DavidError, match=r"recipe: no `objective\.depth_charbonnier`; there are kind, depth_ssi_mse"):
        from_json(content)
