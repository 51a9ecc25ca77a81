"""Metrics of depth in metres against a plain loop, on cases made by hand: zeros, infinities, no numbers, nothing."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_metric_losses import batch_of, rooms

from david.train.losses.alignment import fit
from david.train.metrics import disparity, metric_depth
from david.train.metrics.metrics import metrics
from david.train.metrics.table import FIGURES_M, METRICS

NAN, INF = math.nan, math.inf
SPAN = (0.5, 8.0)


def slow(pairs: list[tuple[float, float]], span: tuple[float, float]) -> dict[str, float]:
    """The nine figures of (predicted, true) metres, one after the other."""
    clipped = []
    for said, true in pairs:
        said = span[0] if math.isnan(said) else min(max(said, span[0]), span[1])
        if 0 < true < INF:
            clipped.append((said, true))
    n = len(clipped)
    if not n:
        return dict.fromkeys(FIGURES_M, NAN)
    logs = [math.log(p) - math.log(t) for p, t in clipped]
    middle = sum(logs) / n
    return {
        **{f"a{k}": sum(max(p / t, t / p) < 1.25**k for p, t in clipped) / n for k in (1, 2, 3)},
        "abs_rel": sum(abs(p - t) / t for p, t in clipped) / n,
        "sq_rel": sum((p - t) ** 2 / t for p, t in clipped) / n,
        "rmse": math.sqrt(sum((p - t) ** 2 for p, t in clipped) / n),
        "rmse_log": math.sqrt(sum(e * e for e in logs) / n),
        "log10": sum(abs(math.log10(p) - math.log10(t)) for p, t in clipped) / n,
        "silog": 100 * math.sqrt(sum((e - middle) ** 2 for e in logs) / n),
    }


BY_HAND = {
    "right": [(1.0, 1.0), (2.0, 2.0)],
    "twice": [(2.0, 1.0), (4.0, 2.0)],
    "zeros said": [(0.0, 1.0), (2.0, 2.0), (-1.0, 3.0)],
    "zeros true": [(1.0, 0.0), (2.0, 2.5)],
    "infinities": [(INF, 4.0), (2.0, INF), (-INF, 1.0), (3.0, 2.0)],
    "no numbers": [(NAN, 4.0), (2.0, NAN), (3.0, 2.0)],
    "beyond the span": [(100.0, 9.0), (0.01, 0.4), (1.0, 1.2)],
    "one": [(1.3, 1.0)],
    "nothing true": [(1.0, 0.0), (2.0, NAN)],
}


@pytest.mark.parametrize("pairs", BY_HAND.values(), ids=BY_HAND)
def test_the_figures_are_those_of_a_plain_loop(pairs: list[tuple[float, float]]):
    said, true = (torch.tensor(row).view(1, 1, 1, -1) for row in zip(*pairs, strict=True))
    found = metric_depth.metric_depth(said, true, torch.ones_like(true, dtype=torch.bool), SPAN)
    assert tuple(found) == tuple(FIGURES_M)
    for name, expected in slow(pairs, SPAN).items():
        assert found[name].item() == pytest.approx(expected, rel=1e-5, abs=1e-6, nan_ok=True), name


@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=1, max_size=20), st.integers(0, 3))
def test_any_figures_are_those_of_a_plain_loop_and_invalid_pixels_count_nothing(pairs, more: int):
    padded = [*pairs, *[(NAN, 1.0), (5.0, 0.0), (1.0, 7.0)][:more]]
    said, true = (torch.tensor(row, dtype=torch.float64).view(1, 1, 1, -1) for row in zip(*padded, strict=True))
    valid = torch.arange(len(padded)).view(1, 1, 1, -1) < len(pairs)
    found = metric_depth.metric_depth(said, true, valid, SPAN)
    for name, expected in slow(pairs, SPAN).items():
        if name not in ("a1", "a2", "a3"):  # a ratio on the edge of a share may round to either side
            assert found[name].item() == pytest.approx(expected, rel=1e-6, abs=1e-6), name


def test_each_image_is_by_itself_and_an_empty_one_measures_nothing():
    said, true, valid = rooms(dtype=torch.float32)
    valid[1] = False
    found = metric_depth.metric_depth(said, true, valid)
    pairs = list(zip(said[0][valid[0]].tolist(), true[0][valid[0]].tolist(), strict=True))
    assert {name: one[0].item() for name, one in found.items()} == pytest.approx(slow(pairs, (1e-3, 1e3)), rel=1e-4)
    assert all(one[1].isnan() for one in found.values())


def test_disparity_is_fitted_inverted_and_measured_as_depth():
    _, true, valid = rooms(dtype=torch.float32)
    noise = torch.rand(true.shape, generator=torch.Generator().manual_seed(5))
    for said in (3 / true - 7, 3 / true + 0.5 * noise):
        carried = disparity.to_metres(said, true, valid, (1.0, 4.0))
        for i in range(2):
            p, d = said[i][valid[i]].double(), 1 / true[i][valid[i]].double()
            scale = ((p - p.mean()) * (d - d.mean())).mean() / p.var(unbiased=False)
            shift = d.mean() - scale * p.mean()
            expected = 1 / (scale * said[i].double() + shift).clamp(0.25, 1)
            assert torch.allclose(carried[i][valid[i]].double(), expected[valid[i]], rtol=1e-4)
    perfect = disparity.to_metres(3 / true - 7, true, valid)
    assert torch.allclose(perfect[valid], true[valid], rtol=1e-4)


def test_a_depth_given_as_disparity_scores_as_a_flat_answer():
    _, true, valid = rooms(dtype=torch.float32)
    mirrored, flat = (disparity.to_metres(x, true, valid) for x in (true, torch.zeros_like(true)))
    assert torch.allclose(mirrored[valid], flat[valid], rtol=1e-4)
    scale, _ = fit(true, 1 / true, valid)
    assert (scale >= 0).all()


def test_a_batch_is_measured_in_metres_by_the_rows_of_the_table():
    said, true, valid = rooms(dtype=torch.float32)
    batch = batch_of(true, valid)
    found = metrics({"metric_depth_m": said, "relative_disparity": 2 / true}, batch)
    assert list(found) == [name for name, one in METRICS.items() if one.head in ("metric_depth", "disparity")]
    alone = metric_depth.metric_depth(said, true, valid)
    assert len(alone) == 9 and all(torch.allclose(found[f"metric_{n}"], one, rtol=1e-2) for n, one in alone.items())
    assert (found["disparity_abs_rel"] < 1e-3).all() and (found["disparity_a1"] == 1).all()
    assert METRICS["metric_a1"].grows and not METRICS["metric_abs_rel"].grows and METRICS["metric_abs_rel"].ranks
