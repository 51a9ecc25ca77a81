"""What distillation is worth, by a stored row: the whole recipe beside its teacher's global loss alone."""

import json
from pathlib import Path

import pytest
from learn_students import ROWS, SIDE, lines

from david.train import recipes
from david.train.recipe import from_json, to_json
from david.train.trees import flat

ROOT = Path(__file__).resolve().parent.parent
OWN = {
    "objective.teachers",
    "objective.sha256",
    "objective.odds",
    "steps",
    "seed",
    "parallel",
    "attention",
    "data.decode",
}  # a run's


def test_the_page_shows_what_the_newest_row_says_and_the_recipe_is_still_the_rows() -> None:
    row = json.loads(ROWS.read_text().splitlines()[-1])
    page = (ROOT / "docs" / "distillation.md").read_text()
    for line in lines(row):
        assert line in page, line
    then, now = (flat(to_json(one)) for one in (from_json(row["recipe"]), recipes.recipe("distill-smoke")))
    changed = {name for name, value in then.items() if now.get(name) != value} - OWN
    assert not changed, (
        f"the recipe has changed since the row was made ({changed}): python tests/learn_students.py WORK"
    )


@pytest.mark.parametrize(("rows", "page"), [("distill-cpu", "distillation.md"), ("labels-cpu", "labels.md")])
def test_the_page_says_what_a_step_and_reading_labels_cost_as_the_newest_row_has_it(rows: str, page: str) -> None:
    row = json.loads((ROWS.parent / f"{rows}.jsonl").read_text().splitlines()[-1])
    assert row["verdict"] in " ".join((ROOT / "docs" / page).read_text().split())
    assert "+" not in row["commit"] and row["data"]["folder"]


def test_a_student_of_the_whole_recipe_is_nearer_to_the_truth_with_each_seed() -> None:
    row = json.loads(ROWS.read_text().splitlines()[-1])
    alone, whole, teacher = (row["figures"][name] for name in ("global", "whole", "teacher"))
    assert row["students"]["global"]["steps"] == row["students"]["whole"]["steps"] and len(row["seeds"]) >= 3
    for at in ("", f"_at_{SIDE}"):
        errors = list(zip(alone[f"abs_rel{at}"]["each"], whole[f"abs_rel{at}"]["each"], strict=True))
        assert len(errors) == len(row["seeds"]) and all(ours < theirs for theirs, ours in errors)
        assert whole[f"a1{at}"]["median"] > alone[f"a1{at}"]["median"]
        assert teacher[f"abs_rel{at}"]["median"] < whole[f"abs_rel{at}"]["median"]
