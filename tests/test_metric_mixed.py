"""NYU Depth V2 and SUN RGB-D train together in metres, each with its own holes: stopped, resumed, shared by ranks, and
from an official file."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from depth_anything_file import TINY, drawn
from layouts import nyu, sunrgbd
from safetensors.torch import load_file

from david.model import build, official, weights
from david.model.config import configure
from david.pack.errors import DavidError
from david.pack.work import build as packing
from david.pack.work import plan
from david.pipeline.loader import Loader
from david.train import distributed, recipes, shelf
from david.train.distributed import World
from david.train.journal import read
from david.train.loop import train
from david.train.recipe import override
from david.train.start import Start
from david.train.step.step import Step

pytestmark = pytest.mark.usefixtures("warm")
RECIPE = override(
    replace(recipes.recipe("metric-smoke"), model=configure("da2-zoe-smoke")),
    [
        *("data.height=28", "data.width=42", "data.weights=2,1", "batch_size=4", "steps=6", "optim.warmup=2"),
        *("checkpoint_every=2", "model.max_depth=6", "parallel=exact"),
    ],
)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("mixed")
    sets = []
    for name, write in (("nyu", nyu), ("sunrgbd", sunrgbd)):
        raw, shards = folder / name, folder / f"{name}-shards"
        write(raw, 8, seed=len(name))
        packing.build(raw, shards, plan.PackOptions(shard_samples=4), source=_source(raw), workers=1)
        sets.append(shards)
    return sets


def _source(raw: Path):
    from david.pack.sources import table

    return table.chosen(raw)


def weights_of(run: Path, step: int = 6) -> dict[str, torch.Tensor]:
    return load_file(shelf.path_of(run / "checkpoints", step) / shelf.MODEL)


def test_a_mixture_in_metres_goes_on_to_the_bit_on_one_rank_and_on_two(mixed: list[Path], tmp_path: Path):
    how = {"recipe": RECIPE, "shards": mixed, "device": "cpu", "speaks": False}
    train(out=tmp_path / "through", **how)
    train(out=tmp_path / "broken", stop=2, **how)
    distributed.launch(2, train, out=tmp_path / "broken", stop=4, **how)
    train(out=tmp_path / "broken", **how)
    one, other = (list(read(tmp_path / name / "journal.jsonl")) for name in ("through", "broken"))
    assert [line["loss"] for line in one] == [line["loss"] for line in other] and len(one) == 6
    assert all(line[name] > 0 for line in one for name in ("metric_zoe_silog", "metric_zoe_gradient"))
    ours, theirs = weights_of(tmp_path / "through"), weights_of(tmp_path / "broken")
    assert ours.keys() == theirs.keys() and all(ours[name].equal(theirs[name]) for name in ours)


def test_both_sets_teach_metres_each_where_it_is_valid_and_within_reach(mixed: list[Path]):
    with Loader(mixed, "train", RECIPE.data, batch_size=12, seed=0) as loader:
        batch = next(loader)
    assert set(batch.sets.tolist()) == {0, 1}
    shares = [batch.targets["depth"].valid[batch.sets == number].float().mean().item() for number in (0, 1)]
    assert all(0.5 < share < 1 for share in shares) and shares[0] != shares[1]
    torch.manual_seed(0)
    step = Step(build(RECIPE.model), RECIPE, World(0, 1, torch.device("cpu")))
    terms, counted = step.task(step.network, batch)
    assert counted.all() and (terms > 0).all()
    far = batch.depth_offset_m + batch.depth_scale_m > 6  # metres, which this network can't say
    assert far.any()
    moved = batch.targets["depth"].value.clone()
    metres = moved.float() * batch.depth_scale_m.view(-1, 1, 1, 1) + batch.depth_offset_m.view(-1, 1, 1, 1)
    beyond = metres > 6.001
    batch.targets["depth"].value[beyond] *= 0.999  # still beyond
    again, _ = step.task(step.network, batch)
    assert torch.equal(terms, again)


SIZES = {name: ",".join(map(str, value)) if isinstance(value, tuple) else value for name, value in TINY.items()}
KIND = "da2-vits," + ",".join(f"{name}={value}" for name, value in SIZES.items())
GUIDE = override(
    recipes.recipe("da2-zoe-guide"),
    [
        *("model.backbone=vit_small_patch14_dinov2", *(f"model.{name}={value}" for name, value in SIZES.items())),
        *("data.height=28", "data.width=42", "data.threads=1", "steps=4", "optim.every=2", "picture_every=0"),
    ],
)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A relative file in Depth Anything V2's names."""
    path = tmp_path_factory.mktemp("published") / "da2.pth"
    torch.save(drawn(0), path)
    return path


def test_the_guides_recipe_goes_on_from_an_official_file_with_a_frozen_encoder_or_at_a_tenth(
    mixed: list[Path], published: Path, tmp_path: Path
):
    begin = Start(Path(f"{published}@{KIND}"))
    begin.check()
    (said,) = begin.fill(build(GUIDE.model), GUIDE)
    assert "of the network's parameters from" in said and "missing: pyramid.projects.0.weight" in said
    assert "misshapen" not in said and "unexpected: pyramid.taps.0" in said
    how = {"shards": mixed, "device": "cpu", "speaks": False}
    train(GUIDE, out=tmp_path / "through", begin=begin, **how)
    train(GUIDE, out=tmp_path / "broken", begin=begin, stop=2, **how)
    train(GUIDE, out=tmp_path / "broken", begin=begin, **how)
    through, broken = (weights_of(tmp_path / name, 4) for name in ("through", "broken"))
    assert all(through[name].equal(broken[name]) for name in through)
    began = official.read(published, configure("da2-vits", **TINY))
    trunk = [name for name in began if name.startswith("backbone.")]
    assert all(through[name].equal(began[name]) for name in trunk)
    lines = list(read(tmp_path / "through" / "journal.jsonl"))
    assert [line["rate"] for line in lines] == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5])
    free = override(GUIDE, ["optim.frozen_backbone=false", "steps=1"])
    train(free, out=tmp_path / "free", begin=begin, **how)
    moved = weights_of(tmp_path / "free", 1)
    for part, rate in (("backbone.", 1e-5), ("head.narrow.", 1e-4)):  # AdamW's first step is as long as the rate
        far = max(float((moved[name] - began[name]).abs().max()) for name in began if name.startswith(part))
        assert far == pytest.approx(rate, rel=0.02), part


def test_a_relative_file_gives_a_metric_network_all_but_what_says_disparity(published: Path):
    metric = build("da2-vits-metric", **TINY)
    with pytest.raises(DavidError, match="don't tell what it is: give a kind, such as da2-vitl for relative"):
        weights.load_whole(metric, published)
    report = weights.load_whole(metric, published, configure("da2-vits", **TINY))
    assert report.missing == ("head.last.weight", "head.last.bias") and not report.unexpected
    same = weights.load_whole(build("da2-vits", **TINY), published, configure("da2-vits", **TINY))
    assert same.share == 1
    with pytest.raises(DavidError, match="--from .*no.pth@da2-vits: no such file or folder"):
        Start(Path(f"{published.parent}/no.pth@da2-vits")).check()
