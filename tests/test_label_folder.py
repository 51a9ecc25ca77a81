"""Pictures without labels: any that can be predicted pack by themselves, and mix with sets that have truth."""

from pathlib import Path

import hostile_pictures as hostile
import numpy as np
import pytest
import torch
from batches import bits
from layouts import nyu
from smallest import SMALLEST

from david.model import build
from david.pack import DavidError, read
from david.pack.check.verify import verify
from david.pack.raw import photo
from david.pack.shards import manifest
from david.pack.sources import table
from david.pack.work import build as packing
from david.pack.work import plan
from david.pipeline import reference
from david.pipeline.loader import Loader
from david.train import recipes
from david.train.distributed import World
from david.train.journal import read as lines
from david.train.loop import train
from david.train.losses.table import TERMS
from david.train.recipe import override
from david.train.step.step import Step

RECIPE = override(
    recipes.recipe("smoke"),
    [*SMALLEST, "batch_size=6", "steps=4", "optim.warmup=1", "data.weights=3,2,1"],
)
FILES = {
    "upright.jpg": lambda: hostile.oriented(6, quality=98),
    "inks.jpeg": lambda: hostile.of("CMYK", "JPEG", quality=98),
    "deeper/turned.png": lambda: hostile.oriented(8, "PNG"),
    "deeper/palette.png": hostile.READ["palette.png"],
    "a.webp": lambda: hostile.of("RGB", "WEBP", quality=95),
    "b.BMP": lambda: hostile.of("RGB", "BMP"),
    "c.gif": hostile.READ["animated.gif"],
    "d.avif": hostile.READ["avif.avif"],
    "long.png": hostile.READ["one-row.png"],
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name, data in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data())
    (folder / ".DS_Store").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def unlabelled(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    shards = tmp_path_factory.mktemp("unlabelled") / "shards"
    packing.build(photos, shards, plan.PackOptions(val_fraction=0, shard_samples=4), workers=1)
    return shards


@pytest.fixture(scope="module")
def mixed(unlabelled: Path, figures: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures, drawn people with all fields, and rooms with a sensor's depth."""
    folder = tmp_path_factory.mktemp("rooms")
    nyu(folder / "raw", 4)
    source = table.chosen(folder / "raw")
    packing.build(folder / "raw", folder / "shards", plan.PackOptions(shard_samples=4), source=source, workers=1)
    return [unlabelled, figures, folder / "shards"]


def test_pictures_of_any_kind_pack_upright_without_a_word(photos: Path, unlabelled: Path) -> None:
    assert table.chosen(photos).name == "folder"
    assert [one.name for one in manifest.load(unlabelled).fields] == ["rgb"]
    assert verify(unlabelled, deep=True, workers=1)[1] == []
    found = {one.key: one.rgb for one in read(unlabelled)}
    assert len(found) == len(FILES)
    for name in FILES:
        key = name.replace("/", "-").rpartition(".")[0]
        seen = photo.decode(name, (photos / name).read_bytes(), 1 << 20)
        assert found[key].shape == seen.shape and np.abs(found[key].astype(int) - seen).mean() < 3, name
        assert key == "long" or np.abs(found[key].astype(int) - hostile.scene()).mean() < 12, name


@pytest.mark.parametrize("name", ["notes.txt", "a_depth.png", "depth/1.png", "rgb_0000001.png", "depth.exr", "a.tif"])
def test_a_folder_that_may_be_more_than_pictures_is_not_guessed(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(FILES["upright.jpg"]())
    assert table.chosen(tmp_path).name == "folder"
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"")
    assert table.chosen(tmp_path).name == "synthhuman"


def test_what_has_no_labels_is_invalid_in_a_mixture_and_teaches_nothing(mixed: list[Path]) -> None:
    with Loader(mixed, "train", RECIPE.data, batch_size=6, seed=0) as loader:
        batches = [next(loader) for _ in range(2)]
    twin = reference.batch(mixed, "train", RECIPE.data, batch_size=6, seed=0, step=1)
    assert {name: one for name, one in bits(batches[1]).items() if name != "image"} == {
        name: one for name, one in bits(twin).items() if name != "image"
    }
    for batch in batches:
        assert batch.sets.bincount().tolist() == [3, 2, 1]
        for number, has in enumerate([set(), {"alpha", "depth", "normals"}, {"depth"}]):
            for name, target in batch.targets.items():
                assert target.valid[batch.sets == number].any() == (name in has), (number, name)
        assert not any(one.value[batch.sets == 0].any() for one in batch.targets.values())
    torch.manual_seed(0)
    step = Step(build(RECIPE.model), RECIPE, World(0, 1, torch.device("cpu")))
    terms, counted = step.task(step.network, batches[0])
    assert not counted[:, batches[0].sets == 0].any() and not terms[:, batches[0].sets == 0].any()
    depth = [TERMS[name].head == "depth" for name in step.task.terms]
    assert counted[depth][:, batches[0].sets > 0].all()


def test_a_run_on_pictures_and_truth_goes_on_to_the_bit(mixed: list[Path], tmp_path: Path) -> None:
    train(RECIPE, mixed, tmp_path / "through", device="cpu", speaks=False)
    train(RECIPE, mixed, tmp_path / "broken", device="cpu", speaks=False, stop=2)
    train(RECIPE, mixed, tmp_path / "broken", device="cpu", speaks=False)
    one, other = (list(lines(tmp_path / name / "journal.jsonl")) for name in ("through", "broken"))
    assert [line["loss"] for line in one] == [line["loss"] for line in other] and len(one) == 4
    with pytest.raises(DavidError, match="which no shard set here has"):
        train(override(RECIPE, ["data.weights="]), mixed[0], tmp_path / "alone", device="cpu", speaks=False)
