"""Killed at random moments a run equals one that was left alone: a few rounds of `soak/train_kills.py`."""

from pathlib import Path

import pytest

from tests.soak.train_kills import hunt


@pytest.mark.parametrize(("kills", "twos"), [(2, 0.0), (1, 1.0)], ids=["one rank", "one of two ranks"])
def test_a_run_killed_at_random_moments_equals_one_left_alone(shards: Path, tmp_path: Path, kills: int, twos: float):
    found = hunt(shards, tmp_path, kills, seed=1, twos=twos, lone=1.0)
    assert len(found) == kills and max(kill.reached for kill in found) > 0
