"""Each loss against a slow float64 twin, its gradient against finite differences, and its manners with masks."""

import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from david.train.losses.alignment import LEAST_CORRELATION, align, fit
from david.train.losses.angular import angular
from david.train.losses.bce import bce
from david.train.losses.berhu import berhu
from david.train.losses.cosine import cosine
from david.train.losses.dice import dice
from david.train.losses.gradient_matching import gradient_matching
from david.train.losses.l1 import l1
from david.train.losses.laplacian import laplacian
from david.train.losses.mse import mse


def fitted(loss):
    """A loss of relative depth: after the fit that all of them share."""
    return lambda p, t, v: loss(align(p, t, v, LEAST_CORRELATION), t, v)


ssi_mse, ssi_l1, ssi_berhu, ssi_gradient = (fitted(loss) for loss in (mse, l1, berhu, gradient_matching))
ALL = {
    "ssi_mse": (ssi_mse, 1),
    "ssi_l1": (ssi_l1, 1),
    "berhu": (ssi_berhu, 1),
    "gradient_matching": (ssi_gradient, 1),
    "cosine": (cosine, 3),
    "angular": (angular, 3),
    "bce": (bce, 1),
    "l1": (l1, 1),
    "dice": (dice, 1),
    "laplacian": (laplacian, 1),
}
each = pytest.mark.parametrize(("loss", "channels"), ALL.values(), ids=ALL.keys())


def case(channels: int, seed: int = 0, size: tuple[int, int] = (9, 12), images: int = 2, dtype=torch.float64):
    """Prediction near a soft target in (0, 1), and a ragged mask."""
    g = torch.Generator().manual_seed(seed)
    target = torch.rand((images, channels, *size), generator=g, dtype=dtype)
    prediction = (target + 0.3 * torch.rand(target.shape, generator=g, dtype=dtype)) / 1.3
    valid = torch.rand((images, 1, *size), generator=g) < 0.7
    return prediction, target, valid


def slow_fit(p: np.ndarray, d: np.ndarray, least: float) -> np.ndarray:
    """p carried onto d by lstsq; where p correlates with d too little, by the least scale."""
    scale, shift = np.linalg.lstsq(np.stack([p, np.ones_like(p)], 1), d, rcond=None)[0]
    if np.corrcoef(p, d)[0, 1] < least:
        scale = least * d.std() / p.std()
        shift = d.mean() - scale * p.mean()
    return scale * p + shift


def slow(name: str, p: np.ndarray, t: np.ndarray, v: np.ndarray) -> float:
    """The loss of one image, (C, H, W) float64 and (H, W) bool, pixel by pixel from its formula."""
    height, width = v.shape
    pixels = [(y, x) for y in range(height) for x in range(width) if v[y, x]]
    if name == "ssi_mse":
        return float(np.mean((slow_fit(p[0][v], t[0][v], LEAST_CORRELATION) - t[0][v]) ** 2))
    if name in ("ssi_l1", "berhu"):
        sizes = np.abs(slow_fit(p[0][v], t[0][v], LEAST_CORRELATION) - t[0][v])
        c = np.inf if name == "ssi_l1" else sizes.max() / 5
        return sum(size if size <= c else (size**2 + c**2) / (2 * c) for size in sizes) / len(sizes)
    if name == "gradient_matching":
        residual = np.zeros((height, width))
        residual[v] = slow_fit(p[0][v], t[0][v], LEAST_CORRELATION) - t[0][v]
        loss = 0.0
        for k in range(4):
            r, m = residual[:: 2**k, :: 2**k], v[:: 2**k, :: 2**k]
            for dy, dx in ((0, 1), (1, 0)):
                pairs = [
                    abs(r[y + dy, x + dx] - r[y, x])
                    for y in range(r.shape[0] - dy)
                    for x in range(r.shape[1] - dx)
                    if m[y, x] and m[y + dy, x + dx]
                ]
                loss += sum(pairs) / max(1, len(pairs))
        return loss
    if name == "cosine":
        return sum(
            1 - p[:, y, x] @ t[:, y, x] / np.linalg.norm(p[:, y, x]) / np.linalg.norm(t[:, y, x]) for y, x in pixels
        ) / len(pixels)
    if name == "angular":
        return sum(
            math.acos(p[:, y, x] @ t[:, y, x] / np.linalg.norm(p[:, y, x]) / np.linalg.norm(t[:, y, x]))
            for y, x in pixels
        ) / len(pixels)
    a, b = p[0], t[0]
    if name == "bce":
        terms = [(b[i] * math.log1p(math.exp(-a[i])) + (1 - b[i]) * math.log1p(math.exp(a[i]))) for i in pixels]
        return sum(terms) / len(pixels)
    if name == "l1":
        return sum(abs(a[i] - b[i]) for i in pixels) / len(pixels)
    if name == "dice":
        both = 2 * sum(a[i] * b[i] for i in pixels) + 1
        return 1 - both / (sum(a[i] ** 2 for i in pixels) + sum(b[i] ** 2 for i in pixels) + 1)
    assert name == "laplacian"
    x, loss, m = np.where(v, a - b, 0), 0.0, v
    for k in range(5):
        if min(x.shape) < 2:
            break
        padded, taps = np.pad(x, 1, mode="edge"), np.array([1, 3, 3, 1]) / 8
        rows, columns = x.shape[0] // 2, x.shape[1] // 2
        smaller = np.array(
            [[taps @ padded[2 * i : 2 * i + 4, 2 * j : 2 * j + 4] @ taps for j in range(columns)] for i in range(rows)]
        )
        band = x - enlarge(enlarge(smaller, x.shape[0]).T, x.shape[1]).T
        loss += 2**k * abs(band[m]).mean() if m.any() else 0
        x, m = smaller, m[: 2 * rows : 2, : 2 * columns : 2]
    return float(loss)


def enlarge(x: np.ndarray, rows: int) -> np.ndarray:
    """Linear interpolation along the first axis, pixel centres on a common interval, ends repeated."""
    at = np.clip((np.arange(rows) + 0.5) * len(x) / rows - 0.5, 0, len(x) - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, len(x) - 1)
    return x[low] + (at - low)[:, None] * (x[high] - x[low])


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("size", [(9, 12), (16, 16)])
def test_a_loss_equals_its_slow_twin(name: str, size: tuple[int, int]):
    loss, channels = ALL[name]
    prediction, target, valid = case(channels, seed=len(name), size=size)
    fast = loss(prediction.float(), target.float(), valid)
    assert fast.shape == (2,) and fast.dtype == torch.float32
    for i in range(2):
        expected = slow(name, prediction[i].numpy(), target[i].numpy(), valid[i, 0].numpy())
        assert fast[i].item() == pytest.approx(expected, rel=2e-5)


@each
def test_a_loss_has_the_gradient_of_finite_differences(loss, channels, monkeypatch):
    prediction, target, valid = case(channels, size=(5, 6))
    if loss is ssi_berhu:  # its threshold counts as a constant
        of_each = 0.2 * (align(prediction, target, valid, LEAST_CORRELATION) - target).abs().where(valid, 0)
        constant = of_each.amax((1, 2, 3), keepdim=True)
        monkeypatch.setattr(sys.modules[berhu.__module__], "threshold", lambda residual, valid: constant)
    assert torch.autograd.gradcheck(lambda p: loss(p, target, valid), prediction.requires_grad_())


@each
def test_invalid_pixels_neither_count_nor_get_a_gradient(loss, channels):
    prediction, target, valid = case(channels)
    other_target = torch.where(valid, target, torch.full_like(target, 7.0))
    other_prediction = torch.where(valid, prediction, torch.full_like(prediction, -3.0)).requires_grad_()
    value = loss(other_prediction, other_target, valid)
    value.sum().backward()
    assert torch.allclose(value, loss(prediction, target, valid), rtol=1e-12)
    assert other_prediction.grad is not None
    assert not torch.where(valid, 0, other_prediction.grad).any()


@each
def test_an_image_without_valid_pixels_has_loss_and_gradient_zero(loss, channels):
    prediction, target, valid = case(channels, dtype=torch.float32)
    valid[0] = False
    prediction.requires_grad_()
    value = loss(prediction, target, valid)
    value.sum().backward()
    assert value[0] == 0 and value[1] > 0
    assert prediction.grad is not None and prediction.grad.isfinite().all()
    assert not prediction.grad[0].any() and prediction.grad[1].any()


@each
def test_a_flat_prediction_stays_finite(loss, channels):
    _, target, valid = case(channels, dtype=torch.float32)
    target = target.where(valid, 0)  # as batches have it
    prediction = torch.zeros_like(target).requires_grad_()
    loss(prediction, target, valid).sum().backward()
    assert prediction.grad is not None and prediction.grad.isfinite().all()


@given(scale=st.floats(0.01, 100), shift=st.floats(-100, 100), seed=st.integers(0, 2**16))
def test_depth_loss_knows_no_positive_scale_and_no_shift(scale: float, shift: float, seed: int):
    prediction, target, valid = case(1, seed)
    for loss in (ssi_mse, ssi_l1, ssi_berhu, ssi_gradient):
        assert torch.allclose(loss(prediction * scale + shift, target, valid), loss(prediction, target, valid), 1e-6)
    perfect = (target - shift) / scale
    assert ssi_mse(perfect, target, valid).max() < 1e-12


def test_a_mirrored_depth_is_punished_and_pulled_round():
    """Plain least squares calls the mirror image perfect; training on it would never turn it round."""
    _, target, valid = case(1, size=(16, 16))
    prediction = (-target).clone().requires_grad_()
    before = ssi_mse(prediction, target, valid)
    assert (before > ssi_mse(torch.rand_like(target), target, valid)).all()
    optimiser = torch.optim.Adam([prediction], lr=0.05)
    for _ in range(300):
        optimiser.zero_grad()
        ssi_mse(prediction, target, valid).sum().backward()
        optimiser.step()
    assert (ssi_mse(prediction, target, valid) < 0.01 * before).all()


def test_the_fit_is_exact_in_float32_far_from_zero():
    """Where the normal equations in float32 have lost every digit: depth of 100 cm that spans 25."""
    g = torch.Generator().manual_seed(3)
    depth = 1000 + 0.25 * torch.rand((2, 1, 64, 64), generator=g)
    prediction = (depth.double() * 0.01 + 5).float()
    valid = torch.ones_like(depth, dtype=torch.bool)
    assert (align(prediction, depth, valid) - depth).abs().max() < 1e-3
    scale, _ = fit(depth * 2, depth, valid)
    assert torch.allclose(scale, torch.tensor(0.5), rtol=1e-3)


def test_soft_masks_are_matched_exactly_at_the_least_dice_l1_and_laplacian():
    _, target, valid = case(1)
    for loss in (dice, l1, laplacian):
        assert loss(target, target, valid).abs().max() < 1e-12
        assert (loss(target.round(), target, valid) > 0.01).all()


def test_the_angle_is_exact_and_pulls_evenly_where_the_cosine_sees_nothing():
    angles = torch.tensor([1e-6, 1e-4, 0.1, 3.0])
    zero = torch.zeros_like(angles)
    turned = torch.stack([angles.sin(), zero, angles.cos()]).view(3, 4, 1, 1).transpose(0, 1).requires_grad_()
    ahead, valid = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(4, 3, 1, 1), torch.ones(4, 1, 1, 1).bool()
    found = angular(turned, ahead, valid)
    assert torch.allclose(found, angles, rtol=1e-5, atol=0)
    (gradient,) = torch.autograd.grad(found.sum(), turned)
    assert torch.allclose(gradient.flatten(1).norm(dim=1), torch.ones(4), rtol=1e-3)
    assert cosine(turned, ahead, valid)[0] == 0


def test_berhu_is_linear_below_its_threshold_and_squares_above():
    residual = torch.tensor([0.0, 0.5, 1.0, 2.0, 5.0])
    values = [
        berhu(torch.tensor([r, 5.0]).view(1, 1, 1, 2), torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 1, 2).bool())
        for r in residual
    ]
    expected = [(r if r <= 1 else (r * r + 1) / 2) / 2 + 13 / 2 for r in residual.tolist()]
    assert torch.cat(values).tolist() == pytest.approx(expected)
