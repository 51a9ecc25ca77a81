"""Several shard sets as one stream: shares exact at every sample, each set's epochs exact, the state one number."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from batches import bits
from hypothesis import given, settings
from hypothesis import strategies as st

from david.pack import DavidError, read
from david.pack.shards import manifest
from david.pipeline import reference
from david.pipeline.config import DataConfig
from david.pipeline.loader import Loader
from david.pipeline.reading import sets
from david.pipeline.sampling import mixture
from david.pipeline.sampling.augment import AugmentConfig

Tiny = Callable[[Path, list[int]], Path]
SIZES = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=4)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=7))
@settings(deadline=None, max_examples=200)
def test_after_any_sample_each_set_is_less_than_one_from_its_share(weights: list[int]) -> None:
    owners, before = mixture.turns(tuple(weights))
    period = sum(weights)
    assert len(owners) == period
    had = np.vstack([before, before[-1] + np.eye(len(weights), dtype=int)[owners[-1]]])
    assert had[-1].tolist() == weights
    assert (np.diff(had, axis=0) == np.eye(len(weights), dtype=int)[owners]).all()
    off = had * period - np.arange(period + 1)[:, None] * np.array(weights)
    assert np.abs(off).max() < period


def walk(config: DataConfig, counts: list[list[int]], seed: int) -> Iterator[tuple[int, int, int]]:
    """(set, epoch, id) of a mixture's samples, one after another, by counting: the slow twin."""
    weights = config.weights
    had, starts, n = [0] * len(weights), np.cumsum([0, *map(sum, counts)]), 0
    while True:
        ready = [k for k, w in enumerate(weights) if had[k] * sum(weights) < (n + 1) * w]
        owner = min(ready, key=lambda k: (-(-(had[k] + 1) * sum(weights) // weights[k]), k))
        size = sum(counts[owner])
        own = replace(config, weights=()).order([counts[owner]], 1, mixture.seed_of(seed, owner))
        place = own.batch(had[owner])
        assert had[owner] // size == place.epochs[0]
        yield owner, int(place.epochs[0]), int(starts[owner] + place.ids[0])
        had[owner] += 1
        n += 1


@given(SIZES, st.data())
@settings(deadline=None, max_examples=60)
def test_a_mixture_is_the_slow_twins_at_any_step_for_any_ranks(counts: list[list[int]], data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.integers(1, 6), min_size=len(counts), max_size=len(counts)))
    ranks, share = data.draw(st.sampled_from([1, 2, 3, 4, 8])), data.draw(st.sampled_from([1, 7, 16]))
    shuffle = data.draw(st.sampled_from(["full", "blocks"]))
    config = DataConfig(weights=tuple(weights), shuffle=shuffle, window=2)
    batch_size, seed = ranks * share, data.draw(st.integers(0, 2**64 - 1))
    order = config.order(counts, batch_size, seed)
    expected = list(islice(walk(config, counts, seed), 5 * batch_size))
    for step in (3, 0, 4, 1, 2):
        whole = config.order(counts, batch_size, seed).batch(step)
        shares = [whole.share(rank, ranks) for rank in range(ranks)]
        joined = [np.concatenate(part) for part in zip(*shares, strict=True)]
        told = expected[step * batch_size : (step + 1) * batch_size]
        assert whole.ids.tolist() == joined[0].tolist() == [one for _, _, one in told]
        assert whole.epochs.tolist() == [epoch for _, epoch, _ in told]
        assert whole.real.all()
        assert [part.tolist() for part in order.batch(step)] == [part.tolist() for part in whole]


@given(SIZES, st.data())
@settings(deadline=None, max_examples=40)
def test_each_set_walks_its_own_epochs_each_sample_once(counts: list[list[int]], data: st.DataObject) -> None:
    weights = tuple(data.draw(st.lists(st.integers(1, 5), min_size=len(counts), max_size=len(counts))))
    order = DataConfig(weights=weights).order(counts, 10, 0)
    places = [order.batch(step) for step in range(30)]
    ids, epochs = (np.concatenate([getattr(one, name) for one in places]) for name in ("ids", "epochs"))
    starts = np.cumsum([0, *map(sum, counts)])
    for k, weight in enumerate(weights):
        own = (ids >= starts[k]) & (ids < starts[k + 1])
        assert abs(own.sum() - 300 * weight / sum(weights)) < 1
        size = sum(counts[k])
        assert epochs[own].tolist() == [n // size for n in range(own.sum())]
        for epoch in range(own.sum() // size):
            assert sorted(ids[own & (epochs == epoch)]) == list(range(starts[k], starts[k + 1]))


def test_sets_of_one_size_are_not_shuffled_alike() -> None:
    order = DataConfig(weights=(1, 1)).order([[1000], [1000]], 2000, 0)
    ids = order.batch(0).ids
    first, second = ids[ids < 1000], ids[ids >= 1000] - 1000
    assert (first == second).sum() < 10
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1


def test_weights_are_shares_whatever_their_common_factor_and_bounded() -> None:
    assert DataConfig(weights=(30, 10)).order([[9], [5]], 4, 1).batch(7).ids.tolist() == (
        DataConfig(weights=(3, 1)).order([[9], [5]], 4, 1).batch(7).ids.tolist()
    )
    with pytest.raises(DavidError, match="sum up to 20001; round them"):
        DataConfig(weights=(20_000, 1)).order([[9], [5]], 4, 1)
    with pytest.raises(DavidError, match=r"data\.weights has 2 numbers for 1 shard sets"):
        DataConfig(weights=(2, 1)).order([[9]], 4, 1)
    with pytest.raises(DavidError, match="without samples in this split"):
        DataConfig(weights=(2, 1)).order([[9], []], 4, 1)
    with pytest.raises(DavidError, match="weights are 2, 0; each must be"):
        DataConfig(weights=(2, 0))


@pytest.fixture
def both(tiny: Tiny, tmp_path: Path) -> list[Path]:
    return [tiny(tmp_path / "one", [5, 4]), tiny(tmp_path / "two", [3, 3, 2])]


@pytest.mark.parametrize("weights", [(), (3, 2)])
def test_batches_of_several_sets_are_the_slow_twins_and_go_on_anywhere(
    both: list[Path], weights: tuple[int, ...]
) -> None:
    config = DataConfig(weights=weights, augment=AugmentConfig(0.5, 0, 0, 0, 0))
    how = {"batch_size": 4, "seed": 9}
    with Loader(both, "train", config, **how) as loader:
        batches = [next(loader) for _ in range(9)]
        assert (loader.samples, loader.state) == (17, 9)
    keys = [sample.key for folder in both for sample in read(folder)]
    stored = [sample for folder in both for sample in read(folder)]
    for step, batch in enumerate(batches):
        twin = reference.batch(both, "train", config, **how, step=step)
        assert bits(batch) == bits(twin)
        assert batch.sets.tolist() == [int(sample >= 9) for sample in batch.ids]
        for slot, sample in enumerate(batch.ids.tolist()):
            depth = batch.targets["depth"].value[slot, 0].float()
            found = (depth * batch.depth_scale_m[slot] + batch.depth_offset_m[slot]).numpy().sum()
            assert abs(found - stored[sample].depth_m.sum()) < 1e-3, keys[sample]
        with Loader(both, "train", config, **how, start=step) as resumed:
            assert torch.equal(next(resumed).image, batch.image)
    if not weights:  # one epoch over the union, then the next
        assert len({int(one) for batch in batches[:4] for one in batch.ids}) == 16


def test_the_fingerprint_knows_the_sets_their_order_and_weights(both: list[Path]) -> None:
    def fingerprint(shards: list[Path] | Path, weights: tuple[int, ...] = ()) -> str:
        with Loader(shards, "train", DataConfig(weights=weights), batch_size=4, seed=9) as loader:
            return loader.fingerprint

    found = [fingerprint(both), fingerprint(both[::-1]), fingerprint(both[0]), fingerprint(both, (1, 1))]
    assert len({*found, fingerprint(both, (2, 1))}) == 5
    assert fingerprint(both[:1]) == fingerprint(both[0])
    assert sets.load(both[0]).fingerprint == manifest.load(both[0]).fingerprint
