"""Which samples a step trains on, and how they are augmented, are functions of seed, epoch and sample alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from david.pack.errors import DavidError
from david.pipeline.sampling import draws, order, philox
from david.pipeline.sampling.augment import AugmentConfig

ONES, PI = [0xFFFFFFFF] * 4, [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        (ONES, (0xFFFFFFFF, 0xFFFFFFFF), [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (PI, (0xA4093822, 0x299F31D0), [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
    ],
)
def test_philox_gives_random123s_known_answers(counter: list[int], key: tuple[int, int], expected: list[int]) -> None:
    both = philox.philox4x32(np.array([counter, ONES]), key)
    assert both[0].tolist() == expected
    assert (both[1].tolist() == expected) == (counter == ONES)


@given(st.integers(1, 3000), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_an_epochs_order_holds_every_sample_once(samples: int, seed: int, epoch: int) -> None:
    ids = order.permutation(samples, seed, epoch)(np.arange(samples))
    assert np.bincount(ids, minlength=samples).tolist() == [1] * samples


def test_a_position_is_computed_alone_as_among_others() -> None:
    whole = order.permutation(298_008, 5, 2)(np.arange(298_008))
    assert np.bincount(whole).max() == 1
    some = np.array([297_999, 0, 12_345, 12_345])
    assert order.permutation(298_008, 5, 2)(some).tolist() == whole[some].tolist()


def test_orders_of_seeds_and_epochs_are_unlike_each_other_and_the_stored_one() -> None:
    samples = 4001
    first, epoch, seed = (order.permutation(samples, *key)(np.arange(samples)) for key in ((0, 0), (0, 1), (1, 0)))
    for one, other in ((first, np.arange(samples)), (first, epoch), (first, seed)):
        assert (one == other).sum() <= 10  # 1 in the mean where nothing relates the two
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.06
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.06


def test_each_sample_reaches_each_place_of_small_orders_equally_often() -> None:
    samples, epochs = 6, 6000
    seen = np.zeros((samples, samples))
    for epoch in range(epochs):
        seen[np.arange(samples), order.permutation(samples, 3, epoch)(np.arange(samples))] += 1
    expected = epochs / samples
    chi_squared = ((seen - expected) ** 2 / expected).sum()
    assert chi_squared < 52.6  # 25 degrees of freedom, p = 0.001


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("share", [1, 7, 16])
@pytest.mark.parametrize("last_batch", ["drop", "pad"])
def test_an_epoch_covers_its_samples_once_for_any_ranks(ranks: int, share: int, last_batch: order.LastBatch) -> None:
    samples, batch_size = 1003, ranks * share
    steps = order.Order(samples, batch_size, 7, shuffle=True, last_batch=last_batch)
    expected = order.permutation(samples, 7, 1)(np.arange(samples))
    seen: list[int] = []
    for step in range(steps.batches_per_epoch, 2 * steps.batches_per_epoch):
        whole = steps.batch(step)
        slices = [whole.share(rank, ranks) for rank in range(ranks)]
        assert {len(one.ids) for one in slices} == {share}
        for part, joined in zip(whole, map(np.concatenate, zip(*slices, strict=True)), strict=True):
            assert part.tolist() == joined.tolist()
        assert set(whole.epochs) == {1}
        seen += whole.ids[whole.real].tolist()
    covered = samples if last_batch == "pad" else samples - samples % batch_size
    assert seen == expected[:covered].tolist()


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(1, 12), st.integers(0, 9))
@settings(deadline=None, max_examples=60)
def test_blocks_hold_every_sample_once_and_mix_a_window_at_a_time(shards: list[int], window: int, epoch: int) -> None:
    samples = sum(shards)
    ids = order.blocks(tuple(shards), window, 3, epoch)(np.arange(samples))
    assert np.bincount(ids, minlength=samples).tolist() == [1] * samples
    assert [int(order.blocks(tuple(shards), window, 3, epoch)(np.array([one]))[0]) for one in (0, samples - 1)] == [
        ids[0],
        ids[-1],
    ]
    of = np.repeat(np.arange(len(shards)), shards)[ids]  # the shard of each sample, in the epoch's order
    spans = [np.flatnonzero(of == shard) for shard in range(len(shards))]
    for shard, span in enumerate(spans):
        beside = {int(other) for other in of[span[0] : span[-1] + 1]}
        assert shard in beside and len(beside) <= window


def entropy(kinds: np.ndarray) -> float:
    """Mean bits of the kinds in batches (batches, B)."""
    shares = np.stack([(kinds == kind).mean(axis=1) for kind in range(3)])
    return float(-(shares * np.log2(np.where(shares > 0, shares, 1))).sum(axis=0).mean())


def test_windows_mix_even_sorted_shards_as_well_as_told() -> None:
    sizes, found = (5000,) * 60, {}
    for window in (0, 4, 8, 16):
        steps = order.Order(300_000, 96, 0, shuffle=True, last_batch="drop", shards=sizes, window=window)
        kinds = np.stack([steps.batch(step).ids // 100_000 for step in range(0, steps.batches_per_epoch, 10)])
        found[window] = entropy(kinds)
    assert order.__doc__ is not None
    for value in found.values():
        assert f"{value:.2f}" in order.__doc__, found


def test_padding_marks_its_copies_even_where_the_batch_is_larger_than_the_split() -> None:
    places = order.Order(5, 12, 0, shuffle=False, last_batch="pad").batch(0)
    assert places.ids.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    assert places.real.tolist() == [True] * 5 + [False] * 7


def test_impossible_orders_are_refused_with_both_numbers() -> None:
    with pytest.raises(DavidError, match=r"12 samples.* 5 of the split"):
        order.Order(5, 12, 0, shuffle=True, last_batch="drop")
    with pytest.raises(DavidError, match=r"12 can't be shared by 5 ranks"):
        order.Order(50, 12, 0, shuffle=True, last_batch="drop").batch(0).share(0, 5)
    with pytest.raises(DavidError, match="seed -1"):
        order.Order(50, 12, -1, shuffle=True, last_batch="drop")


def test_a_samples_draws_depend_on_seed_epoch_and_sample_alone() -> None:
    augment = AugmentConfig()
    ids, epochs = np.arange(40), np.repeat([0, 3], 20)
    together = draws.draw(9, epochs, ids, augment)
    for slot in (0, 19, 39):
        alone = draws.draw(9, epochs[slot : slot + 1], ids[slot : slot + 1], augment)
        assert alone.flip[0] == together.flip[slot]
        assert alone.colour[0].tobytes() == together.colour[slot].tobytes()
    for seed, epoch, sample in ((8, 0, 0), (9, 1, 0), (9, 0, 1)):
        other = draws.draw(seed, np.array([epoch]), np.array([sample]), augment)
        assert (other.colour[0] != together.colour[0]).any()


def test_draws_fill_their_ranges_evenly() -> None:
    ids = np.arange(20_000)
    flips = draws.draw(1, np.zeros_like(ids), ids, AugmentConfig(flip=0.25)).flip
    assert abs(flips.mean() - 0.25) < 0.015
    brightness = draws.draw(1, np.zeros_like(ids), ids, AugmentConfig(0, 0.4, 0, 0, 0)).colour[:, 0, 0]
    counts = np.histogram(brightness, 10, (0.6, 1.4))[0]
    assert counts.sum() == len(ids)
    assert (abs(counts - 2000) < 200).all()


def test_what_is_off_changes_nothing_to_the_bit() -> None:
    ids = np.arange(100)
    drawn = draws.draw(1, np.zeros_like(ids), ids, AugmentConfig(0, 0, 0, 0, 0))
    assert not drawn.flip.any()
    assert drawn.colour.tobytes() == draws.none(100).colour.tobytes()
    assert not drawn.recoloured().any()
    assert not drawn.degraded().any()
    assert (drawn.kept == 1).all() and not drawn.angle.any()


@given(st.floats(0.5, 1.5), st.floats(0.5, 1.5), st.floats(0, 2), st.floats(-0.5, 0.5))
@settings(deadline=None, max_examples=50)
def test_the_colour_map_is_the_four_changes_one_after_another(
    brightness: float, contrast: float, saturation: float, hue: float
) -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (50, 3))
    changed = pixels * brightness
    changed = (changed - 127.5) * contrast + 127.5
    luma = changed @ [0.299, 0.587, 0.114]
    changed = luma[:, None] + saturation * (changed - luma[:, None])
    y, i, q = draws.RGB_TO_YIQ @ changed.T
    turned = (i + 1j * q) * np.exp(2j * np.pi * hue)
    changed = (draws.YIQ_TO_RGB @ [y, turned.real, turned.imag]).T

    matrix = draws.colour_matrices(*(np.array([factor]) for factor in (brightness, contrast, saturation, hue)))[0]
    np.testing.assert_allclose(pixels @ matrix[:, :3].T + matrix[:, 3], changed, atol=2e-3)


def test_hue_turns_colours_and_leaves_greys_and_luma() -> None:
    one = np.ones(1)
    matrix = draws.colour_matrices(one, one, one, np.array([1 / 3]))[0]
    np.testing.assert_allclose(matrix @ [90, 90, 90, 1], [90, 90, 90], atol=0.01)
    turned = matrix @ [180, 60, 60, 1]
    assert turned.argmax() != 0
    np.testing.assert_allclose(draws.LUMA @ turned, draws.LUMA @ [180, 60, 60], atol=0.01)
