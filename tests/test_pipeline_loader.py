"""The loader gives the slow twin's batches, in an order that nothing can alter, or a named error within seconds."""

import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batches import bits
from people import made as sample_of

from david.pack import BadSample, DavidError, read
from david.pack.shards import codecs, index, manifest, shard
from david.pack.shards.schema import Compression, ImageCodec
from david.pack.work import build, plan
from david.pipeline import reference
from david.pipeline.batch import Batch
from david.pipeline.config import DataConfig
from david.pipeline.engines import dali_graph, images
from david.pipeline.engines.buffers import Arena
from david.pipeline.engines.gpu import GpuEngine
from david.pipeline.loader import Loader
from david.pipeline.reading import _members, members
from david.pipeline.reading.reader import Reader
from david.pipeline.reading.sets import Shards
from david.pipeline.sampling import draws
from david.pipeline.sampling.augment import AugmentConfig
from david.pipeline.sampling.order import Order
from david.pipeline.stages import NAMES, Stages

PLAIN = AugmentConfig(0, 0, 0, 0, 0)
FLIPS = AugmentConfig(0.5, 0, 0, 0, 0)
COLOURS = AugmentConfig(0, 0.3, 0.3, 0.3, 0.1)
SMOOTH = {"image", "targets.alpha.value"}  # what is resampled, and so rounded
MOVES = AugmentConfig(0.5, 0, 0, 0, 0, crop=0.4, turn=10)


def take(steps: int, shards: Shards, config: DataConfig, split: str = "train", **arguments: Any) -> list[Batch]:
    with Loader(shards, split, config, **{"batch_size": 4, "seed": 5, **arguments}) as loader:
        return [next(loader) for _ in range(steps)]


def made(
    folder: Path,
    sizes: list[tuple[int, int]],
    image: ImageCodec = "webp",
    compression: Compression = "zstd",
    damage: dict[int, float] | None = None,
) -> Path:
    """A small shard set of noise: one shard, one split, samples of these (H, W).

    damage: samples whose image is cut to a share of its bytes, before it is hashed"""
    rng = np.random.default_rng(0)
    samples = []
    for number, (h, w) in enumerate(sizes):
        normals = rng.normal(size=(h, w, 3)).astype(np.float32)
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        valid = rng.random((h, w)) < 0.6
        normals_valid = valid & (rng.random((h, w)) < 0.9)
        depth_cm = np.where(valid, rng.uniform(90, 110, (h, w)), np.nan).astype(np.float32)
        rgb, alpha = rng.integers(0, 256, (h, w, 3), np.uint8), rng.integers(0, 256, (h, w), np.uint8)
        camera = None if number % 2 else np.array([[300.0, 2, w / 3], [0, 310, h / 3], [0, 0, 1]])
        sample = sample_of(f"{number:07}", rgb, alpha, depth_cm, normals, valid, normals_valid, camera)
        members = shard.encode(sample, image, compression)
        if damage and number in damage:
            members[0] = members[0][: int(len(members[0]) * damage[number])] or b"no image"
        samples.append((sample.key, members))
    folder.mkdir()
    listed = shard.write(folder / "train-000000.tar", samples, image, compression)
    manifest.Manifest(folder, {"image": image, "compression": compression}, {"train": (listed,)}).write()
    return folder


@pytest.mark.parametrize(
    ("config", "off_by"),
    [
        (DataConfig(augment=PLAIN), 0),
        (DataConfig(augment=FLIPS), 0),
        (DataConfig(augment=COLOURS), 1),
        (DataConfig(augment=FLIPS, height=512, width=384), 0),
        (DataConfig(augment=FLIPS, height=224, width=224), 1),
        (DataConfig(augment=FLIPS, height=600, width=500, last_batch="pad"), 1),
        (DataConfig(height=256, width=192), 2),  # resized and coloured: rounded twice
        (DataConfig(augment=MOVES), 1),
        (DataConfig(augment=MOVES, height=128, width=160), 1),
        (DataConfig(augment=MOVES, height=128, width=160, fit="contain"), 1),
        (DataConfig(augment=FLIPS, height=150, width=100, fit="contain"), 1),
        (DataConfig(augment=MOVES, height=128, width=160, fit="stretch"), 1),
    ],
)
def test_a_batch_is_the_slow_twins(shards: Path, config: DataConfig, off_by: int) -> None:
    with Loader(shards, "train", config, batch_size=4, seed=5) as loader:
        last = loader.batches_per_epoch - 1
    for step in (0, last):
        batch = take(1, shards, config, start=step)[0]
        twin = reference.batch(shards, "train", config, batch_size=4, seed=5, step=step)
        assert (batch.image.int() - twin.image.int()).abs().max() <= off_by
        assert (batch.targets["alpha"].value.int() - twin.targets["alpha"].value.int()).abs().max() <= (
            min(off_by, 1) if config.height or config.augment.crop else 0
        )
        for name, slow in twin.tensors().items():
            fast = batch.tensors()[name]
            assert fast.dtype == slow.dtype
            if name == "targets.normals.value" and config.augment.turn:
                np.testing.assert_allclose(fast.numpy(), slow.numpy(), atol=1e-3)
            elif name not in SMOOTH:
                np.testing.assert_array_equal(fast.numpy(), slow.numpy(), err_msg=name)
    assert batch.image.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("effects_on", [("blur",), ("noise",), ("jpeg",), ("blur", "noise", "jpeg")])
def test_degraded_images_are_the_slow_twins(effects_on: tuple[str, ...]) -> None:
    ids = np.arange(5)
    drawn = draws.draw(3, np.zeros_like(ids), ids, replace(PLAIN, **dict.fromkeys(effects_on, 1)))
    noise = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
    image = np.kron(noise, np.ones((9, 11, 1), np.uint8))
    for slot in range(5):
        fast, slow = image.copy(), reference.degraded(image.astype(np.float64), drawn, slot)
        images.degrade(fast, drawn, slot)
        assert (fast != image).any() or (effects_on == ("blur",) and drawn.blur[slot] < 0.3)
        assert (np.abs(fast - slow) > ("blur" in effects_on)).mean() < 1e-3
        assert np.abs(fast - slow).mean() < 0.02


def test_grey_and_noisy_batches_are_the_slow_twins(shards: Path) -> None:
    config = DataConfig(augment=replace(PLAIN, flip=0.5, grey=0.5, noise=0.5))
    batch = take(1, shards, config)[0]
    twin = reference.batch(shards, "train", config, batch_size=4, seed=5, step=0)
    assert (batch.image.int() - twin.image.int()).abs().max() <= 1
    greys = [bool((one[0] == one[1]).all()) for one in twin.image]
    assert any(greys) and not all(greys)


@pytest.mark.parametrize(("image", "compression"), [("webp", "zstd"), ("jpeg", "lz4")])
def test_every_codec_and_odd_size_is_the_slow_twins(
    tmp_path: Path, image: ImageCodec, compression: Compression
) -> None:
    folder = made(tmp_path / "set", [(40, 31), (57, 64), (300, 270), (8, 9)], image, compression)
    config = DataConfig(height=50, width=37, augment=FLIPS)
    batch = take(1, folder, config)[0]
    twin = reference.batch(folder, "train", config, batch_size=4, seed=5, step=0)
    assert (batch.image.int() - twin.image.int()).abs().max() <= 1
    for name in set(twin.tensors()) - SMOOTH:
        np.testing.assert_array_equal(batch.tensors()[name].numpy(), twin.tensors()[name].numpy(), err_msg=name)
    assert batch.intrinsics[batch.ids % 2 == 1].isnan().all()


@pytest.mark.parametrize("engine", ["cpu", "dali"])
@pytest.mark.parametrize("size", [(64, 48), (50, 37), (90, 70)])
def test_the_mask_of_normals_is_placed_with_them_on_every_engine(
    tmp_path: Path, engine: str, size: tuple[int, int]
) -> None:
    folder = made(tmp_path / "set", [(64, 48)] * 6)
    config = DataConfig(height=size[0], width=size[1], augment=MOVES)
    if engine == "cpu":
        batch = take(2, folder, config)[1]
    else:
        pytest.importorskip("nvidia.dali")
        places = Order(6, 4, 5, shuffle=True, last_batch="drop").batch(1)
        with (
            closing(Reader(folder, "train")) as reader,
            closing(GpuEngine(reader, size, "cover", 4, 2, torch.device("cpu"), Stages())) as made_on,
        ):
            made_on.submit(places, draws.draw(5, places.epochs, places.ids, config.augment))
            batch = made_on.collect()
    twin = reference.batch(folder, "train", config, batch_size=4, seed=5, step=1)
    for name in ("targets.depth.value", "targets.depth.valid", "targets.normals.valid", "ids"):
        np.testing.assert_array_equal(batch.tensors()[name].numpy(), twin.tensors()[name].numpy(), err_msg=name)
    np.testing.assert_allclose(batch.targets["normals"].value.numpy(), twin.targets["normals"].value.numpy(), atol=1e-3)
    lengths = batch.targets["normals"].value.float().norm(dim=1, keepdim=True)
    assert not lengths[~batch.targets["normals"].valid].any()
    assert ((lengths[batch.targets["normals"].valid] - 1).abs() < 2e-3).all()
    share = batch.targets["normals"].valid.sum() / batch.targets["depth"].valid.sum()
    assert 0.85 < share < 0.95 and not (batch.targets["normals"].valid & ~batch.targets["depth"].valid).any()


def test_a_set_packed_before_normals_had_a_mask_has_them_where_depth_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_it_was(normals: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """2047, 2047 where depth is invalid; `made` leaves some normals out, which were not to be told then."""
        return np.where(valid, split(normals, valid), np.uint8([0x77, 0xFF, 0xFF])[:, None, None])

    split = codecs.split_normals
    monkeypatch.setattr(codecs, "split_normals", as_it_was)
    folder = made(tmp_path / "set", [(40, 31)] * 4)
    monkeypatch.undo()
    batch = take(1, folder, DataConfig(augment=FLIPS))[0]
    twin = reference.batch(folder, "train", DataConfig(augment=FLIPS), batch_size=4, seed=5, step=0)
    assert bits(batch) == bits(twin)
    depth, normals = batch.targets["depth"], batch.targets["normals"]
    assert torch.equal(normals.valid, depth.valid)
    assert torch.equal(normals.value.float().norm(dim=1, keepdim=True) > 0, depth.valid)


@pytest.mark.parametrize("config", [DataConfig(augment=FLIPS), DataConfig(augment=MOVES, height=128, width=160)])
def test_where_xxhash_and_lz4_hide_their_functions_no_bit_changes(
    shards: Path, config: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [bits(batch) for batch in take(2, shards, config)]
    monkeypatch.setattr(members, "XXH3", 0)
    monkeypatch.setattr(members, "LZ4", 0)
    monkeypatch.setattr(_members, "inflate", None)
    assert [bits(batch) for batch in take(2, shards, config)] == expected


def test_a_batch_holds_the_samples_that_pack_reads(shards: Path) -> None:
    stored = list(read(shards, "train"))
    seen = []
    for batch in take(3, shards, DataConfig(augment=PLAIN)):
        for slot, sample in enumerate(stored[number] for number in batch.ids):
            seen.append(sample.key)
            assert np.array_equal(batch.targets["depth"].valid[slot, 0].numpy(), sample.depth_valid)
            assert np.array_equal(batch.targets["normals"].valid[slot, 0].numpy(), sample.normals_valid)
            assert np.array_equal(batch.targets["alpha"].value[slot, 0].numpy(), sample.alpha)
            assert np.array_equal(batch.image[slot].permute(1, 2, 0).numpy(), sample.rgb)
            depth = batch.targets["depth"].value[slot, 0].float()
            depth_m = depth * batch.depth_scale_m[slot] + batch.depth_offset_m[slot]
            np.testing.assert_allclose(
                depth_m.numpy()[sample.depth_valid], sample.depth_m[sample.depth_valid], rtol=1e-6
            )
            assert sample.intrinsics is not None
            np.testing.assert_allclose(batch.intrinsics[slot].numpy(), sample.intrinsics, rtol=1e-6)
    assert len(set(seen)) == len(seen) == 12


def test_the_real_samples_come_as_pack_reads_them(samples_dir: Path, tmp_path: Path) -> None:
    build.build(samples_dir, tmp_path / "shards", plan.PackOptions(val_fraction=0), workers=1)
    stored = list(read(tmp_path / "shards", "train"))
    batch = take(1, tmp_path / "shards", DataConfig(augment=PLAIN), batch_size=2)[0]
    for slot, sample in enumerate(stored[number] for number in batch.ids):
        assert np.array_equal(batch.image[slot].permute(1, 2, 0).numpy(), sample.rgb)
        assert np.array_equal(batch.targets["alpha"].value[slot, 0].numpy(), sample.alpha)
        assert np.array_equal(batch.targets["depth"].valid[slot, 0].numpy(), sample.depth_valid)
        assert np.array_equal(batch.targets["normals"].valid[slot, 0].numpy(), sample.normals_valid)
        normals = batch.targets["normals"].value[slot].permute(1, 2, 0).numpy()[sample.normals_valid]
        np.testing.assert_allclose(normals, sample.normals[sample.normals_valid], atol=3e-4)
    assert batch.intrinsics.isnan().all()


def test_the_real_samples_come_through_dali_as_the_slow_twin_reads_them(samples_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    build.build(samples_dir, folder, plan.PackOptions(image="webp", val_fraction=0), workers=1)
    config = DataConfig(augment=FLIPS)
    places = Order(2, 2, 5, shuffle=True, last_batch="drop").batch(1)
    with (
        closing(Reader(folder, "train")) as reader,
        closing(GpuEngine(reader, (512, 384), "own", 2, 2, torch.device("cpu"), Stages())) as engine,
    ):
        engine.submit(places, draws.draw(5, places.epochs, places.ids, config.augment))
        batch = engine.collect()
    twin = reference.batch(folder, "train", config, batch_size=2, seed=5, step=1)
    assert bits(batch) == bits(twin)


@pytest.mark.parametrize("size", [None, (200, 150), (700, 300)])
def test_background_never_reaches_a_valid_pixel(shards: Path, size: tuple[int, int] | None) -> None:
    height, width = size or (None, None)
    config = DataConfig(height=height, width=width, augment=FLIPS, fit="stretch" if size else "own")
    batch = take(1, shards, config)[0]
    plain = reference.batch(shards, "train", DataConfig(augment=PLAIN), batch_size=4, seed=5, step=0)
    depth, there, normals = batch.targets["depth"], plain.targets["depth"], batch.targets["normals"]
    for slot in range(4):
        valid, source = depth.valid[slot, 0], there.valid[slot, 0]
        assert np.isin(depth.value[slot, 0][valid].numpy(), there.value[slot, 0][source].numpy()).all()
        assert ((normals.value[slot, :, valid].float().norm(dim=0) - 1).abs() < 2e-3).all()
        assert abs(float(valid.float().mean() - source.float().mean())) < 0.01
        assert not depth.value[slot, 0][~valid].any()


def test_a_loader_started_at_any_step_goes_on_to_the_bit(shards: Path) -> None:
    config = DataConfig(height=64, width=48)
    with Loader(shards, "train", config, batch_size=4, seed=5) as loader:
        steps = 2 * loader.batches_per_epoch + 1
        whole = [bits(next(loader)) for _ in range(steps)]
        assert loader.state == steps
    for start in range(steps - 1):
        resumed = take(2, shards, config, start=start)
        assert [bits(batch) for batch in resumed] == whole[start : start + 2]


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_the_slices_of_the_ranks_join_to_the_global_batch(shards: Path, ranks: int) -> None:
    config = DataConfig(height=64, width=48, threads=1)
    whole = take(2, shards, config, batch_size=12)
    slices = [take(2, shards, config, batch_size=12, rank=rank, world_size=ranks) for rank in range(ranks)]
    for step in range(2):
        for name, one in whole[step].tensors().items():
            joined = torch.cat([part[step].tensors()[name] for part in slices])
            assert joined.numpy().tobytes() == one.contiguous().numpy().tobytes(), name


def test_threads_and_prefetch_change_no_bit_and_no_fingerprint(shards: Path) -> None:
    few, many = DataConfig(threads=1, prefetch=1), DataConfig(threads=4, prefetch=5)
    assert [*map(bits, take(3, shards, few))] == [*map(bits, take(3, shards, many))]

    def fingerprint(config: DataConfig, **arguments: Any) -> str:
        with Loader(shards, "train", config, **{"batch_size": 4, "seed": 5, **arguments}) as loader:
            return loader.fingerprint

    assert fingerprint(few) == fingerprint(many)
    others = [fingerprint(DataConfig(last_batch="pad")), fingerprint(few, seed=6), fingerprint(few, batch_size=8)]
    assert len({fingerprint(few), *others}) == 4


@pytest.mark.parametrize("split", ["train", "val"])
def test_validation_sees_each_sample_once_as_stored(shards: Path, split: str) -> None:
    stored = len(list(read(shards, split)))
    with Loader(shards, split, DataConfig(height=64, width=48), batch_size=4, seed=5, train=False) as loader:
        batches = list(loader)
        assert list(loader) == []
    assert [int(one) for batch in batches for one in batch.ids[batch.real]] == list(range(stored))
    assert all(len(batch) == 4 for batch in batches)


def test_shards_may_be_named_by_a_text_a_path_or_several(shards: Path) -> None:
    (batch,) = take(1, shards, DataConfig(augment=PLAIN))
    for named in (str(shards), [str(shards)], (shards,)):
        assert bits(take(1, named, DataConfig(augment=PLAIN))[0]) == bits(batch)


def test_the_loader_is_found_where_one_looks_for_it() -> None:
    """And looking there costs nothing: torch is loaded with the first name."""
    code = """
import sys
import david.pipeline
assert not {"torch", "numpy"} & set(sys.modules)
from david.pipeline import AugmentConfig, Batch, DataConfig, Loader
print(Loader.__module__, sorted(david.pipeline.__all__))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "david.pipeline.loader ['AugmentConfig', 'Batch', 'DataConfig', 'Loader', 'Target']"


def test_a_batch_that_is_kept_never_changes(shards: Path) -> None:
    config = DataConfig(height=64, width=48)
    with Loader(shards, "train", config, batch_size=4, seed=5) as loader:
        kept = [next(loader) for _ in range(3)]
        image = kept[0].image[:1]
        before = [bits(batch) for batch in kept]
        for _ in range(12):
            next(loader)
        assert [bits(batch) for batch in kept] == before
        del kept
        for _ in range(12):
            next(loader)
        assert image.contiguous().numpy().tobytes() == before[0]["image"][: image.numel()]


def test_memory_comes_back_when_its_last_view_is_gone() -> None:
    arena = Arena({"one": ((3, 5), torch.float16), "other": ((7,), torch.uint8)})
    lent = arena.lend()
    address = lent["one"].data_ptr()
    view = lent["other"].view(7, 1)[2:].numpy()
    del lent
    assert arena.lend()["one"].data_ptr() != address
    del view
    again = [arena.lend() for _ in range(2)]
    assert address in [one["one"].data_ptr() for one in again]
    assert all(one["one"].data_ptr() % 64 == 0 and one["other"].data_ptr() % 64 == 0 for one in again)


@pytest.fixture
def copied(shards: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the shard set that a test may damage."""
    yield Path(shutil.copytree(shards, tmp_path / "copied"))


def test_a_missing_shard_is_named(copied: Path) -> None:
    (copied / "train-000001.tar").unlink()
    with pytest.raises(DavidError, match=r"train-000001\.tar.*can't be opened"):
        take(4, copied, DataConfig())


def test_a_shard_cut_short_is_named(copied: Path) -> None:
    path = copied / "train-000001.tar"
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 30_000)
    with pytest.raises(DavidError, match=r"train-000001\.tar.*the manifest lists"):
        take(4, copied, DataConfig())


def test_a_shard_cut_short_while_it_is_read_is_named(copied: Path) -> None:
    with Loader(copied, "train", DataConfig(), batch_size=4, seed=5) as loader:
        next(loader)
        for path in copied.glob("*.tar"):
            with path.open("r+b") as file:
                file.truncate(0)
        with pytest.raises(BadSample, match=r"train-00000.\.tar, sample \d+: the shard ends \d+ bytes before"):
            for _ in range(20):
                next(loader)


def test_another_index_than_the_manifests_is_refused(copied: Path) -> None:
    text = (copied / "train-000001.idx").read_text()
    (copied / "train-000001.idx").write_text(text.replace(" 512 ", " 513 ", 1))
    with pytest.raises(DavidError, match=r"train-000001\.idx: no index of this shard \(its SHA-256 is not the one"):
        take(4, copied, DataConfig())


@pytest.mark.parametrize("member", range(5))
def test_a_single_changed_bit_is_named_with_its_sample_and_member(copied: Path, member: int) -> None:
    extensions = manifest.load(copied).extensions
    offset, size = index.entries(copied / "train-000000.idx", extensions)[0][2, member].tolist()
    with (copied / "train-000000.tar").open("r+b") as file:
        file.seek(offset + size // 2)
        byte = file.read(1)[0]
        file.seek(offset + size // 2)
        file.write(bytes([byte ^ 4]))
    expected = rf"train-000000\.tar, sample 2: {extensions[member]}: its bytes changed after packing"
    with pytest.raises(BadSample, match=expected):
        take(5, copied, DataConfig())


@pytest.mark.parametrize("kept", [0.0, 0.6])
def test_an_image_that_was_packed_damaged_is_named_with_its_sample(tmp_path: Path, kept: float) -> None:
    folder = made(tmp_path / "set", [(80, 60)] * 8, "jpeg", "lz4", damage={5: kept})
    with pytest.raises(BadSample, match=r"train-000000\.tar, sample 5 \(0000005\): its image can't be decoded"):
        take(3, folder, DataConfig())


def test_samples_of_several_sizes_ask_for_one(tmp_path: Path) -> None:
    folder = made(tmp_path / "set", [(40, 31), (40, 31), (41, 31), (40, 31)])
    with pytest.raises(BadSample, match=r"sample 2 \(0000002\): is 41 x 31.*40 x 31; give the data a height"):
        take(1, folder, DataConfig())
    assert take(1, folder, DataConfig(height=40, width=31))[0].image.shape == (4, 3, 40, 31)


def test_what_cannot_be_loaded_is_refused_at_once(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(DavidError, match="no shards there"):
        take(1, tmp_path, DataConfig())
    with pytest.raises(DavidError, match="test"):
        take(1, shards, DataConfig(), split="test")
    with pytest.raises(DavidError, match="a batch of 400 samples is more than"):
        take(1, shards, DataConfig(), batch_size=400)
    with pytest.raises(DavidError, match="can't be shared by 3 ranks"):
        take(1, shards, DataConfig(), world_size=3)
    with pytest.raises(DavidError, match="device `meta`"):
        take(1, shards, DataConfig(), device="meta")
    with pytest.raises(DavidError, match="height is 5 and width is None"):
        DataConfig(height=5)
    with pytest.raises(DavidError, match=r"augment\.hue is 0\.6"):
        AugmentConfig(hue=0.6)


def test_without_dali_a_gpu_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    with pytest.raises(DavidError, match="NVIDIA DALI.*pip install nvidia-dali-cuda130"):
        dali_graph.graph(4, 1, None, inflate=False)


@pytest.mark.parametrize("batches", [0, 3])
def test_closing_leaves_no_thread_and_ends_the_iterator(shards: Path, batches: int) -> None:
    before = set(threading.enumerate())
    with closing(Loader(shards, "train", DataConfig(), batch_size=4, seed=5)) as loader:
        for _ in range(batches):
            next(loader)
    assert set(threading.enumerate()) <= before  # others of other tests may have ended
    loader.close()
    with pytest.raises(RuntimeError, match="closed"):
        next(loader)


def test_an_error_stays_and_closing_after_it_works(copied: Path) -> None:
    (copied / "train-000001.tar").unlink()
    before = set(threading.enumerate())
    loader = Loader(copied, "train", DataConfig(), batch_size=4, seed=5)
    for _ in range(2):
        with pytest.raises(DavidError, match=r"train-000001\.tar"):
            for _ in range(4):
                next(loader)
    loader.close()
    assert set(threading.enumerate()) <= before  # others of other tests may have ended


def test_every_stage_takes_time(shards: Path) -> None:
    with Loader(shards, "train", DataConfig(height=64, width=48, prefetch=1), batch_size=4, seed=5) as loader:
        for _ in range(5):
            next(loader)
        seconds = loader.stages.seconds()
    assert all(seconds[stage] > 0 for stage in NAMES)


class Clock:
    """Stands still but where a test moves it on, and knows how often each thread has looked at it."""

    def __init__(self) -> None:
        self.now, self.looks, self.looked = 0.0, Counter(), threading.Condition()

    def __call__(self) -> float:
        with self.looked:
            self.looks[threading.current_thread().name] += 1
            self.looked.notify_all()
            return self.now

    def wait_for(self, thread: str, looks: int) -> None:
        with self.looked:
            self.looked.wait_for(lambda: self.looks[thread] >= looks)


def test_the_stages_tell_who_waited_for_whom(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, main = Clock(), threading.current_thread().name
    batch = next(Loader(shards, "train", DataConfig(height=64, width=48), batch_size=4, seed=5))

    def batches(*_: object) -> Iterator[Batch]:
        yield batch
        clock.wait_for(main, 3)  # the trainer waits for its second batch
        clock.now += 3
        yield batch

    monkeypatch.setattr("david.pipeline.stages.perf_counter", clock)
    monkeypatch.setattr("david.pipeline.loader.perf_counter", clock)
    monkeypatch.setattr("david.pipeline.loader._batches", batches)
    with Loader(shards, "train", DataConfig(height=64, width=48, prefetch=1), batch_size=4, seed=5) as loader:
        clock.wait_for("david-ahead", 3)  # a batch is ready, and there is no room for another
        clock.now += 7
        next(loader)
        assert loader.stages.seconds()["wait"] == loader.wait_s == 0
        next(loader)
        assert loader.stages.seconds()["wait"] == loader.wait_s == 3
        assert loader.stages.seconds()["hold"] == 7


def test_a_forgotten_loader_ends_with_its_process_and_prints_nothing(shards: Path) -> None:
    code = (
        "import sys, pathlib; from david.pipeline.loader import Loader; from david.pipeline.config import DataConfig\n"
        "loader = Loader(pathlib.Path(sys.argv[1]), 'train', DataConfig(), batch_size=4, seed=5); next(loader)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(shards)], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("sizes", "size"),
    [([(70, 51)] * 4, None), ([(70, 51)] * 4, (35, 64)), ([(70, 51), (51, 70), (300, 260), (9, 8)], (64, 48))],
)
@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_the_gpus_way_through_cpu_operators_gives_the_slow_twins_batch(
    tmp_path: Path, sizes: list[tuple[int, int]], size: tuple[int, int] | None, compression: Compression
) -> None:
    folder = made(tmp_path / "set", sizes, "webp", compression)
    height, width = size or (None, None)
    config = DataConfig(height=height, width=width)
    with closing(Reader(folder, "train")) as reader:
        target, device = size or sizes[0], torch.device("cpu")
        fit = config.fit if size else "own"
        with closing(GpuEngine(reader, target, fit, 4, 2, device, Stages())) as engine:
            places = Order(4, 4, 5, shuffle=True, last_batch="drop").batch(3)
            engine.submit(places, draws.draw(5, places.epochs, places.ids, config.augment))
            batch = engine.collect()
    twin = reference.batch(folder, "train", config, batch_size=4, seed=5, step=3)
    assert (batch.image.int() - twin.image.int()).abs().max() <= (2 if size else 1)
    assert (batch.targets["alpha"].value.int() - twin.targets["alpha"].value.int()).abs().max() <= (1 if size else 0)
    assert batch.image.is_contiguous(memory_format=torch.channels_last)
    for name in set(twin.tensors()) - SMOOTH:
        fast, slow = batch.tensors()[name], twin.tensors()[name]
        assert fast.dtype == slow.dtype
        np.testing.assert_array_equal(fast.numpy(), slow.numpy(), err_msg=name)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("compression", ["lz4", "zstd"])
@pytest.mark.parametrize("size", [None, (224, 224)])
def test_a_gpus_batches_are_the_cpus(
    raw: Path, tmp_path: Path, compression: Compression, size: tuple[int, int] | None
) -> None:
    options = plan.PackOptions(val_fraction=0, compression=compression)
    build.build(raw, tmp_path / "shards", options, workers=1)
    height, width = size or (None, None)
    config = DataConfig(height=height, width=width, decode="gpu")
    on_gpu = [batch.to("cpu") for batch in take(4, tmp_path / "shards", config, device="cuda")]
    for gpu, cpu in zip(on_gpu, take(4, tmp_path / "shards", replace(config, decode="cpu")), strict=True):
        assert (gpu.image.int() - cpu.image.int()).abs().max() <= 6  # nvJPEG's own transform, stretched by the colours
        assert (gpu.image.int() - cpu.image.int()).abs().float().mean() < 0.6
        assert (gpu.targets["alpha"].value.int() - cpu.targets["alpha"].value.int()).abs().max() <= (1 if size else 0)
        for name in set(cpu.tensors()) - SMOOTH:
            np.testing.assert_array_equal(gpu.tensors()[name].numpy(), cpu.tensors()[name].numpy(), err_msg=name)
