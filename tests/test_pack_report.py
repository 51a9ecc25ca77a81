"""What the report of a set tells is what was seen, as closely as its bins allow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from david.pack.check.histogram import Histogram

VALUES = st.lists(st.floats(-2, 12, width=32), min_size=1, max_size=60)


@settings(max_examples=200, deadline=None)
@given(VALUES, VALUES, st.floats(0, 1), st.sampled_from([False, True]))
def test_a_quantile_of_two_merged_histograms_is_off_by_a_bin_at_most(
    first: list[float], second: list[float], share: float, log: bool
) -> None:
    one, other = (Histogram.between(0.5, 8, bins=15, log=log) for _ in range(2))
    one.add(np.array(first))
    other.add(np.array(second))
    one.merge(other)
    values = np.array(first + second)
    edges = np.unique(np.concatenate([[values.min()], one.edges[1:-1], [values.max()]]))
    for found in (one, Histogram.from_json(one.as_json())):
        told = found.quantile(share)
        assert values.min() <= told <= values.max()
        assert abs(told - np.quantile(values, share)) <= np.diff(edges).max(initial=0) + 1e-5
        assert (found.quantile(0), found.quantile(1)) == (values.min(), values.max())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=1, max_size=80), st.floats(0, 1))
def test_a_quantile_of_levels_is_exact(levels: list[int], share: float) -> None:
    one = Histogram.between(0, 256, bins=256)
    one.add_levels(np.array(levels))
    assert one.quantile(share) == pytest.approx(np.quantile(levels, share))


def test_a_median_is_no_edge_of_a_bin() -> None:
    one = Histogram.between(0, 1, bins=50)
    one.add(np.array([0.0229, 0.0151, 0.0349]))
    assert one.quantile(0.5) == pytest.approx(0.0229, abs=0.02)
    one = Histogram.between(0, 1, bins=50)
    one.add(np.array([0.0229, 0.0349]))
    assert one.quantile(0.5) == pytest.approx(0.0289)
