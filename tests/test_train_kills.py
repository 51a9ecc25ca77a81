"""Killed at random moments a run equals one that was left alone: a few rounds of `soak/train_kills.py`."""

from pathlib import Path

import pytest

from tests.soak.train_kills import hunt

pytestmark = pytest.mark.usefixtures("warm")


@pytest.fixture(scope="module")
def shards(figures: Path) -> Path:
    return figures


def test_a_run_killed_at_random_moments_equals_one_left_alone(shards: Path, tmp_path: Path):
    found = hunt(shards, tmp_path, kills=2, seed=3, twos=0.5, lone=1.0)
    assert sorted(kill.ranks for kill in found) == [1, 2] and max(kill.reached for kill in found) > 0
