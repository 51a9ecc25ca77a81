"""Order, prefetch and cache at any size, by the product's own code on a manifest that is made up."""

import json
from functools import lru_cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from david.bench.scale import made_up
from david.bench.scale.caching import KEPT, READ, Needs, fetched
from david.bench.scale.made_up import Scale, order_of
from david.cli import app
from david.pack.errors import DavidError
from david.pipeline.config import DataConfig

SMALL = Scale(20_000, 100, 16)
BLOCKS = DataConfig(shuffle="blocks")


def test_the_shards_of_a_step_are_those_that_the_order_says() -> None:
    needs = Needs(order_of(SMALL, BLOCKS))
    for step in range(0, 2 * needs.order.batches_per_epoch, 5):
        assert sorted(needs(step)) == needs.exact(step)


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_what_is_cached_of_a_set_is_not_fetched_again(share: float) -> None:
    """To fetch the rest alone is the least that is possible: what is not here when an epoch begins has to come."""
    needs = Needs(order_of(SMALL, BLOCKS))
    epoch, shards = needs.order.batches_per_epoch, len(SMALL.counts)
    known = lru_cache(maxsize=None)(needs.__call__)
    foreseen, others = (sum(fetched(SMALL, known, 3 * epoch, share, by)[epoch:]) / 2 / shards for by in (KEPT, READ))
    assert 1 - share - 0.01 <= foreseen <= 1 - share + 0.06 < others


def test_a_cache_of_all_fetches_each_shard_once() -> None:
    needs = Needs(order_of(SMALL, BLOCKS))
    brought = fetched(SMALL, needs, 2 * needs.order.batches_per_epoch, 1, KEPT)
    assert sum(brought) == brought[0] == len(SMALL.counts)


def test_entropy_is_all_of_it_in_a_full_order_and_none_in_the_stored_one() -> None:
    full, stored = (made_up.entropy(SMALL, config) for config in (DataConfig(), None))
    assert full > 1.57 and stored < 0.2
    assert stored < made_up.entropy(SMALL, DataConfig(shuffle="blocks", window=4)) < full


def test_a_row_tells_all_of_a_scale(tmp_path: Path) -> None:
    words = ["--samples", "20050", "--shard", "100", "--ranks", "16", "--cached", "0.5", "--epochs", "2", "--json"]
    done = CliRunner().invoke(app, ["bench", "scale", *words, "--out", str(tmp_path / "rows.jsonl")])
    assert done.exit_code == 0, done.output
    row = json.loads((tmp_path / "rows.jsonl").read_text())
    assert json.loads(done.stdout) == row
    assert (row["samples"], row["ranks"], row["batch_size"]) == (20_000, 16, 512)
    assert set(row["figures"]["first batch, blocks"]) == {"first", "step", "kept", "most", "needed"}
    each = row["figures"]["cache of 50%"]
    node_samples = 512 * 39 * 8 / 16  # of two nodes' 39 steps
    shards = each["set, next use"]["median"] * 200
    assert each["sample, next use"]["median"] == pytest.approx(shards * 100 * made_up.SAMPLE_BYTES / 1e6 / node_samples)


def test_more_ranks_than_samples_are_refused() -> None:
    with pytest.raises(DavidError, match="more than the whole shards of 1000 hold"):
        CliRunner().invoke(app, ["bench", "scale", "--samples", "9000", "--ranks", "1024"], catch_exceptions=False)
