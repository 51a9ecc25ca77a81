"""Kept rows side by side: matched, with noise told from differences and nothing compared that is not alike."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from david.bench import rows
from david.bench.compare.noise import BARE, FEW, MORE, WITHIN, Spread, spreads, verdict
from david.cli import app
from david.pack.errors import DavidError

HERE = {"processor": "A", "cores": 2, "gpu": None}


def figure(*values: float) -> dict[str, Any]:
    low, *_, high = ordered = sorted(values)
    return {"unit": "samples/s", "median": ordered[len(ordered) // 2], "least": low, "most": high}


def row(commit: str, rate: dict[str, Any], **about: Any) -> dict[str, Any]:
    told = {"suite": "training", "when": "2026", "commit": commit, "hardware": HERE, "versions": {}, "rounds": 3}
    recipe = {"name": "smoke", "batch_size": 16, "optim": {"rate": 0.1}}
    return {**told, "recipe": recipe, "data": {"folder": "a"}, **about, "figures": {"step": {"rate": rate}}}


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    for one in (row("aaa1", figure(1, 2, 3)), row("bbb2", figure(4, 5, 6)), row("ccc3", figure(3, 7, 8))):
        rows.append(tmp_path / "rows.jsonl", one)
    return tmp_path / "rows.jsonl"


def compared(*words: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, ["bench", "compare", *words, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)["pairs"]


def test_ranges_that_do_not_overlap_are_more_than_noise_where_rounds_suffice() -> None:
    def spread(*values: float, rounds: int | None = 3) -> Spread:
        return Spread("s", min(values), sorted(values)[1], max(values), rounds)

    assert verdict(spread(1, 2, 3), spread(4, 5, 6)) == verdict(spread(4, 5, 6), spread(1, 2, 3)) == MORE
    assert verdict(spread(1, 2, 3), spread(3, 5, 6)) == WITHIN
    assert verdict(spread(1, 2, 3, rounds=2), spread(4, 5, 6, rounds=2)) == FEW  # 1 in 3 by chance
    assert verdict(spread(1, 2, 3, rounds=None), spread(4, 5, 6)) == BARE
    assert spreads({"a": {"b": 2, "said": "x"}, "c": {"d": {"unit": "s", "median": 1}}}, 3) == {
        ("a", "b"): Spread(None, 2, 2, 2, None),
        ("c", "d"): Spread("s", 1, 1, 1, None),
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["{}@1", "{}@2"], [("aaa1", "bbb2", 2.5, MORE)]),
        (["{}@-1", "{}@1"], [("ccc3", "aaa1", 2 / 7, WITHIN)]),
        (["{}", "--commit", "bbb", "--commit", "aaa"], [("bbb2", "aaa1", 0.4, MORE)]),
        (["{}"], [("bbb2", "ccc3", 1.4, WITHIN)]),
        (["{}@1", "{}@2", "{}@3"], [("aaa1", "bbb2", 2.5, MORE), ("aaa1", "ccc3", 3.5, WITHIN)]),
    ],
)
def test_rows_are_named_by_file_number_or_commit(kept: Path, words: list[str], expected: list[Any]) -> None:
    found = compared(*(word.format(kept) for word in words))
    told = [
        (*(side["commit"] for side in pair["sides"]), pair["figures"][0]["ratio"], pair["figures"][0]["verdict"])
        for pair in found
    ]
    assert told == [(*commits, pytest.approx(ratio), said) for *commits, ratio, said in expected]


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"data": {"folder": "b"}}, {"data"}),
        ({"data": None}, {"data"}),
        ({"ranks": 4}, {"ranks"}),  # which the other row does not tell
        ({"recipe": {"name": "smoke", "batch_size": 8, "optim": {"rate": 0.1}}}, {"recipe.batch_size"}),
        ({"recipe": {"name": "smoke", "batch_size": 16, "optim": {"rate": 0.1, "new": 1}}}, set()),
        ({"hardware": HERE | {"processor": "B"}}, set()),
    ],
)
def test_what_differs_is_named_and_what_is_not_alike_gets_no_verdict(
    tmp_path: Path, other: dict[str, Any], named: set[str]
) -> None:
    second = {key: value for key, value in row("bbb2", figure(4, 5, 6), **other).items() if value is not None}
    rows.append(tmp_path / "one.jsonl", row("aaa1", figure(1, 2, 3)))
    rows.append(tmp_path / "two.jsonl", second)
    (pair,) = compared(str(tmp_path / "one.jsonl"), str(tmp_path / "two.jsonl"))
    assert set(pair["what_was_measured"]) == named
    assert (pair["figures"][0]["verdict"] == MORE) == (not named)
    assert set(pair["hardware_and_versions"]) == ({"hardware.processor"} if "hardware" in other else set())
    shown = CliRunner().invoke(app, ["bench", "compare", *(str(tmp_path / f"{one}.jsonl") for one in ("one", "two"))])
    assert ("Something else was measured" in shown.output) == bool(named)


def test_the_same_settings_are_matched_before_the_newest_of_others(tmp_path: Path) -> None:
    same, newer = row("aaa1", figure(1, 2, 3)), row("aaa2", figure(1, 2, 3), data={"folder": "b"})
    for one in (same, newer):
        rows.append(tmp_path / "one.jsonl", one)
    rows.append(tmp_path / "two.jsonl", row("bbb2", figure(4, 5, 6)))
    (pair,) = compared(str(tmp_path / "one.jsonl"), str(tmp_path / "two.jsonl"))
    assert pair["sides"][0]["commit"] == "aaa1"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gone.jsonl"], "gone.jsonl: no such file"),
        (["{}@7", "{}"], "it has rows 1 to 3"),
        (["{}@1"], "a row of each suite, and none before it"),
        (["{}", "--commit", "aaa", "--commit", "ddd"], "no row of it in .*there are aaa1, bbb2, ccc3"),
        (["{}", "{other}"], "no suite is in both"),
        (["{text}", "{}"], "no rows there"),
        (["{odd}", "{}"], r"odd.jsonl: a row of training has .fast. as step rate median; expected a number"),
    ],
)
def test_what_can_not_be_compared_is_refused(kept: Path, tmp_path: Path, words: list[str], said: str) -> None:
    rows.append(other := tmp_path / "other.jsonl", row("ddd4", figure(1, 2, 3)) | {"suite": "pack"})
    (text := tmp_path / "text.jsonl").write_text("text\n")
    rows.append(odd := tmp_path / "odd.jsonl", row("eee5", figure(1, 2, 3) | {"median": "fast"}))
    with pytest.raises(DavidError, match=said):
        named = [word.format(kept, other=other, text=text, odd=odd) for word in words]
        CliRunner().invoke(app, ["bench", "compare", *named], catch_exceptions=False)


def test_every_row_that_is_kept_can_be_compared() -> None:
    for path in sorted(Path(rows.__file__).with_name("results").glob("*.jsonl")):
        if rows.read(path):
            assert compared(f"{path}@1", f"{path}@-1")[0]["figures"], path
