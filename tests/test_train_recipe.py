"""Recipes: to JSON and back, typed overrides, and what a run lets change."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from david.cli import app
from david.model.config import configure
from david.pack.errors import DavidError
from david.train import recipes, run
from david.train.config import ObjectiveConfig
from david.train.losses.table import TERMS
from david.train.recipe import from_json, identity, override, to_json
from david.train.trees import flat

SMOKE = recipes.recipe("smoke")


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_recipe_survives_json(name: str):
    recipe = recipes.recipe(name)
    assert recipe.name == name
    recipe.objective.check(recipe.model.heads)
    assert from_json(json.loads(json.dumps(to_json(recipe)))) == recipe


@given(rate=st.floats(1e-9, 1.0), steps=st.integers(1, 10**9), hue=st.floats(0, 0.5))
def test_set_reaches_every_depth_and_keeps_every_digit(rate: float, steps: int, hue: float):
    changed = override(SMOKE, [f"optim.rate={rate!r}", f"steps={steps}", f"data.augment.hue={hue!r}"])
    assert changed == replace(
        SMOKE,
        steps=steps,
        optim=replace(SMOKE.optim, rate=rate),
        data=replace(SMOKE.data, augment=replace(SMOKE.data.augment, hue=hue)),
    )


def test_set_takes_every_type_and_checks_the_whole_only_at_the_end():
    changed = override(
        SMOKE,
        [
            *("data.height=none", "data.width=none", "model.heads=depth, alpha", "precision=bf16", "seed=3"),
            *("compile=True", "parallel=ddp"),
        ],
    )
    assert (changed.data.height, changed.data.width, changed.model.heads) == (None, None, ("depth", "alpha"))
    assert (changed.compile, changed.precision, changed.seed) == ("default", "bf16", 3)


def test_a_recipe_of_when_compile_was_a_switch_loads_and_is_who_it_was():
    for before, now in ((False, "off"), (True, "default")):
        stored = to_json(replace(SMOKE, parallel="ddp")) | {"compile": before}
        loaded = from_json(json.loads(json.dumps(stored)))
        assert loaded.compile == now and to_json(loaded)["compile"] == now
        assert identity(loaded).get("compile", False) is before
        assert override(SMOKE, ["parallel=ddp", f"compile={str(before).lower()}"]).compile == now
        assert replace(SMOKE, parallel="ddp", compile=before).compile == now
    assert identity(override(SMOKE, ["parallel=ddp", "compile=max-autotune"]))["compile"] == "max-autotune"


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("optim.ratee=1", "there are rate, backbone_scale"),
        ("nothing.rate=1", "no `nothing` there; there are name, model"),
        ("model.kind=goliath", "model.kind: expected one of david, unofficial, depth_anything, zoe, found 'goliath'"),
        ("objective.kind=dream", "objective.kind: expected one of supervised, distill, found 'dream'"),
        ("objective=1", "a group; set one of objective.kind, objective.depth_ssi_mse"),
        ("optim=1", "a group; set one of optim.rate"),
        ("optim.rate.x=1", "`rate` is a value"),
        ("optim.rate=fast", "--set optim.rate: expected a number, found 'fast'"),
        ("steps=1.5", "expected a whole number, found '1.5'"),
        ("compile=1", "expected one of off, default, reduce-overhead, max-autotune"),
        ("precision=fp8", "expected one of auto, fp32, bf16, fp16, found 'fp8'"),
        ("model.taps=1,2", "expected 4 values with commas between, each a whole number"),
        ("data.height=tall", "expected a whole number, found 'tall'"),
        ("model.heads=depth,smell", "model.heads"),
        ("batch_size=0", "batch_size is 0"),
        ("steps", "expected path=value"),
    ],
)
def test_a_wrong_set_names_the_path_and_what_there_is(assignment: str, said: str):
    with pytest.raises(DavidError) as error:
        override(SMOKE, [assignment])
    assert said in str(error.value) and "\n" not in str(error.value)


def test_an_unknown_recipe_is_refused_with_a_list():
    with pytest.raises(DavidError, match="no recipe `smok`; there are smoke, david-base, david-base-depth"):
        recipes.recipe("smok")


def test_every_term_is_a_weight_of_the_objective():
    assert set(flat(to_json(SMOKE)["objective"])) == {"kind", *TERMS, "uncertainty"}
    assert ObjectiveConfig().terms(("normals",)) == ("normals_cosine",)
    with pytest.raises(DavidError, match="each of its weights is 0: objective.normals_cosine, objective.normals_ang"):
        ObjectiveConfig(normals_cosine=0).terms(("depth", "normals"))


def test_a_head_whose_target_no_shard_set_has_is_refused():
    ObjectiveConfig().check(("depth", "alpha"), ("depth", "alpha"))
    with pytest.raises(
        DavidError, match="the field normals, which no shard set here has: the heads are depth, normals"
    ):
        ObjectiveConfig().check(("depth", "normals"), ("depth", "alpha"))


def test_fields_of_before_are_read_under_their_names_of_now():
    stored = to_json(override(SMOKE, ["optim.ema=0.5", "parallel=exact"]))
    before = {**stored, "summation": stored.pop("parallel")}
    before["optim"] = {**stored["optim"], "average": stored["optim"].pop("ema")}
    before["optim"]["average_warmup"] = before["optim"].pop("ema_warmup")
    del before["optim"]["ema"], before["model"]["kind"], before["objective"]["kind"]
    recipe = from_json(before)
    assert (recipe.optim.ema, recipe.optim.ema_warmup, recipe.parallel) == (0.5, True, "exact")
    assert override(SMOKE, ["optim.average=0.5", "summation=exact"]) == recipe


def test_the_folder_of_a_recipe_is_named_as_it_was_before_fields_were_renamed():
    said = identity(override(SMOKE, ["optim.ema=0.5"]))
    assert said["summation"] == "auto" and said["optim.average"] == 0.5
    assert not {"parallel", "optim.ema", "model.kind", "objective.kind"} & said.keys()


def test_a_run_refuses_another_recipe_with_path_and_both_values():
    longer = override(SMOKE, ["steps=900", "log_every=7", "data.threads=5"])
    run.compare(Path("r"), SMOKE, "shards", longer, "shards")
    with pytest.raises(DavidError, match=rf"steps = 900, this recipe has {SMOKE.steps}"):
        run.compare(Path("r"), longer, "shards", SMOKE, "shards")
    with pytest.raises(DavidError, match=rf"optim\.rate = {SMOKE.optim.rate}, this recipe has 0\.5"):
        run.compare(Path("r"), SMOKE, "shards", override(SMOKE, ["optim.rate=0.5"]), "shards")
    with pytest.raises(DavidError, match=r"shard set aaaa, this one is bbbb"):
        run.compare(Path("r"), SMOKE, "aaaa", SMOKE, "bbbb")


def test_what_may_change_in_a_run_are_fields_that_exist():
    every = (flat(to_json(one)) for one in (SMOKE, recipes.recipe("distill-smoke")))
    assert set(run.FREE) <= set().union(*every)


def test_a_folder_that_holds_something_else_is_no_run(tmp_path: Path):
    assert run.stored(tmp_path / "absent") is None and run.stored(tmp_path) is None
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DavidError, match="not empty and holds no run"):
        run.stored(tmp_path)
    with pytest.raises(DavidError, match="not empty and holds no run"):
        run.stored(tmp_path / "thesis.txt")


OWN = """
from __future__ import annotations
from dataclasses import dataclass, replace
from david.train import recipes

def recipe():
    return replace(recipes.recipe("david-base"), name="mine", batch_size=12)

@dataclass
class Larger:
    steps: int

def longer():
    return replace(recipe(), steps=Larger(7_000).steps)

def broken():
    return 1 / 0

def nothing():
    return {"steps": 3}
"""


def test_a_users_own_file_gives_a_recipe_that_stands_without_it(tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    mine = recipes.recipe(str(file))
    assert (mine.name, mine.batch_size, mine.model) == ("mine", 12, recipes.recipe("david-base").model)
    longer = recipes.recipe(f"{file}:longer")
    assert longer.steps == 7_000 and from_json(json.loads(json.dumps(to_json(longer)))) == longer
    printed = CliRunner().invoke(app, ["recipes", f"{file}:longer"])
    assert json.loads(printed.stdout) == to_json(longer)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mine.py:recipes", r"no function `recipes` there"),
        ("mine.py:other", r"no function `other` there; there are recipe, Larger, longer, broken, nothing"),
        ("mine.py:broken", r"mine\.py, line 17: ZeroDivisionError: division by zero"),
        ("mine.py:nothing", r"mine\.py: `nothing` gave dict, expected a david\.train\.recipe\.Recipe"),
        ("absent.py", r"absent\.py: no such file; expected Python with a function `recipe`"),
        ("typo.py", r"typo\.py, line 2: SyntaxError"),
        ("refused.py", r"refused\.py: recipe: optim\.rate is -1; it must be above 0"),
    ],
)
def test_a_users_own_file_that_gives_none_is_refused_in_a_sentence(tmp_path: Path, name: str, said: str, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "typo.py").write_text("def recipe():\n    return (\n")
    (tmp_path / "refused.py").write_text("from david.train.config import OptimConfig\nrecipe = OptimConfig(rate=-1)\n")
    with pytest.raises(DavidError, match=said) as error:
        recipes.recipe(name)
    assert "\n" not in str(error.value)


def test_the_unofficial_recipes_keep_the_guides_numbers():
    whole, one, berhu = (recipes.recipe(name) for name in ("unofficial", "unofficial-one-gpu", "unofficial-berhu"))
    assert (whole.batch_size, one.batch_size, berhu.batch_size) == (4 * 24, 16, 6)
    assert [round(r.steps * r.batch_size / n) for r, n in ((whole, 98_040), (one, 98_040), (berhu, 5_000))] == [
        155,
        50,
        20,
    ]
    for r, rate in ((whole, 2e-4), (one, 2e-4), (berhu, 8e-4)):
        assert (r.optim.rate, r.optim.backbone_scale, r.optim.clip, r.precision) == (rate, 0.1, 1.0, "fp16")
        assert {"alpha_bce", "alpha_l1", "alpha_dice", "normals_cosine"} <= set(r.objective.terms(r.model.heads))
    assert (berhu.model.depth_activation, berhu.model.normals_activation) == ("softplus", "tanh")


def test_a_network_is_chosen_whole_by_its_name_and_its_fields_after_it():
    found = override(recipes.recipe("da2-zoe-guide"), ["model=da2-zoe-vits", "model.pyramid=adapter"])
    assert found.model == configure("da2-zoe-vits", pyramid="adapter")
    with pytest.raises(DavidError, match="--set model: a group; .*, or name a network: david-base"):
        override(recipes.recipe("da2-zoe-guide"), ["model=da2-zoe-vitx"])
