"""A sample that is not as SynthHuman's are is refused by name, with what was found, before anything large is made."""

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest
from people import cm

from david.pack import BadSample, DavidError
from david.pack.check import evidence
from david.pack.raw import archive, exr
from david.pack.shards.schema import FIELDS_V1
from david.pack.sources import synthhuman

ROWS, COLUMNS = 512, 384
KEY = "0000000"
NAMES = {kind: f"{kind}_{KEY}.{'exr' if kind in ('depth', 'normal') else 'png'}" for kind in synthhuman.REQUIRED}
NAMES["cam"] = f"cam_{KEY}.txt"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def png_of(
    width: int = COLUMNS, height: int = ROWS, bits: int = 8, colour: int = 2, idat: bytes = b"", *more: bytes
) -> bytes:
    header = chunk(b"IHDR", struct.pack(">2L5B", width, height, bits, colour, 0, 0, 0))
    rows = idat or zlib.compress(bytes(ROWS * (3 * COLUMNS + 1)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def exr_of(channels: dict[str, np.ndarray] | None = None, **header: Any) -> bytes:
    file = io.BytesIO()
    defaults = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(defaults | header, dict(channels or {"Y": plane()}), num_threads=0).write(file)  # it fills the dict
    return file.getvalue()


def plane(rows: int = ROWS, columns: int = COLUMNS, dtype: type = np.float32) -> np.ndarray:
    return np.linspace(100, 200, rows * columns).reshape(rows, columns).astype(dtype)


def two_parts() -> bytes:
    file = io.BytesIO()
    parts = [OpenEXR.Part({"name": name, "type": OpenEXR.scanlineimage}, {"Y": plane()}) for name in "ab"]
    OpenEXR.File(parts).write(file)
    return file.getvalue()


def attribute(data: bytes, name: str, value: bytes) -> bytes:
    """The EXR with an attribute's value written over."""
    start = data.index(name.encode() + b"\0")
    start = data.index(b"\0", start + len(name) + 1) + 5
    return data[:start] + value + data[start + len(value) :]


def window(*corners: int, both: bool = True) -> Callable[[bytes], bytes]:
    """The EXR with another window: first column, first row, last column, last row."""
    box = struct.pack("<4i", *corners)
    names = ("dataWindow", "displayWindow") if both else ("dataWindow",)

    def changed(data: bytes) -> bytes:
        for name in names:
            data = attribute(data, name, box)
        return data

    return changed


def many_channels(data: bytes) -> bytes:
    channels = b"".join(f"c{i}".encode() + b"\0" + struct.pack("<iB3x2i", 2, 0, 1, 1) for i in range(2000)) + b"\0"
    start = data.index(b"chlist\0") + 7
    (size,) = struct.unpack_from("<i", data, start)
    return data[:start] + struct.pack("<i", len(channels)) + channels + data[start + 4 + size :]


Change = Callable[[bytes], bytes]
BAD: dict[str, tuple[str, Change, str]] = {
    "an empty png": ("rgb", lambda d: b"", r"no PNG: it begins with b''"),
    "a jpeg": ("rgb", lambda d: b"\xff\xd8\xff" + d, r"no PNG: it begins with b'\\xff\\xd8"),
    "a png cut short": ("rgb", lambda d: d[: len(d) // 2], "a PNG cut short"),
    "a png cut by a byte": ("alpha", lambda d: d[:-1], "a PNG cut short"),
    "a png with bytes behind it": ("rgb", lambda d: d + b"evil", "4 bytes behind the end of the PNG"),
    "a png with a flipped bit": (
        "rgb",
        lambda d: d[:5000] + bytes([d[5000] ^ 1]) + d[5001:],
        "can't be decoded: damaged",
    ),
    "too few rows": ("rgb", lambda d: png_of(idat=zlib.compress(bytes(1000))), "can't be decoded: damaged"),
    "16 bits": ("rgb", lambda d: png_of(bits=16), "expected an 8-bit RGB PNG, found 16-bit RGB"),
    "1 bit": ("alpha", lambda d: png_of(bits=1, colour=0), "expected an 8-bit grey PNG, found 1-bit grey"),
    "a palette": ("rgb", lambda d: png_of(colour=3), "found 8-bit palette"),
    "rgba": ("rgb", lambda d: png_of(colour=6), "found 8-bit RGB with alpha"),
    "grey with alpha": ("alpha", lambda d: png_of(colour=4), "found 8-bit grey with alpha"),
    "rgb as alpha": ("alpha", lambda d: png_of(colour=2), "expected an 8-bit grey PNG, found 8-bit RGB"),
    "no such colour": ("rgb", lambda d: png_of(colour=5), "an unknown kind of PNG"),
    "a png of no size": ("rgb", lambda d: png_of(width=0), "declares 512 rows x 0 columns"),
    "a png bomb": (
        "rgb",
        lambda d: png_of(100_000, 100_000),
        "declares 100,000 rows x 100,000 columns, at most 8,388,608",
    ),
    "too much IDAT": ("rgb", lambda d: png_of(idat=bytes(1_000_000)), "1,000,000 bytes of IDAT, an image of this size"),
    "a chunk that lies": (
        "rgb",
        lambda d: d[:33] + b"\x7f\xff\xff\xffIDAT" + d[41:],
        "cut short: b'IDAT' of 2,147,483,647",
    ),
    "an unknown chunk": (
        "rgb",
        lambda d: png_of(COLUMNS, ROWS, 8, 2, b"", chunk(b"EVIL", b"")),
        "an unknown chunk b'EVIL'",
    ),
    "endless chunks": (
        "rgb",
        lambda d: png_of(COLUMNS, ROWS, 8, 2, b"", chunk(b"tEXt", b"") * 66_000),
        "more than 65,536 chunks",
    ),
    "an empty exr": ("depth", lambda d: b"", r"it begins with b''"),
    "a png as exr": ("depth", lambda d: png_of(), r"it begins with b'\\x89PNG"),
    "an exr cut short": ("depth", lambda d: d[: len(d) // 2], "cut short or damaged"),
    "an exr cut in its table": ("depth", lambda d: d[:400], "cut short: 400 bytes, a table of 32 chunks"),
    "an exr cut in its header": ("depth", lambda d: d[:60], "cut short"),
    "an exr with a flipped bit": ("depth", lambda d: d[:-99] + bytes([d[-99] ^ 1]) + d[-98:], "its pixels are damaged"),
    "an exr without a table": ("depth", lambda d: d.replace(d[277 : 277 + 256], bytes(256)), "cut short or damaged"),
    "half": ("depth", lambda d: exr_of({"Y": plane(dtype=np.float16)}), "expected float32 channels Y, found Y half"),
    "integers": (
        "depth",
        lambda d: exr_of({"Y": plane(dtype=np.uint32)}),
        "expected float32 channels Y, found Y uint32",
    ),
    "other channels": ("depth", lambda d: exr_of({"Z": plane()}), "expected float32 channels Y, found Z float32"),
    "one channel more": ("normal", lambda d: exr_of({name: plane() for name in "ABGR"}), "found A float32, B float32"),
    "b44": (
        "depth",
        lambda d: exr_of(compression=OpenEXR.B44_COMPRESSION),
        "compressed as B44, expected one of none, RLE",
    ),
    "dwaa": ("depth", lambda d: exr_of(compression=OpenEXR.DWAA_COMPRESSION), "compressed as DWAA, expected"),
    "pxr24": ("depth", lambda d: exr_of(compression=OpenEXR.PXR24_COMPRESSION), "compressed as PXR24, expected"),
    "no such compression": ("depth", lambda d: attribute(d, "compression", b"\xfe"), "compressed as method 254"),
    "tiles": (
        "depth",
        lambda d: exr_of(type=OpenEXR.tiledimage, tiles=OpenEXR.TileDescription()),
        "expected one part in scanlines, found tiles",
    ),
    "several parts": ("depth", lambda d: two_parts(), "expected one part in scanlines, found several parts"),
    "deep pixels": ("depth", lambda d: d[:5] + b"\x08" + d[6:], "expected one part in scanlines, found deep pixels"),
    "another version": ("depth", lambda d: d[:4] + b"\x03" + d[5:], "version 0x3, expected 2"),
    "a window not at the origin": (
        "depth",
        window(1, 0, COLUMNS, ROWS - 1),
        r"data window \(1, 0, 384, 511\), display",
    ),
    "two windows": ("depth", window(0, 0, 99, 99, both=False), "expected the same twice, from 0, 0"),
    "a window inside out": ("depth", window(0, 0, -5, -5), r"data window \(0, 0, -5, -5\)"),
    "an exr bomb": (
        "depth",
        window(0, 0, 99_999, 99_999),
        "declares 100,000 rows x 100,000 columns, at most 8,388,608",
    ),
    "a window that overflows": (
        "depth",
        window(0, 0, 2**31 - 1, 2**31 - 1),
        "declares 2,147,483,648 rows x 2,147,483,648",
    ),
    "thousands of channels": ("depth", many_channels, "expected float32 channels Y, found c0 float32"),
    "an attribute that lies": (
        "depth",
        lambda d: d.replace(b"box2i\0\x10\0\0\0", b"box2i\0\xff\xff\xff\x7f", 1),
        "'dataWindow' of type 'box2i' is said to have 2,147,483,647 bytes",
    ),
    "an attribute twice": (
        "depth",
        lambda d: d.replace(b"displayWindow\0", b"dataWindow\0", 1),
        "'dataWindow' .* twice",
    ),
    "an attribute missing": (
        "depth",
        lambda d: d.replace(b"lineOrder\0", b"linePrder\0", 1),
        "its lineOrder should be",
    ),
    "an attribute of a strange type": ("depth", lambda d: d.replace(b"v2f\0", b"v2g\0", 1), "of type 'v2g'"),
    "an exr of another size": (
        "depth",
        lambda d: exr_of({"Y": plane(10, 20)}),
        "members differ in size .* depth 10 x 20",
    ),
    "words for intrinsics": ("cam", lambda d: b"one two three", "no 3 x 3 intrinsics: b'one' is no number"),
    "eight intrinsics": ("cam", lambda d: b"1 0 2 0 1 2 0 0", "no 3 x 3 intrinsics: cannot reshape"),
    "other bytes": ("cam", lambda d: b"\xff\xfe1", "no 3 x 3 intrinsics"),
    "infinite intrinsics": ("cam", lambda d: b"1e999 0 2 0 1 2 0 0 1", "expected finite numbers"),
    "an underscore": ("cam", lambda d: b"5_0 0 2 0 50 2 0 0 1", "b'5_0' is no number"),
    "skew": ("cam", lambda d: b"500 3 192 0 500 256 0 0 1", r"\[500.0, 3.0, 192.0\], .* expected no skew"),
    "a skew below": ("cam", lambda d: b"500 0 192 3 500 256 0 0 1", "expected no skew"),
    "a point far off": (
        "cam",
        lambda d: b"500 0 1e9 0 500 256 0 0 1",
        "a principal point within 10 images of the centre",
    ),
    "a lens without end": ("cam", lambda d: b"1e9 0 192 0 500 256 0 0 1", "focal lengths from 0.01 to 1000 sides"),
    "a focal length below 0": ("cam", lambda d: b"-5 0 2 0 5 2 0 0 1", "expected positive focal lengths"),
    "a last row of something": ("cam", lambda d: b"5 0 2 0 5 2 0 1 0", "a last row of 0, 0, 1"),
    "a novel": ("cam", lambda d: b"1 " * 10_000, "20,000 bytes, at most 4,096 are expected"),
}


@pytest.fixture
def sample(raw: Path, tmp_path: Path) -> Path:
    """A folder of one good sample, loose."""
    for member in synthhuman.scan(raw)[KEY].values():
        (tmp_path / member.name).write_bytes(archive.read(member))
    return tmp_path


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_member_is_named_with_what_was_found(fault: str, sample: Path) -> None:
    kind, change, told = BAD[fault]
    member = sample / NAMES[kind]
    member.write_bytes(change(member.read_bytes()))
    with pytest.raises(BadSample, match=told) as caught:
        list(synthhuman.samples(sample))
    assert NAMES[kind] in caught.value.where or "differ in size" in caught.value.reason
    assert str(sample) in caught.value.where


@pytest.mark.parametrize("compression", ["NO", "RLE", "ZIPS", "ZIP", "PIZ"])
@pytest.mark.parametrize("rows", [512, 33, 1])
def test_any_exr_without_loss_is_read_exactly(compression: str, rows: int, sample: Path) -> None:
    noise = np.random.default_rng(rows).normal(size=(rows, COLUMNS)).astype(np.float32)  # chunks that do not shrink
    planes = {"B": plane(rows), "G": noise, "R": -noise}
    data = exr_of(planes, compression=getattr(OpenEXR, f"{compression}_COMPRESSION"))
    decoded = exr.decode(synthhuman.scan(sample)[KEY]["normal"], data, ("B", "G", "R"), 1 << 20)
    assert all(np.array_equal(found, planes[name]) for found, name in zip(decoded, "BGR", strict=True))


def test_what_else_lies_in_a_png_does_not_touch_its_pixels(sample: Path) -> None:
    """Gamma, a profile that inflates without end, an orientation, an animation; and bytes behind the last row."""
    path = sample / NAMES["rgb"]
    data = path.read_bytes()
    pixels = next(synthhuman.samples(sample)).rgb
    extra = [
        chunk(b"gAMA", struct.pack(">L", 10_000)),
        chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(30_000_000))),
        chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"),
        chunk(b"acTL", struct.pack(">2L", 1 << 20, 0)),
    ]
    path.write_bytes(data[:33] + b"".join(extra) + data[33:])
    assert np.array_equal(next(synthhuman.samples(sample)).rgb, pixels)
    rows = np.concatenate([np.zeros((ROWS, 1), np.uint8), pixels.reshape(ROWS, -1)], axis=1).tobytes()
    path.write_bytes(png_of(idat=zlib.compress(rows + bytes(10_000_000))))
    assert np.array_equal(next(synthhuman.samples(sample)).rgb, pixels)


def test_a_sample_without_intrinsics_is_a_sample(sample: Path) -> None:
    (sample / NAMES["cam"]).unlink()
    assert next(synthhuman.samples(sample)).intrinsics is None


def test_the_limit_on_pixels_is_the_callers(sample: Path) -> None:
    kinds = synthhuman.scan(sample)[KEY]
    assert synthhuman.load(KEY, kinds, ROWS * COLUMNS).key == KEY
    with pytest.raises(BadSample, match="rgb_0000000.png: .*declares 512 rows x 384 columns, at most 196,607"):
        synthhuman.load(KEY, kinds, ROWS * COLUMNS - 1)
    with pytest.raises(BadSample, match="can't be read: .* bytes, at most 1,048,[0-9]+ are expected"):
        (sample / NAMES["rgb"]).write_bytes(bytes(2_000_000))
        synthhuman.load(KEY, synthhuman.scan(sample)[KEY], 10)


def test_samples_that_are_not_whole_or_not_unique_are_named(sample: Path) -> None:
    for kind in synthhuman.REQUIRED:
        (sample / NAMES[kind]).rename(sample / "aside")
        with pytest.raises(BadSample, match=f"sample {KEY}: {kind} missing"):
            synthhuman.scan(sample)
        (sample / "aside").rename(sample / NAMES[kind])
    (sample / "more").mkdir()
    (sample / "more" / NAMES["alpha"]).write_bytes(b"")
    with pytest.raises(BadSample, match=f"sample {KEY}: alpha is there twice"):
        synthhuman.scan(sample)
    (sample / "more" / NAMES["alpha"]).rename(sample / f"rgb_{'9' * 30}.png")
    with pytest.raises(BadSample, match="an id of 30 digits, expected 18 at most"):
        synthhuman.scan(sample)


def test_a_file_that_changes_after_it_was_listed_is_named(sample: Path) -> None:
    kinds = synthhuman.scan(sample)[KEY]
    path = sample / NAMES["rgb"]
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DavidError, match="rgb_0000000.png: changed while .* bytes when it was listed"):
        synthhuman.read(kinds)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0, -5])
def test_a_depth_that_is_no_distance_costs_its_pixel_and_is_counted(value: float, sample: Path) -> None:
    good = next(synthhuman.samples(sample))
    place = tuple(np.argwhere(good.depth_valid)[0])
    depth = np.where(good.depth_valid, cm(good), synthhuman.BACKGROUND)
    depth[place] = value
    (sample / NAMES["depth"]).write_bytes(exr_of({"Y": depth}))
    masked, counts, _ = evidence.examine(next(synthhuman.samples(sample)), FIELDS_V1)
    assert not masked.depth_valid[place]
    assert np.count_nonzero(masked.depth_valid != good.depth_valid) == counts.odd == 1


_BOMBS = """
import resource, sys
from pathlib import Path
from david.pack import BadSample
from david.pack.sources import synthhuman
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for folder in sorted(Path(sys.argv[1]).iterdir()):
    try:
        list(synthhuman.samples(folder))
    except BadSample as error:
        print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, "MiB")
"""


def test_bombs_take_no_memory(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    bombs = tmp_path_factory.mktemp("bombs")
    faults = [fault for fault in BAD if "bomb" in fault or "overflows" in fault or "lies" in fault]
    for fault in faults:
        kind, change, _ = BAD[fault]
        (bombs / fault).mkdir()
        for path in sample.iterdir():
            data = path.read_bytes()
            (bombs / fault / path.name).write_bytes(change(data) if path.name == NAMES[kind] else data)
    done = subprocess.run([sys.executable, "-c", _BOMBS, bombs], capture_output=True, text=True, timeout=120)
    *told, memory = done.stdout.splitlines()
    assert len(told) == len(faults) == 5, done
    assert int(memory.split()[0]) < 100
