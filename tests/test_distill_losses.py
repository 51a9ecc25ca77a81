"""Losses between student and teacher against slow float64 twins, finite differences, and their manners with masks."""

from functools import partial

import numpy as np
import pytest
import torch
from test_train_losses import case

from david.train.losses.distill.contexts import CONTEXTS, HYBRID, LOCAL, members
from david.train.losses.distill.hdn import hdn
from david.train.losses.distill.hold import hold
from david.train.losses.distill.normalised import globally, medians
from david.train.losses.distill.tokens import tokens

ALL = {
    "global": globally,
    "hybrid": hdn,
    "local": partial(hdn, parts=LOCAL),
    "quantiles": partial(hdn, by="quantiles"),
    "grids": partial(hdn, by="grids"),
    "hold": hold,
}
each = pytest.mark.parametrize("loss", ALL.values(), ids=ALL)


def middle(values: list[float]) -> float:
    """The lower median."""
    return sorted(values)[(len(values) - 1) // 2]


def slow_contexts(by: str, t: np.ndarray, v: np.ndarray, parts: tuple[int, ...]) -> list[list[list[tuple[int, int]]]]:
    """Of each level its sets of pixels, (row, column)."""
    places = [place for place in np.ndindex(*v.shape) if v[place]]
    least, most = min(t[i] for i in places), max(t[i] for i in places)
    ranked = sorted(places, key=lambda place: (t[place], place))
    levels = []
    for count in parts:
        if by == "ranges":
            ends = [least + (most - least) * k / count for k in range(1, count)] + [np.inf]
            begins = [-np.inf, *ends[:-1]]
            levels.append([[i for i in places if a <= t[i] < b] for a, b in zip(begins, ends, strict=True)])
        elif by == "quantiles":
            levels.append([[i for n, i in enumerate(ranked) if n * count // len(ranked) == k] for k in range(count)])
        else:
            cells = [[i for i in places if (i[0] * count // v.shape[0], i[1] * count // v.shape[1]) == cell]
                     for cell in np.ndindex(count, count)]  # fmt: skip
            levels.append(cells)
    return levels


def slow(name: str, s: np.ndarray, t: np.ndarray, v: np.ndarray) -> float:
    """The loss of one image, (H, W) float64 and bool, pixel by pixel from its formula."""
    places = [place for place in np.ndindex(*v.shape) if v[place]]

    def spread(x: np.ndarray, of: list[tuple[int, int]], more: int = 0) -> tuple[float, float]:
        m = middle([x[i] for i in of])
        return m, sum(abs(x[i] - m) for i in of) / (len(of) + more)

    if name in ("global", "hold"):
        (m, a), (m_t, a_t) = spread(s, places), spread(t, places)
        if name == "hold":
            return abs(m - m_t) / a_t + abs(np.log(a / a_t))
        return sum(abs((s[i] - m) / a - (t[i] - m_t) / a_t) for i in places) / len(places)
    by, parts = (name, HYBRID) if name in CONTEXTS else ("ranges", {"hybrid": HYBRID, "local": LOCAL}[name])
    levels = slow_contexts(by, t, v, parts)
    of_pixel: dict[tuple[int, int], list[float]] = {i: [] for i in places}
    for context in (context for level in levels for context in level if context):
        (m, a), (m_t, a_t) = spread(s, context, 1), spread(t, context, 1)
        for i in context:
            of_pixel[i].append(abs((s[i] - m) / (a + 1e-6) - (t[i] - m_t) / (a_t + 1e-6)))
    assert all(len(found) == len(parts) for found in of_pixel.values())
    return sum(sum(found) / len(found) for found in of_pixel.values()) / len(places)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("size", [(9, 12), (16, 17)])
def test_a_loss_equals_its_slow_twin(name: str, size: tuple[int, int]):
    student, teacher, valid = case(1, seed=len(name), size=size)
    found = ALL[name](student.float(), teacher.float(), valid)
    assert found.shape == (2,) and found.dtype == torch.float32
    for i in range(2):
        expected = slow(name, *(x[i, 0].numpy() for x in (student, teacher, valid)))
        assert found[i].item() == pytest.approx(expected, rel=1e-4)
        assert ALL[name](student, teacher, valid)[i].item() == pytest.approx(expected, rel=1e-9)


@each
def test_a_loss_has_the_gradient_of_finite_differences(loss):
    student, teacher, valid = case(1, size=(6, 7))
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher, valid), student.requires_grad_())


@each
@pytest.mark.parametrize("anything", [-3.0, torch.inf, torch.nan])
def test_invalid_pixels_neither_count_nor_get_a_gradient(loss, anything: float):
    student, teacher, valid = case(1)
    other = torch.where(valid, student, anything).requires_grad_()
    value = loss(other, torch.where(valid, teacher, anything), valid)
    value.sum().backward()
    assert torch.allclose(value, loss(student, teacher, valid), rtol=1e-12)
    assert other.grad is not None and other.grad.isfinite().all() and other.grad.any()
    assert not torch.where(valid, 0, other.grad).any()


@each
@pytest.mark.parametrize("pixels", [0, 1, 2])
def test_images_of_few_valid_pixels_and_flat_ones_have_finite_losses_and_gradients(loss, pixels: int):
    student, teacher, valid = case(1, dtype=torch.float32)
    valid[0] = False
    valid[0, 0, 3, 3 : 3 + pixels] = True
    for said in (student, torch.zeros_like(student)):
        said = said.clone().requires_grad_()
        value = loss(said, teacher, valid)
        value.sum().backward()
        assert value.isfinite().all() and said.grad is not None and said.grad.isfinite().all()
        if pixels == 0:
            assert value[0] == 0 and not said.grad[0].any()


@pytest.mark.parametrize("name", [name for name in ALL if name != "hold"])
@pytest.mark.parametrize("flat", [1.0, 1e-3, 1e-5, 1e-6, 1e-9, 0.0])
def test_a_student_that_is_all_but_flat_costs_no_more_than_one_that_is_wrong(name: str, flat: float):
    """Each context's mean distance is at most (M + 1) / M of its own unit, whatever epsilon is."""
    student, teacher, valid = case(1, seed=3, size=(28, 28))
    assert ALL[name](0.1 + flat * student, teacher, valid).max() < 2.1
    assert (ALL[name](0.1 + 0 * student, teacher, valid) - 1).abs().max() < 0.1  # a constant misses the teacher whole


@pytest.mark.parametrize("name", [name for name in ALL if name != "hold"])
def test_scale_and_shift_of_neither_depth_are_seen_but_their_order_is(name: str):
    student, teacher, valid = case(1, size=(20, 24))
    loss = ALL[name]
    assert torch.allclose(loss(3 * student - 5, 0.5 * teacher + 7, valid), loss(student, teacher, valid), rtol=1e-3)
    assert loss(2 * teacher + 1, teacher, valid).max() < 1e-3 < 0.1 < loss(-teacher, teacher, valid).min()


def test_what_has_drifted_is_seen_by_hold_alone():
    _, depth, valid = case(1)
    assert hold(depth, depth, valid).abs().max() == 0
    assert torch.allclose(hold(2 * depth, depth + depth, valid), torch.zeros(2, dtype=depth.dtype), atol=1e-12)
    assert (hold(depth + 1, depth, valid) > 1).all() and globally(depth + 1, depth, valid).max() < 1e-9


@pytest.mark.parametrize("by", CONTEXTS)
def test_each_valid_pixel_is_in_one_context_of_each_level_the_farthest_too(by: str):
    _, teacher, valid = case(1, size=(12, 16))
    labels = CONTEXTS[by](teacher, valid, HYBRID)
    for level in members(labels, HYBRID, by == "grids"):
        assert torch.equal(level.sum(1), valid.flatten(1).long())
    sizes = [level.shape[1] for level in members(labels, HYBRID, by == "grids")]
    assert sizes == ([1, 4, 16] if by == "grids" else [1, 2, 4])
    if by != "grids":
        most = torch.where(valid, teacher, -1).flatten(1).argmax(1)
        assert labels.flatten(2)[range(2), :, most].tolist() == [[0, 1, 3]] * 2  # the published code: in none
    if by == "quantiles":
        counts = level.sum(2)
        assert (counts.amax(1) - counts.amin(1)).max() <= 1


def test_the_nearest_and_the_farthest_pixel_are_pulled():
    student, teacher, valid = case(1, size=(12, 16))
    for by in ("ranges", "quantiles"):
        said = student.clone().requires_grad_()
        hdn(said, teacher, valid, by=by).sum().backward()
        assert said.grad is not None
        for extreme in (teacher.where(valid, -1).flatten(1).argmax(1), teacher.where(valid, 9).flatten(1).argmin(1)):
            assert (said.grad.flatten(1)[range(2), extreme] != 0).all()


def test_medians_are_those_of_torch_and_of_a_set_alone():
    values = torch.randn(3, 101, generator=torch.Generator().manual_seed(0))
    sets = torch.rand(3, 4, 101, generator=torch.Generator().manual_seed(1)) < 0.4
    sets[0, 0], sets[1, 1] = True, False
    found = medians(values, sets)
    for image, number in np.ndindex(3, 4):
        own = values[image][sets[image, number]]
        assert found[image, number] == own.median() if len(own) else found[image, number].isfinite()


def test_tokens_are_compared_place_by_place_and_by_direction_alone():
    g = torch.Generator().manual_seed(0)
    a, b = (torch.randn(2, 7, 5, generator=g, dtype=torch.float64) for _ in range(2))
    expected = [
        1 - np.mean([x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(*pair, strict=True)])
        for pair in zip(a.numpy(), b.numpy(), strict=True)
    ]
    assert tokens(a, b).tolist() == pytest.approx(expected, rel=1e-9)
    assert tokens(3 * a, a).abs().max() < 1e-9 < 0.1 < tokens(a.roll(1, 1), a).min()  # all pairs' mean would not tell
    assert torch.autograd.gradcheck(lambda x: tokens(x, b), a.requires_grad_())
