"""What the README says that the smoke recipe learns: a stored row's figures, and true of a short training too."""

import json
import re
from pathlib import Path

import pytest
import torch

from david.bench.suites import learn
from david.train import recipes
from david.train.recipe import from_json, override, to_json
from david.train.step.gradients import settled
from david.train.trees import flat

ROOT = Path(__file__).resolve().parent.parent
ROWS = ROOT / "bench" / "results" / "learn-cpu.jsonl"


def test_the_readme_says_what_the_newest_row_says() -> None:
    said = re.search(r"<!-- learn -->\n(.*?)\n\n", (ROOT / "README.md").read_text(), re.DOTALL)
    if not ROWS.exists():
        assert said is None, "README.md claims what no row in bench/results shows"
        pytest.skip("no row yet: david bench learn --out bench/results/learn-cpu.jsonl")
    row = json.loads(ROWS.read_text().splitlines()[-1])
    assert said and " ".join(said[1].split()) == learn.sentence(row), f"README.md should say\n{learn.sentence(row)}"
    now = flat(to_json(settled(recipes.recipe(row["recipe"]["name"]), torch.device("cpu"))))
    then = flat(to_json(from_json(row["recipe"])))
    changed = {name for name, value in then.items() if now.get(name) not in (value, "auto")} - {"steps"}
    assert not changed, f"the recipe has changed since the row was made ({changed}): make it again"
    trained, constant = row["figures"]["trained"], row["figures"]["constant"]
    assert trained["depth_abs_rel"] < 0.9 * constant["depth_abs_rel"]
    assert trained["normals_mean_deg"] < 0.8 * constant["normals_mean_deg"]
    assert trained["alpha_iou"] > constant["alpha_iou"] + 0.2


def test_a_short_training_beats_a_constant_answer(shards: Path, tmp_path: Path) -> None:
    size = ["data.height=48", "data.width=36", "model.backbone_size=32", "batch_size=6", "optim.warmup=10"]
    recipe = override(
        recipes.recipe("smoke"), [*size, "steps=90", "parallel=ddp", "picture_every=0", "checkpoint_every=0"]
    )
    figures = learn.compare(shards, tmp_path / "run", recipe, "cpu", speaks=False)
    trained, constant = figures["trained"], figures["constant"]
    assert trained["samples"] == constant["samples"] > 0
    assert trained["depth_abs_rel"] < 0.9 * constant["depth_abs_rel"]
    assert trained["normals_mean_deg"] < constant["normals_mean_deg"] - 2
    assert trained["alpha_iou"] > constant["alpha_iou"] + 0.2
