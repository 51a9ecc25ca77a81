"""Losses of metric depth against slow float64 twins, finite differences, and their manners with masks and ranges."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from rooms import room as draw_room
from test_train_losses import case

from david.model import build
from david.pipeline.batch import Batch, Target
from david.train import recipes
from david.train.distributed import World
from david.train.losses.da2_silog import da2_silog
from david.train.losses.table import TERMS
from david.train.losses.views import disparity, metres
from david.train.losses.zoe_gradient import zoe_gradient
from david.train.losses.zoe_silog import zoe_silog
from david.train.recipe import override
from david.train.step.step import Step
from david.train.tasks.supervised import compare, within

ALL = {"zoe_silog": zoe_silog, "da2_silog": da2_silog, "zoe_gradient": zoe_gradient}
each = pytest.mark.parametrize("loss", ALL.values(), ids=ALL)


def slow(name: str, p: np.ndarray, t: np.ndarray, v: np.ndarray) -> float:
    """The loss of one image, (H, W) float64 and bool, pixel by pixel from its formula."""
    places = [place for place in np.ndindex(*v.shape) if v[place]]
    if name == "zoe_gradient":
        sizes, angles = [], []
        for y, x in np.ndindex(*v.shape):
            if y and x and v[y, x] and v[y, x - 1] and v[y - 1, x]:
                polar = []
                for image in (p, t):
                    dx, dy = image[y, x] - image[y, x - 1], image[y, x] - image[y - 1, x]
                    polar.append((dx**2 + dy**2, math.atan(dy / (dx + 1e-10))))
                sizes.append(abs(polar[0][0] - polar[1][0]))
                angles.append(abs(polar[0][1] - polar[1][1]))
        return (sum(sizes) + sum(angles)) / max(1, len(sizes))
    d = [math.log(p[i] + 1e-7) - math.log(t[i] + 1e-7) for i in places]
    n, mean = len(d), sum(d) / len(d)
    if name == "zoe_silog":
        variance = sum((one - mean) ** 2 for one in d) / (n - 1)
        return 10 * math.sqrt(variance + 0.15 * mean**2)
    assert name == "da2_silog"
    d = [math.log(t[i]) - math.log(p[i]) for i in places]
    return math.sqrt(sum(one**2 for one in d) / n - 0.5 * (sum(d) / n) ** 2)


def rooms(seed: int = 0, dtype=torch.float64, size: tuple[int, int] = (9, 12)):
    """Predicted and true metres between 1 and 5, and a ragged mask."""
    prediction, target, valid = case(1, seed, size, dtype=dtype)
    return 1 + 4 * prediction, 1 + 4 * target, valid


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_loss_equals_its_slow_twin(name: str, seed: int):
    prediction, target, valid = rooms(seed)
    found = ALL[name](prediction.float(), target.float(), valid)
    assert found.shape == (2,) and found.dtype == torch.float32
    for i in range(2):
        expected = slow(name, *(x[i, 0].numpy() for x in (prediction, target, valid)))
        assert found[i].item() == pytest.approx(expected, rel=1e-4)
        exact = ALL[name](prediction, target, valid)[i].item()
        assert exact == pytest.approx(expected, rel=1e-9)


@each
def test_a_loss_has_the_gradient_of_finite_differences(loss):
    prediction, target, valid = rooms(size=(5, 6))
    assert torch.autograd.gradcheck(lambda p: loss(p, target, valid), prediction.requires_grad_())


@each
@pytest.mark.parametrize("anything", [-3.0, 0.0, torch.inf, torch.nan])
def test_invalid_pixels_neither_count_nor_get_a_gradient(loss, anything: float):
    prediction, target, valid = rooms()
    other = torch.where(valid, prediction, anything).requires_grad_()
    value = loss(other, torch.where(valid, target, anything), valid)
    value.sum().backward()
    assert torch.allclose(value, loss(prediction, target, valid), rtol=1e-12)
    assert other.grad is not None and other.grad.isfinite().all() and other.grad.any()
    assert not torch.where(valid, 0, other.grad).any()


@each
@pytest.mark.parametrize("pixels", [0, 1, 2])
def test_images_of_few_valid_pixels_have_finite_losses_and_gradients(loss, pixels: int):
    prediction, target, valid = rooms(dtype=torch.float32)
    valid[0] = False
    valid[0, 0, 3, 3 : 3 + pixels] = True
    prediction.requires_grad_()
    value = loss(prediction, target, valid)
    value.sum().backward()
    assert value.isfinite().all() and value[1] > 0 and prediction.grad is not None
    assert prediction.grad.isfinite().all() and prediction.grad[1].any()
    if pixels == 0:
        assert value[0] == 0 and not prediction.grad[0].any()


@each
def test_flat_perfect_and_zero_predictions_stay_finite(loss):
    _, target, valid = rooms(dtype=torch.float32)
    for said in (torch.zeros_like(target), torch.full_like(target, 2.0), target.clone()):
        prediction = said.requires_grad_()
        value = loss(prediction, target, valid)
        value.sum().backward()
        assert value.isfinite().all() and prediction.grad is not None and prediction.grad.isfinite().all()
    assert not loss(target, target, valid).any()


def test_a_flat_place_is_not_pulled_with_all_might():
    """There the angle's gradient is 1e10 by its formula, and would be all that is left of a clipped step."""
    _, target, valid = rooms(dtype=torch.float32)
    prediction = (2 + 1e-3 * target).requires_grad_()
    flat = torch.where(torch.arange(12) < 4, 2.0, prediction)
    (gradient,) = torch.autograd.grad(zoe_gradient(flat, target, valid).sum(), prediction)
    assert 0 < gradient.abs().max() < 1e4


def test_what_a_wrong_scale_costs_is_as_the_formulas_say():
    _, target, valid = rooms()
    twice = math.log(2)
    assert zoe_silog(2 * target, target, valid).tolist() == pytest.approx([10 * math.sqrt(0.15) * twice] * 2, rel=1e-6)
    assert da2_silog(2 * target, target, valid).tolist() == pytest.approx([math.sqrt(0.5) * twice] * 2, rel=1e-6)


def batch_of(depth_m: torch.Tensor, valid: torch.Tensor) -> Batch:
    """A batch whose depth is coded as loaders deliver it."""
    rows = [(float(x[v].min()), float(x[v].max())) if v.any() else (0, 2) for x, v in zip(depth_m, valid, strict=True)]
    offset, scale = (
        torch.tensor([f(a, b) for a, b in rows]) for f in (lambda a, b: (a + b) / 2, lambda a, b: (b - a) / 2)
    )
    value = torch.where(valid, (depth_m.float() - offset.view(-1, 1, 1, 1)) / scale.view(-1, 1, 1, 1), 0).half()
    count = torch.arange(len(depth_m))
    image = torch.zeros(len(depth_m), 3, *depth_m.shape[-2:], dtype=torch.uint8)
    camera = torch.full((len(depth_m), 3, 3), torch.nan)
    return Batch(image, {"depth": Target(value, valid)}, camera, offset, scale, count, count, count >= 0, count * 0)


def test_terms_of_metric_depth_compare_in_metres_and_of_disparity_in_shares():
    prediction, target, valid = rooms(dtype=torch.float32)
    valid[1] = False
    batch = batch_of(target, valid)
    true = metres(batch.targets["depth"], batch)
    assert true.value.dtype == torch.float32 and not true.value[~valid].any()
    assert (true.value - target)[valid].abs().max() < 1e-3  # of float16 within its range
    names = ["metric_zoe_silog", "metric_zoe_gradient", "metric_da2_silog", "disparity_ssi_l1"]
    said = {"metric_depth_m": prediction, "relative_disparity": 5 / target + 3}
    losses = compare(said, batch, [TERMS[name] for name in names])
    for row, loss in zip(losses, (zoe_silog, zoe_gradient, da2_silog), strict=False):
        assert row[0] == loss(prediction, true.value, valid)[0] > 0 and row[1] == 0
    shares = disparity(batch.targets["depth"], batch).value
    assert shares[0].max() == 1 and torch.allclose(
        shares[0][valid[0]], (target[valid].min() / true.value[0])[valid[0]], 1e-3
    )
    assert losses[3, 0] < 1e-3 and losses[3, 1] == 0


def test_what_a_network_cannot_say_is_not_asked_of_it():
    _, target, valid = rooms(dtype=torch.float32)
    batch = batch_of(target, valid)
    true = metres(batch.targets["depth"], batch).value
    narrowed = within(batch, (2.0, 3.0)).targets["depth"]
    assert torch.equal(narrowed.valid, valid & (true >= 2) & (true <= 3)) and 0 < narrowed.valid.sum() < valid.sum()
    assert not narrowed.value[~narrowed.valid].any()
    assert torch.equal(within(batch, (0.0, math.inf)).targets["depth"].valid, valid)


@pytest.mark.parametrize("recipe", ["da2-metric-indoor", "zoedepth-nyu"])
def test_a_silog_alone_teaches_a_network_how_many_metres_there_are(recipe: str):
    """Each has a term of the scale; without it the shape is learnt as well, and metres stay whatever they were."""
    objective = recipes.recipe(recipe).objective
    small = ["data.height=28", "data.width=42", "optim.warmup=1", "steps=16", "model.max_depth=20"]
    chosen = override(replace(recipes.recipe("metric-smoke"), objective=objective), small)
    views = [draw_room(0, number, 28, 42) for number in range(8)]
    depth_m = torch.from_numpy(np.stack([one.depth_m for one in views]))[:, None].float()
    image = torch.from_numpy(np.stack([one.rgb for one in views])).permute(0, 3, 1, 2).contiguous()
    batch = replace(batch_of(depth_m, depth_m > 0), image=image)
    torch.manual_seed(0)
    step = Step(build(chosen.model), chosen, World(0, 1, torch.device("cpu")))

    def off() -> float:
        with torch.inference_mode():
            return float((step.network(image)["metric_depth_m"] / depth_m).log().mean())

    assert abs(off()) > 0.8
    for number in range(1, 17):
        step(batch, number)
    assert abs(off()) < 0.2
