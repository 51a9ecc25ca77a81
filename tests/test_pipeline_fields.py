"""Any table of fields comes as the slow twin reads it, whatever sets are mixed, on every engine."""

import json
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from david.pack import BadSample, DavidError
from david.pack.shards import codecs, index, manifest, shard
from david.pack.shards.schema import FIELDS_V1, RGB, Compression, Field, Fields, ImageCodec
from david.pipeline import reference
from david.pipeline.batch import Batch
from david.pipeline.config import DataConfig
from david.pipeline.engines.gpu import GpuEngine
from david.pipeline.loader import Loader
from david.pipeline.reading.reader import Reader
from david.pipeline.sampling import draws
from david.pipeline.sampling.augment import AugmentConfig
from david.pipeline.stages import Stages

MOVES = AugmentConfig(0.5, 0, 0, 0, 0, crop=0.4, turn=10)
SENSOR: Fields = (RGB, Field("depth", "u16-linear"))
IMAGES: Fields = (RGB,)
ODD: Fields = (
    RGB,
    Field("parts", "u8"),
    Field("depth", "u16-linear"),
    Field("alpha", "u8"),
    Field("flow", "f16-affine", within="depth"),
    Field("said", "f16-relative", within="parts"),
    Field("normals", "octahedral-12", within="flow"),
)


def packed(
    folder: Path,
    fields: Fields,
    sizes: list[tuple[int, int]],
    seed: int = 0,
    image: ImageCodec = "webp",
    compression: Compression = "lz4",
    missing: float = 0.0,
    ranges: dict[str, Any] | None = None,
) -> Path:
    """A shard set of noise: every kind of bits in each field, a share of members missing."""
    rng = np.random.default_rng(seed)
    samples = []
    for number, (h, w) in enumerate(sizes):
        members, told = [codecs.encode_rgb(rng.integers(0, 256, (h, w, 3), np.uint8), image)], {}
        for field in fields[1:]:
            planes = rng.integers(0, 256, (field.planes, h, w), np.uint8)
            planes[:, rng.random((h, w)) < 0.2] = 255  # no value, in any coding but u8
            planes[:, rng.random((h, w)) < 0.1] = 0
            there = rng.random() >= missing
            members.append(codecs.encode_planes(planes, compression) if there else b"")
            if there and field.coding in ("f16-affine", "u16-linear"):
                told[field.name] = {"offset_m": rng.uniform(1, 40), "scale_m": rng.uniform(0.1, 40)}
                told[field.name] |= {"step_m": rng.uniform(1e-4, 1e-2)} if field.coding == "u16-linear" else {}
            if there and field.coding == "f16-relative":
                told[field.name] = {"offset": rng.uniform(-9, 9), "scale": rng.uniform(0.1, 40)}
        camera = [[300.0, 0, w / 3], [0, 300, h / 3], [0, 0, 1]] if number % 2 else None
        about = {"id": f"{seed:03}{number:04}", "height": h, "width": w, "intrinsics": camera}
        members.append(json.dumps({**about, "fields": told | (ranges or {})}).encode())
        samples.append((about["id"], members))
    folder.mkdir()
    listed = shard.write(folder / "train-000000.tar", samples, image, compression, fields)
    options = {"image": image, "compression": compression}
    manifest.Manifest(folder, options, {"train": (listed,)}, fields=fields).write()
    return folder


def on_dali(folders: list[Path], config: DataConfig, step: int, size: tuple[int, int]) -> Batch:
    """The GPU's way with CPU operators."""
    with closing(Reader(folders, "train")) as reader:
        fit, device = config.fit if config.height else "own", torch.device("cpu")
        with closing(GpuEngine(reader, size, fit, 4, 2, device, Stages())) as engine:
            picks = config.order(reader.counts, 4, 5).batch(step)
            engine.submit(picks, draws.draw(5, picks.epochs, picks.ids, config.augment))
            return engine.collect()


def on_cpu(folders: list[Path], config: DataConfig, step: int) -> Batch:
    with Loader(folders, "train", config, batch_size=4, seed=5, start=step) as loader:
        return next(loader)


def require_same(batch: Batch, twin: Batch, turned: bool) -> None:
    assert list(batch.targets) == list(twin.targets)
    for name, slow in twin.tensors().items():
        fast = batch.tensors()[name]
        assert (fast.dtype, fast.shape) == (slow.dtype, slow.shape), name
        if slow.dtype == torch.uint8:
            assert (fast.int() - slow.int()).abs().max() <= 1, name
        elif turned and name.endswith(".value") and slow.shape[1] == 3:
            np.testing.assert_allclose(fast.numpy(), slow.numpy(), atol=1e-3, err_msg=name)
        else:
            np.testing.assert_array_equal(fast.numpy(), slow.numpy(), err_msg=name)


@pytest.mark.parametrize("engine", ["cpu", "dali"])
@pytest.mark.parametrize("fit", ["cover", "contain", "stretch"])
def test_sets_of_other_fields_sizes_codecs_and_compressions_mix(tmp_path: Path, engine: str, fit: Any) -> None:
    """What a sample's set lacks is invalid everywhere, and 0."""
    sizes = [(60, 40), (33, 71), (8, 9), (150, 200)]
    folders = [
        packed(tmp_path / "people", FIELDS_V1, [(64, 48)] * 4, 1),
        packed(tmp_path / "sensor", SENSOR, sizes, 2, "jpeg", "zstd"),
        packed(tmp_path / "images", IMAGES, sizes[::-1], 3, "webp", "lz4"),
        packed(tmp_path / "odd", ODD, sizes[1:], 4, "webp", "lz4", missing=0.4),
    ]
    config = DataConfig(height=64, width=48, augment=MOVES, weights=(1, 1, 1, 1), fit=fit)
    for step in range(3 if engine == "cpu" else 1):
        batch = on_cpu(folders, config, step) if engine == "cpu" else on_dali(folders, config, step, (64, 48))
        twin = reference.batch(folders, "train", config, batch_size=4, seed=5, step=step)
        require_same(batch, twin, turned=True)
        assert list(batch.targets) == ["alpha", "depth", "normals", "parts", "flow", "said"]
        assert sorted(batch.sets.tolist()) == [0, 1, 2, 3]
        for slot, number in enumerate(batch.sets.tolist()):
            has = {field.name for field in (FIELDS_V1, SENSOR, IMAGES, ODD)[number]}
            for name, target in batch.targets.items():
                if name not in has:
                    assert not target.valid[slot].any() and not target.value[slot].any()
            if number != 3:
                assert batch.targets["depth"].valid[slot].any() == ("depth" in has)
            if "depth" not in has:
                assert (batch.depth_offset_m[slot], batch.depth_scale_m[slot]) == (0, 1)


names = st.sampled_from(["alpha", "depth", "normals", "other", "more"])
codings = st.sampled_from(["u8", "f16-affine", "f16-relative", "u16-linear", "octahedral-12"])


@st.composite
def tables(draw: st.DrawFn) -> Fields:
    fields: list[Field] = [RGB]
    for name in draw(st.lists(names, unique=True, max_size=4)):
        within = draw(st.sampled_from([None, *(field.name for field in fields[1:])]))
        fields.append(Field(name, draw(codings), within))
    return tuple(fields)


@given(
    fields=tables(),
    sizes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=4, max_size=4),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    fit=st.sampled_from(["cover", "contain", "stretch"]),
    compression=st.sampled_from(["lz4", "zstd"]),
    moves=st.booleans(),
    engine=st.sampled_from(["cpu", "cpu", "dali"]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=40)
def test_any_table_is_the_slow_twins(
    fields: Fields,
    sizes: list[tuple[int, int]],
    size: tuple[int, int],
    fit: Any,
    compression: Compression,
    moves: bool,
    engine: str,
    seed: int,
) -> None:
    with TemporaryDirectory() as folder:
        made = [packed(Path(folder) / "set", fields, sizes, seed, compression=compression, missing=0.2)]
        augment = MOVES if moves else AugmentConfig(0.5, 0, 0, 0, 0)
        config = DataConfig(height=size[0], width=size[1], augment=augment, fit=fit, threads=1)
        batch = on_cpu(made, config, 0) if engine == "cpu" else on_dali(made, config, 0, size)
        require_same(batch, reference.batch(made, "train", config, batch_size=4, seed=5, step=0), moves)


def test_one_name_means_one_kind_of_value(tmp_path: Path) -> None:
    one = packed(tmp_path / "one", (RGB, Field("depth", "u16-linear")), [(9, 9)] * 4)
    like = packed(tmp_path / "like", (RGB, Field("depth", "f16-affine")), [(9, 9)] * 4)
    other = packed(tmp_path / "other", (RGB, Field("depth", "u8")), [(9, 9)] * 4)
    on_cpu([one, like], DataConfig(height=9, width=9), 0)
    with pytest.raises(DavidError, match=r"other: `depth` is coded as u8, in .*one as u16-linear; sets that are mixed"):
        on_cpu([one, other], DataConfig(height=9, width=9), 0)


@pytest.mark.parametrize("told", [{}, {"offset_m": 1.0}, {"offset_m": 1.0, "scale_m": 0.0, "step_m": 0.001}])
def test_a_range_that_tells_no_values_names_the_sample(tmp_path: Path, told: dict[str, float]) -> None:
    folder = packed(tmp_path / "set", SENSOR, [(9, 9)] * 4, ranges={"depth": told})
    with pytest.raises(BadSample, match=r"sample \d \(000000\d\): its JSON member tells a \w+ of .* for depth"):
        on_cpu([folder], DataConfig(), 0)


@pytest.mark.parametrize("engine", ["cpu", "dali"])
def test_an_image_of_another_size_than_its_fields_is_named(tmp_path: Path, engine: str) -> None:
    folder = packed(tmp_path / "set", SENSOR, [(9, 9), (9, 9), (9, 8), (9, 9)])
    path = folder / "train-000000.tar"
    rows, keys = index.entries(path.with_suffix(".idx"), manifest.load(folder).extensions)
    data = path.read_bytes()
    samples = [(key, [data[at : at + size] for at, size in row.tolist()]) for row, key in zip(rows, keys, strict=True)]
    samples[0][1][0] = samples[2][1][0]  # an image from another sample
    listed = shard.write(path, samples, "webp", "lz4", SENSOR)
    manifest.Manifest(folder, manifest.load(folder).options, {"train": (listed,)}, fields=SENSOR).write()
    config = DataConfig(height=9, width=9)
    with pytest.raises(BadSample, match=r"sample 0 \(0000000\):? ?.*its image (is 9 x 8|has not the 9 x 9)"):
        on_cpu([folder], config, 0) if engine == "cpu" else on_dali([folder], config, 0, (9, 9))


def test_metres_of_a_sensor_come_out_as_they_went_in(tmp_path: Path) -> None:
    """A batch's value, scale and offset are the millimetres that were stored, but for float16."""
    folder = packed(tmp_path / "set", SENSOR, [(40, 30)] * 4)
    batch = on_cpu([folder], DataConfig(augment=AugmentConfig(0, 0, 0, 0, 0)), 0)
    with closing(Reader(folder, "train")) as reader:
        for slot, sample in enumerate(batch.ids.tolist()):
            encoded = reader.read(sample)
            about = encoded.ranges["depth"]
            steps = codecs.join_u16(codecs.decode_planes(encoded.planes["depth"], 2, 40, 30, "lz4"))
            valid = (steps != 0) & (steps != 65_535)
            depth = batch.targets["depth"]
            assert np.array_equal(depth.valid[slot, 0].numpy(), valid)
            metres = depth.value[slot, 0].double() * batch.depth_scale_m[slot] + batch.depth_offset_m[slot]
            within = 6e-4 * (np.abs(steps * about["step_m"] - about["offset_m"]) + about["scale_m"])
            assert (np.abs(metres.numpy() - steps * about["step_m"])[valid] <= within[valid]).all()
