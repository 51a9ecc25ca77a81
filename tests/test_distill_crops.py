"""Where teacher and student look: as drawn by a slow twin, exact to the pixel in both frames, and by nothing else."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_metric_losses import batch_of, rooms

from david.pipeline.sampling import philox
from david.train.distill import crops
from david.train.distill.teachers import drawn
from david.train.distill.words import words

SEED, SIZE = 2**63 + 12345, (112, 168)
IDS, EPOCHS = torch.tensor([0, 7, 2**32 - 1, 70_000]), torch.tensor([0, 3, 2**31, 2**32 - 1])


def twin(seed: int, epoch: int, sample: int, size: tuple[int, int], least: int, side: int, shrink: int):
    """A sample's square and window, (top, left, side) each, one after the other in whole numbers."""
    first, second, third, fourth = (int(word) for word in philox.words(seed, sample, 0, epoch, crops.PURPOSE))
    chosen = least + (first * (min(size) - least + 1) >> 32)
    square = (second * (size[0] - chosen + 1) >> 32, third * (size[1] - chosen + 1) >> 32, chosen)
    starts = []
    for length in size:
        number = 1 if length == side else length // side + 1
        starts.append([(length - side) * k // max(1, number - 1) // shrink * shrink for k in range(number)])
    pairs = [(top, left) for top in starts[0] for left in starts[1]]
    return square, (*pairs[fourth * len(pairs) >> 32], side), pairs


def slow_crop(image: np.ndarray, top: int, left: int, side: int, size: int) -> np.ndarray:
    """(H, W, C) to (size, size, C): each pixel the mean of the square's, weighed by a triangle, an axis at a time."""
    part = image[top : top + side, left : left + side].astype(np.float64)
    for _ in range(2):
        rows, scale = [], side / size
        for i in range(size):
            weights = np.array([max(0, 1 - abs(j + 0.5 - (i + 0.5) * scale) / max(1, scale)) for j in range(side)])
            rows.append(np.tensordot(weights / weights.sum(), part, 1))
        part = np.stack(rows).swapaxes(0, 1)
    return np.rint(part)


def test_words_on_a_device_are_those_of_the_loader():
    for seed in (0, 1, SEED, 2**64 - 1):
        expected = philox.words(seed, IDS.numpy(), 5, EPOCHS.numpy(), crops.PURPOSE)
        assert np.array_equal(words(seed, IDS, 5, EPOCHS, crops.PURPOSE).numpy().T, expected)


def test_squares_and_windows_are_those_of_the_slow_twin_and_of_the_sample_alone():
    square = crops.shared(SEED, EPOCHS, IDS, SIZE, 70)
    window = crops.window(SEED, EPOCHS, IDS, SIZE, 56, 2)
    for place, (epoch, sample) in enumerate(zip(EPOCHS.tolist(), IDS.tolist(), strict=True)):
        ours = [tuple(int(part[place]) for part in one) for one in (square, window)]
        assert ours == list(twin(SEED, epoch, sample, SIZE, 70, 56, 2)[:2])
    turned = crops.shared(SEED, EPOCHS.flip(0), IDS.flip(0), SIZE, 70)
    assert all(torch.equal(a, b.flip(0)) for a, b in zip(square, turned, strict=True))
    assert not torch.equal(square.top, crops.shared(SEED + 1, EPOCHS, IDS, SIZE, 70).top)


def test_squares_take_all_sizes_and_stay_within_and_windows_overlap_and_cover():
    ids = torch.arange(4000)
    square = crops.shared(1, ids * 0, ids, SIZE, 70)
    assert (square.side.min(), square.side.max()) == (70, 112)
    assert square.top.min() == 0 == square.left.min()
    assert (square.top + square.side).max() == 112 and (square.left + square.side).max() == 168
    window = crops.window(1, ids * 0, ids, SIZE, 56, 2)
    found = sorted(set(zip(window.top.tolist(), window.left.tolist(), strict=True)))
    assert found == sorted(twin(1, 0, 0, SIZE, 70, 56, 2)[2]) and len(found) == 3 * 4
    for length, starts in zip(SIZE, (sorted({a for a, _ in found}), sorted({b for _, b in found})), strict=True):
        assert starts[0] == 0 and starts[-1] + 56 == length and all(start % 2 == 0 for start in starts)
        assert all(after - before < 56 for before, after in itertools.pairwise(starts))


def test_a_crop_is_resized_as_the_slow_twin_does_it_and_a_slice_to_the_bit_where_nothing_is_resized():
    image = torch.randint(0, 256, (2, 3, 40, 50), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    square = crops.Square(torch.tensor([3, 0]), torch.tensor([5, 10]), torch.tensor([37, 40]))
    for size in (28, 37, 56):
        found = crops.cropped(image, square, size)
        for place in range(2):
            top, left, side = (int(part[place]) for part in square)
            expected = slow_crop(image[place].permute(1, 2, 0).numpy(), top, left, side, size)
            assert np.abs(found[place].permute(1, 2, 0).numpy() - expected).max() <= 1
            assert (found[place].permute(1, 2, 0).numpy() != expected).mean() < 5e-3  # ties
            if side == size:
                assert torch.equal(found[place], image[place, :, top : top + side, left : left + side])


def test_a_window_is_the_same_pixels_in_the_students_frame():
    image = torch.randint(0, 256, (4, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    window = crops.window(SEED, EPOCHS, IDS, SIZE, 56, 2)
    for values in (image, image.float() / 7):
        whole = crops.shrunk(values, 2)
        assert whole.dtype == values.dtype
        ours = crops.cut(whole.float(), window.smaller(2), 28)
        theirs = crops.shrunk(crops.cut(values.float(), window, 56).to(values.dtype), 2)
        assert torch.equal(ours, theirs.float())


def test_targets_are_cut_to_the_nearest_pixel_and_keep_their_holes():
    _, depth, valid = rooms(dtype=torch.float32, size=(20, 30))
    batch = replace(batch_of(depth, valid))
    square = crops.Square(torch.tensor([2, 0]), torch.tensor([7, 10]), torch.tensor([16, 20]))
    found = crops.targets(batch, square, 8)["depth"]
    for place in range(2):
        top, left, side = (int(part[place]) for part in square)
        at = [int((i + 0.5) * side / 8) for i in range(8)]
        for one, whole in ((found.value, batch.targets["depth"].value), (found.valid, valid)):
            part = whole[place, 0, top : top + side, left : left + side]
            assert torch.equal(one[place, 0], part[at][:, at])


@pytest.mark.parametrize("odds", [(1,), (7, 3), (1, 1, 2)])
def test_teachers_are_drawn_by_their_odds_from_seed_and_step_alone(odds: tuple[int, ...]):
    found = np.bincount([drawn(5, step, odds) for step in range(2000)], minlength=len(odds)) / 2000
    assert np.abs(found - np.array(odds) / sum(odds)).max() < 0.035
    if len(odds) > 1:
        assert [drawn(5, n, odds) for n in range(50)] != [drawn(6, n, odds) for n in range(50)]
