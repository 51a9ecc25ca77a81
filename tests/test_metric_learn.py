"""From raw rooms in a published layout to a table: a network that was trained in metres beats who does not look."""

import json
from pathlib import Path

import pytest
from learn_rooms import ROWS, command, learn, sentence

from david.train.eval.protocols.report import BENCHMARK_JSON

ROOT = Path(__file__).resolve().parent.parent
SMALL = [
    *("data.height=42", "data.width=56", "steps=240", "parallel=ddp", "optim.warmup=10", "checkpoint_every=0"),
]


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory):
    work = tmp_path_factory.mktemp("rooms")
    return work, *learn(work, 240, 24, (60, 80), SMALL)


def test_a_short_training_in_metres_beats_the_best_constant_and_the_best_scale(learnt) -> None:
    _, scores, _ = learnt
    for other, share, more in (("constant", 0.8, 0.15), ("scale", 0.95, 0.05)):
        assert scores["trained"]["metric_abs_rel"] < share * scores[other]["metric_abs_rel"]
        assert scores["trained"]["metric_a1"] > scores[other]["metric_a1"] + more
    assert scores["scale"]["metric_abs_rel"] < scores["constant"]["metric_abs_rel"]


def test_the_same_run_is_measured_by_nyus_protocol_beside_what_was_published(learnt) -> None:
    work, _, run = learnt
    out = work / "benchmark"
    words = ("--benchmark", "nyu", "--root", work / "raw", "--out", out, "--device", "cpu", "--flip")
    told = command("eval", "--run", run, *words)
    assert "Depth Anything V2 L, fine-tuned" in told and "metric-smoke after step 240, metric" in told
    content = json.loads((out / BENCHMARK_JSON).read_text())
    ours, constant = (one["over_images"] for one in content["subjects"])
    assert content["images"] == 24 and ours["metric_abs_rel"] < 0.95 * constant["metric_abs_rel"]
    packed = json.loads(command("eval", "--run", run, *words[:3], work / "shards", *words[4:], "--json"))
    assert packed["subjects"][0]["over_images"]["metric_abs_rel"] == pytest.approx(ours["metric_abs_rel"], rel=0.05)


def test_the_page_says_what_the_newest_row_says() -> None:
    row = json.loads(ROWS.read_text().splitlines()[-1])
    page = " ".join((ROOT / "docs" / "metric-depth.md").read_text().split())
    assert sentence(row) in page
    trained = row["figures"]["trained"]
    for other, share, more in (("constant", 0.7, 0.2), ("scale", 0.85, 0.1)):
        assert trained["metric_abs_rel"] < share * row["figures"][other]["metric_abs_rel"]
        assert trained["metric_a1"] > row["figures"][other]["metric_a1"] + more
