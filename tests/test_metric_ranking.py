"""Pairs of points from the shards to a loss: where they lie in each batch, and what they teach."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from layouts import da2k

from david.model import build
from david.pack import DavidError, Sample
from david.pack.shards import manifest, shard
from david.pack.shards.schema import RGB
from david.pack.sources import table
from david.pack.work import plan
from david.pack.work.build import build as build_shards
from david.pipeline import reference
from david.pipeline.config import DataConfig
from david.pipeline.loader import Loader
from david.pipeline.sampling.augment import AugmentConfig
from david.train import recipes, run
from david.train.distributed import World
from david.train.losses.ranking import at_points, ranking
from david.train.recipe import override
from david.train.step.step import Step

MOVED = AugmentConfig(flip=0.5, brightness=0, contrast=0, saturation=0, hue=0, crop=0.3, turn=20)
PAIRS = [[[3, 4, 20, 25], [30, 2, 5, 38]], [], [[12, 7, 33, 21]], [[8, 8, 9, 30], [1, 1, 20, 2], [22, 22, 23, 3]]]


def dots(number: int, pairs: list[list[int]]) -> Sample:
    """A picture whose every other point of a pair is red, whose nearer ones are green, three pixels wide."""
    rgb = np.full((40, 48, 3), 40, np.uint8)
    for row, column, other_row, other_column in pairs:
        for r, c, channel in ((row, column, 1), (other_row, other_column, 0)):
            rgb[max(0, r - 1) : r + 2, max(0, c - 1) : c + 2, channel] = 250
    return Sample(f"{number:04}", rgb, meta={"pairs": pairs, "scene_type": "indoor"})


def write(folder: Path, drawn: list, source: str = "da2k", **told: object) -> Path:
    """told: of each sample's meta, in place of what is drawn"""
    folder.mkdir(parents=True)
    made = []
    for number, each in enumerate(drawn):
        one = dots(number, each)
        one.meta.update(told)
        made.append((one.key, shard.encode(one, "webp", "lz4", (RGB,))))
    listed = shard.write(folder / "train-000000.tar", made, "webp", "lz4", (RGB,))
    options = {"image": "webp", "compression": "lz4", "source": source}
    manifest.Manifest(folder, options, {"train": (listed,)}, fields=(RGB,)).write()
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("pairs") / "shards", PAIRS)


def batches(shards: Path, config: DataConfig, count: int = 4):
    with Loader(shards, "train", config, batch_size=3, seed=0) as loader:
        return [next(loader) for _ in range(count)]


def test_points_move_with_their_pixels_and_as_the_slow_twin_has_them(shards: Path):
    config = DataConfig(height=40, width=48, augment=MOVED)
    green = red = 0
    for step, batch in enumerate(batches(shards, config, 8)):
        twin = reference.batch(shards, "train", config, batch_size=3, seed=0, step=step)
        torch.testing.assert_close(batch.pairs, twin.pairs, rtol=0, atol=1e-3, equal_nan=True)
        most = max(len(PAIRS[sample]) for sample in batch.ids.tolist())
        assert batch.pairs.shape == (3, most, 2, 2)
        for image, pairs, sample in zip(batch.image, batch.pairs, batch.ids.tolist(), strict=True):
            assert pairs.isfinite().all(-1).all(-1).sum() == len(PAIRS[sample])
            for nearer, other in pairs[: len(PAIRS[sample])].tolist():
                for (column, row), channel in ((nearer, 1), (other, 0)):
                    if 1 <= column < 47 and 1 <= row < 39:
                        assert image[channel, int(row), int(column)] > 150
                        green, red = green + channel, red + 1 - channel
    assert green > 5 and red > 5


def test_the_loss_is_that_of_chen_and_pulls_pairs_apart():
    g = torch.Generator().manual_seed(0)
    prediction = torch.randn((2, 1, 6, 7), generator=g, dtype=torch.float64)
    none = [[math.nan] * 2] * 2
    pairs = torch.tensor(
        [[[[1.5, 2.5], [6.5, 0.5]], [[0.5, 5.5], [3.5, 3.5]]], [[[2.5, 2.5], [3.5, 2.5]], none]],
    )
    valid = torch.tensor([[True, True], [True, False]])
    found = ranking(prediction, pairs, valid)
    for image in range(2):
        losses = []
        for nearer, other in pairs[image][valid[image]].tolist():
            p, q = (prediction[image, 0, int(row), int(column)].item() for column, row in (nearer, other))
            losses.append(math.log(1 + math.exp(q - p)))
        assert found[image].item() == pytest.approx(sum(losses) / len(losses), rel=1e-12)
    assert torch.autograd.gradcheck(lambda p: ranking(p, pairs, valid), prediction.requires_grad_())
    (gradient,) = torch.autograd.grad(ranking(prediction, pairs, valid)[1], prediction)
    assert gradient[1, 0, 2, 2] < 0 < gradient[1, 0, 2, 3] and gradient.count_nonzero() == 2
    assert ranking(prediction, pairs, valid & False).tolist() == [0, 0]
    assert at_points(prediction, pairs[:, :0]).shape == (2, 0, 2)
    assert ranking(prediction, pairs[:, :0], valid[:, :0]).tolist() == [0, 0]


ONLY = [f"objective.metric_{name}=0" for name in ("zoe_silog", "zoe_gradient", "da2_silog")]


def test_pairs_alone_teach_a_network_their_order(shards: Path):
    size = ["batch_size=3", "data.height=42", "data.width=42", "steps=30", "optim.warmup=2"]
    recipe = override(recipes.recipe("metric-smoke"), [*size, *ONLY, "objective.metric_ranking=1"])
    run.check(recipe, shards, None, 1)
    torch.manual_seed(0)
    step = Step(build(recipe.model), recipe, World(0, 1, torch.device("cpu")))
    with Loader(shards, "train", recipe.data, batch_size=3, seed=0) as loader:
        batch = next(loader)
    losses = [step(batch, number).losses.item() for number in range(1, 31)]
    assert losses[-1] < 0.7 * losses[0] > 0.3


def test_pairs_that_no_set_has_and_that_are_none_are_refused(shards: Path, tmp_path: Path):
    recipe = override(recipes.recipe("metric-smoke"), ["objective.metric_ranking=1", "batch_size=2"])
    plain = write(tmp_path / "plain", PAIRS, source="folder")
    with pytest.raises(DavidError, match="learns from the field depth, which no shard set"):
        run.check(recipe, shards, None, 1)
    only = override(recipe, ONLY)
    run.check(only, shards, None, 1)
    with pytest.raises(DavidError, match="learns from the field pairs, which no shard set"):
        run.check(only, plain, None, 1)
    for number, wrong in enumerate(({"a": 1}, [[1, 2, 3]], [[1, 2, 3, "x"]], [[1, 2, 3, 10**30]], [[1, 2, 3, -4]])):
        bad = write(tmp_path / str(number), PAIRS, pairs=wrong)
        with pytest.raises(DavidError, match=r"tells pairs that are not \[row, column, row, column\]"):
            batches(bad, DataConfig(height=40, width=48), 1)


def test_da2k_packs_to_be_trained_on_and_its_pairs_reach_a_batch(tmp_path: Path):
    raw = da2k(tmp_path / "raw")
    for split in ("test", "train"):
        source = table.chosen(raw, None, {"pairs_split": split})
        build_shards(raw, tmp_path / split, plan.PackOptions(), source=source, workers=1)
        with Loader(tmp_path / split, split, DataConfig(height=40, width=48), batch_size=2, seed=0) as loader:
            assert next(loader).pairs.isfinite().any()
    with pytest.raises(DavidError, match="--pairs-split is `val`, but can only be test or train"):
        table.chosen(raw, None, {"pairs_split": "val"})
