"""NYU Depth V2's labelled file packs: another size, no normals, no alpha, an official split, holes of a sensor."""

from pathlib import Path

import numpy as np
import pytest

from david.pack import DavidError, read
from david.pack.check.verify import verify
from david.pack.shards import manifest
from david.pack.sources import nyu_labeled, table
from david.pack.sources.nyu_labeled import NyuLabeled
from david.pack.work import build, plan

h5py = pytest.importorskip("h5py")
scipy_io = pytest.importorskip("scipy.io")
COUNT, HEIGHT, WIDTH = 6, 24, 32
OPTIONS = plan.PackOptions(shard_samples=2)


@pytest.fixture(scope="module")
def truth() -> tuple[np.ndarray, np.ndarray]:
    """images (N, H, W, 3), depth (N, H, W) with holes."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (COUNT, HEIGHT, WIDTH, 3), np.uint8)
    rows = np.linspace(1.2, 6.5, HEIGHT, dtype=np.float32)[None, :, None]
    depth = np.broadcast_to(rows + rng.uniform(0, 0.5, (COUNT, 1, 1)).astype(np.float32), (COUNT, HEIGHT, WIDTH)).copy()
    depth[:, 5:8, 9:14] = 0
    return images, depth


@pytest.fixture(scope="module")
def nyu(truth: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published files' layout, small: arrays as MATLAB stores them, columns first, in HDF5 behind 512 bytes."""
    folder = tmp_path_factory.mktemp("nyu")
    images, depth = truth
    with h5py.File(folder / nyu_labeled.FILE, "w", userblock_size=512) as file:
        file.create_dataset("images", data=images.transpose(0, 3, 2, 1), chunks=True, compression="gzip")
        file.create_dataset("rawDepths", data=depth.transpose(0, 2, 1), chunks=True, compression="gzip")
        file.create_dataset("depths", data=np.where(depth == 0, 2, depth).transpose(0, 2, 1).astype(np.float32))
    numbers = {"trainNdxs": np.array([[1], [3], [4], [6]], np.uint16), "testNdxs": np.array([[2], [5]], np.uint16)}
    scipy_io.savemat(folder / nyu_labeled.SPLITS, numbers)
    return folder


def test_the_labelled_file_packs_with_its_own_split_and_size(
    nyu: Path, truth: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    build.build(nyu, tmp_path / "shards", OPTIONS, workers=1)
    dataset = manifest.load(tmp_path / "shards")
    assert dataset.options["source"] == "nyu_labeled" and dataset.extensions == ("rgb.jpg", "depth.lz4", "json")
    keys = {split: sorted(one.key for one in read(dataset.folder, split)) for split in dataset.splits}
    assert keys == {"train": ["0001", "0003", "0004", "0006"], "test": ["0002", "0005"]}
    for split in keys:
        for one in read(dataset.folder, split):
            depth = truth[1][int(one.key) - 1]
            assert one.rgb.shape == (HEIGHT, WIDTH, 3) and np.array_equal(one.depth_valid, depth > 0)
            np.testing.assert_allclose(one.depth_m[one.depth_valid], depth[depth > 0], atol=0.002)
            with pytest.raises(DavidError, match="has no normals; there is rgb, depth"):
                _ = one.normals
    assert verify(dataset.folder, deep=True, workers=1)[1] == []


def test_more_workers_and_a_second_run_give_the_same_bytes(nyu: Path, tmp_path: Path) -> None:
    build.build(nyu, tmp_path / "one", OPTIONS, workers=1)
    assert build.build(nyu, tmp_path / "two", OPTIONS, part=build.Part(1, 2), workers=2) is None
    build.build(nyu, tmp_path / "two", OPTIONS, workers=2)
    for path in (tmp_path / "one").iterdir():
        assert (tmp_path / "two" / path.name).read_bytes() == path.read_bytes(), path.name


def test_filled_depth_is_an_option_and_has_no_holes(nyu: Path) -> None:
    source = NyuLabeled(depth_kind="filled")
    key, entry = next(iter(source.scan(nyu).items()))
    assert source.load(key, entry).depth_valid.all()
    source = NyuLabeled()
    sample = source.load(key, source.scan(nyu)[key])
    assert 0.9 < sample.depth_valid.mean() < 1 and sample.intrinsics is None


def test_colours_and_axes_are_turned_back(nyu: Path, truth: tuple[np.ndarray, np.ndarray]) -> None:
    for key, entry in NyuLabeled().scan(nyu).items():
        assert np.array_equal(NyuLabeled().load(key, entry).rgb, truth[0][int(key) - 1])


def test_it_is_recognised_and_what_is_missing_is_named(
    nyu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(table.chosen(nyu), NyuLabeled) and isinstance(table.chosen(nyu / nyu_labeled.FILE), NyuLabeled)
    (tmp_path / nyu_labeled.FILE).symlink_to(nyu / nyu_labeled.FILE)
    with pytest.raises(DavidError, match="the official split is not there"):
        NyuLabeled().scan(tmp_path)
    assert len(NyuLabeled(splits=nyu / nyu_labeled.SPLITS).scan(tmp_path)) == COUNT
    (tmp_path / "other.mat").write_bytes(b"no HDF5")
    with h5py.File(tmp_path / "empty.mat", "w", userblock_size=2048):
        pass
    with pytest.raises(DavidError, match="no HDF5 file with an array `images`"):
        NyuLabeled().scan(tmp_path / "empty.mat")
    nyu_labeled._opened.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(DavidError, match=r"pip install -e '.\[nyu\]'"):
        NyuLabeled().scan(nyu)
    with pytest.raises(DavidError, match="no HDF5 file, .*: it begins with b'no HDF5'"):  # before h5py is asked for
        NyuLabeled().scan(tmp_path / "other.mat")


def landscape(count: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """images (N, 3, W, H) and depths (N, W, H), as the file has them."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 3, 8, 6), np.uint8)
    return images, rng.uniform(1, 5, (count, 8, 6)).astype(np.float32)


HOLDS = {  # what a file holds instead of images and depths, and what is told of it
    "shares of 1": (lambda i, d: ((i / 255).astype(np.float32), d), "images are float32 and rawDepths float32; expec"),
    "16 bits": (lambda i, d: (i.astype(np.uint16), d), "images are uint16 and"),
    "turned back": (lambda i, d: (i.swapaxes(2, 3), d.swapaxes(1, 2)), "would be 8 rows x 6 columns, .* turned back"),
    "channels last": (lambda i, d: (i.transpose(0, 2, 3, 1), d), r"images of \(4, 8, 6, 3\) and rawDepths .* don't"),
    "one number": (lambda i, d: (np.uint8(3), d), r"images of \(\) and rawDepths of \(4, 8, 6\) don't agree"),
    "texts": (lambda i, d: (np.array([b"x"] * 4), d), r"images of \(4,\) and"),
    "fewer depths": (lambda i, d: (i, d[:3]), r"rawDepths of \(3, 8, 6\) don't agree"),
    "depth as text": (lambda i, d: (i, d.astype("S8")), "images are uint8 and rawDepths .S8; expected"),
}


@pytest.mark.parametrize("fault", HOLDS)
def test_a_file_of_other_numbers_or_axes_is_refused_with_what_it_holds(fault: str, tmp_path: Path) -> None:
    change, told = HOLDS[fault]
    images, depths = change(*landscape())
    with h5py.File(tmp_path / nyu_labeled.FILE, "w", userblock_size=512) as file:
        file["images"], file["rawDepths"] = images, depths
    with pytest.raises(DavidError, match=told):
        NyuLabeled().scan(tmp_path)


def test_a_file_that_declares_more_than_a_picture_can_be_and_one_that_leads_nowhere_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "huge.mat", "w", userblock_size=512) as file:
        file.create_dataset("images", (2, 3, 100_000, 90_000), np.uint8, chunks=(1, 1, 64, 64))
        file.create_dataset("rawDepths", (2, 100_000, 90_000), np.float32, chunks=(1, 64, 64))
    with pytest.raises(DavidError, match=r"images of \(2, 3, 100000, 90000\); at most [0-9,]+ pixels"):
        NyuLabeled().scan(tmp_path / "huge.mat")
    with h5py.File(tmp_path / "loop.mat", "w", userblock_size=512) as file:
        file["images"] = h5py.SoftLink("/images")
    with pytest.raises(DavidError, match="no HDF5 file with an array `images`"):
        NyuLabeled().scan(tmp_path / "loop.mat")


SPLIT = {  # numbers to train on and to test on, of four samples
    "in both": ([1, 2, 3], [3, 4]),
    "from 0": ([0, 1], [2, 3]),
    "no whole numbers": ([1.5, 2.5], [3, 4]),
    "no numbers": ([np.nan, 2], [3, 4]),
    "too few": ([1, 2], [4]),
    "twice": ([1, 2, 2], [3, 4]),
}


@pytest.mark.parametrize("fault", SPLIT)
def test_a_split_that_is_none_is_refused(fault: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / nyu_labeled.FILE, "w", userblock_size=512) as file:
        file["images"], file["rawDepths"] = landscape()
    train, test = (np.array(numbers)[:, None] for numbers in SPLIT[fault])
    scipy_io.savemat(tmp_path / nyu_labeled.SPLITS, {"trainNdxs": train, "testNdxs": test})
    with pytest.raises(DavidError, match="does not split the 4 samples of the data, 1 to 4, each of them once"):
        NyuLabeled().scan(tmp_path)
