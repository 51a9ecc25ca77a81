"""`SHARDS+SIDECAR`: labels of a folder of their own reach the batches of their set row by row, on every engine, and all
else is as without them."""

from pathlib import Path

import labelling
import pytest
import torch
from batches import bits
from smallest import SMALLEST
from test_pipeline_cache import serving
from test_pipeline_fields import MOVES, SENSOR, on_cpu, on_dali, packed, require_same

from david.pack import DavidError
from david.pack.shards import manifest
from david.pipeline import reference
from david.pipeline.config import DataConfig
from david.pipeline.loader import Loader
from david.pipeline.reading import sets
from david.pipeline.sampling.augment import AugmentConfig
from david.train import recipes, run
from david.train.journal import read
from david.train.loop import train
from david.train.recipe import override
from david.train.record import past

CONFIG = DataConfig(height=48, width=36, augment=MOVES, threads=2)


@pytest.mark.parametrize("ends", ["{}+", "+{}", "{}++{}"])
def test_a_plus_with_nothing_beside_it_is_refused(ends: str, figures: Path) -> None:
    with pytest.raises(DavidError, match=r"nothing stands on one side of a \+; write SHARDS\+SIDECAR"):
        sets.load(ends.format(figures, figures))


@pytest.fixture(scope="module")
def joined(figures: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"{figures}+{labelling.labels(figures, tmp_path_factory.mktemp('labels') / 'out')}"


@pytest.fixture(scope="module")
def sensor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = [(40, 56), (64, 48), (50, 50), (30, 70)]
    return packed(tmp_path_factory.mktemp("sensor") / "shards", SENSOR, sizes, 2, "jpeg")


@pytest.mark.parametrize("engine", ["cpu", "dali"])
def test_a_mixture_of_a_set_with_labels_and_another_is_the_slow_twins(engine: str, joined: str, sensor: Path) -> None:
    """The twin finds each sample's labels by its key, the loader by its row."""
    folders = [Path(joined), sensor]
    for fit in ("cover", "contain") if engine == "cpu" else ("contain",):
        config = DataConfig(height=48, width=36, augment=MOVES, weights=(3, 1), fit=fit, threads=2)
        for step in range(3 if engine == "cpu" else 1):
            batch = on_cpu(folders, config, step) if engine == "cpu" else on_dali(folders, config, step, (48, 36))
            twin = reference.batch(folders, "train", config, batch_size=4, seed=5, step=step)
            require_same(batch, twin, turned=True)
            taught = batch.targets["teacher_depth"]
            assert taught.value.dtype == torch.float32 and taught.value.shape == (4, 1, 48, 36)
            assert batch.sets.bincount().tolist() == [3, 1]
            assert [bool(one.any()) for one in taught.valid] == [number == 0 for number in batch.sets.tolist()]
            assert not taught.value[~taught.valid].any()


def test_labels_lie_on_their_images_and_all_else_is_as_without_them(joined: str, figures: Path) -> None:
    """The teacher says ten times what it sees of red, on pictures of 32 pixels."""
    config = DataConfig(augment=AugmentConfig(0.5, 0, 0, 0, 0), threads=2)
    with (
        Loader(joined, "train", config, batch_size=6, seed=3) as ours,
        Loader(figures, "train", config, batch_size=6, seed=3) as theirs,
    ):
        assert ours.fingerprint != theirs.fingerprint
        for _ in range(6):
            with_labels, without = next(ours), next(theirs)
            taught, seen = with_labels.targets.pop("teacher_depth"), with_labels.image[:, :1].float() / 25.5
            assert taught.valid.all() and (taught.value - seen).abs().mean() < 0.25
            assert (taught.value - seen.flip(3)).abs().mean() > 0.3
            assert bits(with_labels) == bits(without)


def test_a_loader_of_labels_goes_on_anywhere_to_the_bit(joined: str, sensor: Path) -> None:
    for config in (CONFIG, DataConfig(height=48, width=36, weights=(2, 1), shuffle="blocks", window=2, threads=2)):
        with Loader([joined, sensor], "train", config, batch_size=4, seed=5) as loader:
            through = [bits(next(loader)) for _ in range(9)]
        with Loader([joined, sensor], "train", config, batch_size=4, seed=5, start=6) as loader:
            assert [bits(next(loader)) for _ in range(3)] == through[6:]
        for rank in range(2):
            with Loader([joined, sensor], "train", config, batch_size=4, seed=5, rank=rank, world_size=2) as loader:
                share = next(loader).ids.numpy().tobytes()
                assert through[0]["ids"][16 * rank : 16 * rank + 16] == share


def test_sets_and_labels_at_addresses_give_the_same_batches_from_a_small_cache(joined: str, tmp_path: Path) -> None:
    config = DataConfig(height=48, width=36, shuffle="blocks", window=1, threads=2)
    base, side = (Path(one) for one in sets.parts(joined))
    shards = [one for folder in (base, side) for one in manifest.load_any(folder).splits["train"]]
    with serving(base) as ours, serving(side) as theirs:
        gb = 4 * max(one.bytes for one in shards) / 1e9
        (folder,) = sets.located([f"{ours.url}+{theirs.url}"], tmp_path / "cache", gb)
        noted = sets.places(folder)
        assert sets.at(noted) == (folder,) and [*noted[0]["sidecars"][0]] == ["url", "cache", "limit_bytes"]
        batches = []
        for name in (folder, joined):
            with Loader(name, "train", config, batch_size=6, seed=3) as loader:
                batches.append([bits(next(loader)) for _ in range(9)])
        assert batches[0] == batches[1]
        asked = {name for server in (ours, theirs) for name in server.asked}
        assert {f"{one.name}.tar" for one in shards} <= asked
    with pytest.raises(DavidError, match=r"kept on a local disk .* add --cache FOLDER"):
        sets.located([f"{base}+http://127.0.0.1:1"], None, 1)


def test_a_plus_in_a_folders_name_is_a_plus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "a+b", "c+d", "s"):
        Path(name).mkdir()
    asked = {
        "a": ["a"],
        "a+b": ["a+b"],
        "a+s": ["a", "s"],
        "a+c+d": ["a", "c+d"],
        "c+d+s": ["c+d", "s"],
        "a+nowhere": ["a", "nowhere"],
        "c+d+s+a": ["c+d", "s", "a"],
        "s3://x/y+z": ["s3://x/y+z"],
        "s3://x/y+s": ["s3://x/y", "s"],
        "s3://x/y+s3://z": ["s3://x/y", "s3://z"],
        "a+s3://z+w": ["a", "s3://z+w"],
        "nowhere+s": ["nowhere+s"],
    }
    assert {name: sets.parts(name) for name in asked} == asked


def test_a_run_notes_its_labels_finds_them_again_and_takes_no_others(
    joined: str, figures: Path, sensor: Path, tmp_path: Path
) -> None:
    recipe = override(recipes.recipe("smoke"), [*SMALLEST, "batch_size=4", "steps=4", "optim.warmup=1"])
    recipe = override(recipe, ["data.weights=2,1"])
    both = (Path(joined), sensor)
    assert run.fields_of(sets.load(both)) == ("alpha", "depth", "normals", "teacher_depth")
    train(recipe, both, tmp_path / "through", device="cpu", speaks=False)
    train(recipe, both, tmp_path / "broken", device="cpu", speaks=False, stop=2)
    assert run.shards_of(tmp_path / "broken", None, None, 1) == both
    train(recipe, run.shards_of(tmp_path / "broken", None, None, 1), tmp_path / "broken", device="cpu", speaks=False)
    one, other = (list(read(tmp_path / name / "journal.jsonl")) for name in ("through", "broken"))
    assert [line["loss"] for line in one] == [line["loss"] for line in other] and len(one) == 4
    assert past.verify(tmp_path / "broken", both).steps == 4
    assert past.replay(tmp_path / "broken", both, 2, tmp_path).recorded
    with pytest.raises(DavidError, match="was trained on the shard set .*, this one is"):
        train(recipe, (figures, sensor), tmp_path / "broken", device="cpu", speaks=False)
