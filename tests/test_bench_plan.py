"""A plan's numbers: right by hand, each with its origin, from rows where some fit and named where none does."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from david.bench import rows
from david.bench.plan import data, forecast, lookup, show
from david.bench.plan.forecast import Machine
from david.bench.plan.told import Told, assumed, counted, derived
from david.bench.ring import Measured, Ring, errors, fit
from david.cli import app
from david.pack.errors import DavidError
from david.train import recipes
from david.train.recipe import to_json

SMOKE = recipes.recipe("smoke")
MACHINE = Machine(8, 2, "A100", 0.16, 12, 200e9, 25e9, 1e-5, 2e9)


@pytest.fixture(autouse=True)
def operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting them takes seconds; tests/test_bench_step.py holds the count."""
    monkeypatch.setattr(forecast, "_flops_at", lambda *_: 10**10)


def row(suite: str, figures: dict[str, Any], gpu: str | None = None, **about: Any) -> dict[str, Any]:
    here = {"processor": "A", "cores": 4, "gpu": gpu}
    return {"suite": suite, "when": "2026-01-01", "hardware": here, **about, "figures": figures}


def stepped(gpu: str | None, rate: float, **about: Any) -> dict[str, Any]:
    measured = {"step": {"rate": {"unit": "samples/s", "median": rate}}}
    return row("step", measured, gpu, **({"recipe": to_json(SMOKE), "ranks": 1} | about))


def planned(kept: list[dict[str, Any]], machine: Machine = MACHINE) -> forecast.Forecast:
    known = [lookup.Kept(f"rows@{number}", one) for number, one in enumerate(kept, 1)]
    return forecast.forecast(SMOKE, data.of(None, known), machine, known)


def test_a_ring_is_found_again_from_its_own_times() -> None:
    ring = Ring(3e-5, 2e9)
    times = [Measured(n, size, ring.seconds(n, size)) for n in (2, 4, 8) for size in (1 << 10, 1 << 16, 1 << 24)]
    found = fit(times)
    assert found == pytest.approx(ring) and max(errors(found, times)) < 1e-9
    assert ring.seconds(4, 1e9) == pytest.approx(6 * 3e-5 + 1.5 * 1e9 / 2e9)
    assert fit([Measured(2, 1 << 10, 1e-4), Measured(2, 1 << 20, 1e-4)]).bandwidth > 1e9
    assert min(fit([Measured(2, 1 << 10, 1e-7), Measured(2, 1 << 20, 1e-2)])) >= 0  # neither is negative


def test_what_follows_is_as_sure_as_the_least_sure() -> None:
    known, seen, guessed = counted(1, "", "a"), Told(1, "", "measured", "b"), assumed(1, "", "c")
    assert derived(1, "", "", known, seen).origin == "measured"
    assert derived(1, "", "", known, seen, guessed).origin == "assumed"


def test_the_newest_row_that_fits_is_taken_and_others_are_not() -> None:
    other = to_json(SMOKE) | {"data": to_json(SMOKE)["data"] | {"height": 256}}
    kept = [stepped("NVIDIA A100-SXM4-80GB", 1), stepped("NVIDIA A100-SXM4-80GB", 100), stepped("NVIDIA H100", 7)]
    kept += [stepped(None, 5), stepped("NVIDIA A100-SXM4-80GB", 9, recipe=other)]
    found = planned(kept)
    assert found.numbers["a step, with its sum"].value == pytest.approx(16 / 800, rel=0.05)
    assert not [one for one in found.missing if one.startswith("the step")]
    told = planned([stepped(None, 5)]).missing
    assert any(
        one == "the step of smoke on A100: david bench step --shards DIR --recipe smoke --out FILE" for one in told
    )


def test_numbers_are_those_by_hand_and_each_tells_its_origin() -> None:
    found = planned([stepped("NVIDIA A100", 1000)], MACHINE._replace(gpus=1, nodes=1))
    count = SMOKE.model.parameters()
    assert count is not None
    samples = SMOKE.steps * SMOKE.batch_size
    assert found.numbers["time"].value == pytest.approx(samples / 1000 / 3600)
    assert found.numbers["time"].value == found.numbers["GPU-hours"].value and found.bound == "step"
    assert found.numbers["a gradient"].value == 4 * count and found.numbers["memory a rank"].value == 16 * count
    assert found.numbers["a checkpoint"].value == 12 * count
    assert found.numbers["shards"].value == pytest.approx(298_008 * 0.49e6)
    assert found.numbers["shards read a node"].value == pytest.approx(1000 * 0.49e6)
    assert found.numbers["gradients a node"].value == 0
    for one in (*found.numbers.values(), *found.rates.values()):
        assert one.origin in ("measured", "counted", "assumed") and len(one.source) > 5
    assert found.rates["step"].origin == "measured" and found.rates["storage"].origin == "assumed"
    assert all("528" in one or "104" in one for one in show.as_json(found)["published"])


def test_sums_that_take_longer_than_the_backward_bound_the_training() -> None:
    slow = MACHINE._replace(network=1e6)
    kept = [stepped("NVIDIA A100", 1000)]
    assert (
        planned(kept).bound == "storage" or planned(kept).rates["all-reduce"].value > planned(kept).rates["step"].value
    )
    found = planned(kept, slow)
    assert found.numbers["a sum over ranks"].value > found.numbers["a step, with its sum"].value - 16 / 8000
    size = found.numbers["a gradient"].value
    assert found.numbers["a sum over ranks"].value == pytest.approx(14 * 1e-5 + 14 / 8 * size / 1e6)


def test_sums_are_of_a_ring_fitted_to_rows_where_some_are_there() -> None:
    ring = Ring(1e-5, 1e9)
    sums = {str(size): {"bytes": size, "time": {"median": 1e3 * ring.seconds(4, size)}} for size in (1 << 10, 1 << 24)}
    kept = [stepped("NVIDIA A100", 1000), row("reduce", sums, "NVIDIA A100", ranks=4)]
    near = planned(kept, MACHINE._replace(gpus=4, nodes=1)).numbers["a sum over ranks"]
    assert near.origin == "measured" and near.value == pytest.approx(
        ring.seconds(4, 4 * (SMOKE.model.parameters() or 0))
    )
    assert planned(kept).numbers["a sum over ranks"].origin == "assumed"  # of more ranks than were measured


def test_the_command_tells_all_and_keeps_nothing(tmp_path: Path) -> None:
    rows.append(tmp_path / "rows.jsonl", stepped(None, 50))
    words = [
        "bench",
        "plan",
        "--gpus",
        "4",
        "--gpu",
        "cpu",
        "--recipe",
        "smoke",
        "--rows",
        str(tmp_path / "rows.jsonl"),
    ]
    before = (tmp_path / "rows.jsonl").read_bytes()
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["rates"]["step"]["value"] <= 200 and "reduce --nproc" in " ".join(told["missing"])
    assert "rows.jsonl@1: step of 2026-01-01, 4 cores of A" in CliRunner().invoke(app, words).output
    assert (tmp_path / "rows.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gpus", "3", "--nodes", "2"], "can't be shared by 2 nodes"),
        (["--gpus", "7", "--recipe", "smoke"], "add --set batch_size=21"),
        (["--gpus", "4", "--recipe", "smoke", "--gpu", "H900"], "no data sheet of it; there are H200"),
        (["--gpus", "4", "--recipe", "smoke", "--rows", "gone.jsonl"], "gone.jsonl: no such file"),
        (["--gpus", "4", "--recipe", "smoke", "--rows", "cut.jsonl"], "cut.jsonl: no rows there"),
    ],
)
def test_a_plan_that_can_not_be_is_refused(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cut.jsonl").write_text('{"suite": "step", "hard')
    with pytest.raises(DavidError, match=said):
        CliRunner().invoke(app, ["bench", "plan", *words], catch_exceptions=False)
