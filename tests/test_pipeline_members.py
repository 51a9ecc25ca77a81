"""A sample's members on their way into memory: what is damaged is named, and what is not stays what it was."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from david.pack.errors import BadSample, DavidError
from david.pack.shards import codecs, shard
from david.pack.shards.schema import Compression, extensions
from david.pipeline.reading import _members, members

WHERE = "here.tar, sample 3"
EXTENSIONS = extensions("jpeg", "lz4")


@pytest.fixture(params=["the libraries themselves", "their packages"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to the same libraries: by the address of their functions, and where none can be had."""
    assert members.XXH3 and members.LZ4, "xxhash and lz4 show their functions where these tests run"
    if request.param == "their packages":
        monkeypatch.setattr(members, "XXH3", 0)
        monkeypatch.setattr(members, "LZ4", 0)
    return request.param


def packed(stored: np.ndarray, compression: Compression) -> dict[str, memoryview]:
    """(6, h, w) planes as the members that hold them."""
    parts = {"alpha": stored[:1], "depth": stored[1:3], "normals": stored[3:]}
    return {name: memoryview(codecs.encode_planes(part, compression)) for name, part in parts.items()}


def inflated(stored: dict[str, memoryview], compression: Compression, h: int, w: int) -> np.ndarray:
    out = np.full((6, h, w), 255, np.uint8)
    outs = {"alpha": out[:1], "depth": out[1:3], "normals": out[3:]}
    members.inflate(stored, compression, outs, WHERE)
    return out


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
@pytest.mark.parametrize("size", [(60, 50), (256, 256), (1, 65_537), (300, 257), (1, 1)])
@pytest.mark.usefixtures("way")
def test_inflating_fills_all_planes(compression: Compression, size: tuple[int, int]) -> None:
    stored = np.random.default_rng(0).integers(0, 9, (6, *size), np.uint8)
    assert np.array_equal(inflated(packed(stored, compression), compression, *size), stored)


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
@pytest.mark.parametrize("field", ["alpha", "depth", "normals"])
@pytest.mark.usefixtures("way")
def test_a_member_cut_short_or_too_long_names_the_sample_and_the_field(compression: Compression, field: str) -> None:
    whole = packed(np.random.default_rng(0).integers(0, 9, (6, 60, 50), np.uint8), compression)
    right = len(whole[field])
    for length in (0, 3, 4, right - 9, right - 1, right + 1):
        other = (bytes(whole[field]) + b"x")[:length]
        with pytest.raises(BadSample, match=f"here.tar, sample 3: {field}: "):
            inflated(whole | {field: memoryview(other)}, compression, 60, 50)


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_changed_bytes_give_an_error_or_planes_that_the_package_gives_too(data: st.DataObject) -> None:
    whole = packed(np.random.default_rng(0).integers(0, 3, (6, 40, 900), np.uint8), "lz4")
    field = data.draw(st.sampled_from(["alpha", "depth", "normals"]))
    changed = bytearray(whole[field])
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    damaged = whole | {field: memoryview(bytes(changed))}
    try:
        expected = np.concatenate(
            [
                codecs.decode_planes(damaged[n], c, 40, 900, "lz4")
                for n, c in (("alpha", 1), ("depth", 2), ("normals", 3))
            ]
        )
    except DavidError:
        with pytest.raises(BadSample):
            inflated(damaged, "lz4", 40, 900)
    else:
        assert np.array_equal(inflated(damaged, "lz4", 40, 900), expected)


def test_each_member_needs_a_buffer_that_can_be_written() -> None:
    whole = packed(np.zeros((6, 60, 50), np.uint8), "lz4")
    with pytest.raises(ValueError, match="one buffer to fill for each member"):
        _members.inflate(members.LZ4, tuple(whole.values()), (np.empty((1, 60, 50), np.uint8),))
    kept = np.empty((1, 60, 50), np.uint8)
    kept.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        _members.inflate(members.LZ4, (whole["alpha"],), (kept,))


def archived(datas: list[bytes]) -> tuple[bytearray, np.ndarray]:
    """A shard's bytes with one sample, and where its members lie."""
    archive, spans = io.BytesIO(), []
    for extension, data in zip(EXTENSIONS, datas, strict=True):
        archive.write(shard.header(f"0000428.{extension}", data))
        spans.append((archive.tell(), len(data)))
        archive.write(data + bytes(-len(data) % tarfile.BLOCKSIZE))
    return bytearray(archive.getvalue()), np.array(spans, np.int64)


DATAS = [b"image" * 4_000, b"a", b"depth" * 999, b"", b"{}"]


@pytest.mark.usefixtures("way")
def test_members_as_they_were_written_pass_wherever_the_sample_stands() -> None:
    data, spans = archived(DATAS)
    members.check(memoryview(data), 0, spans, EXTENSIONS, WHERE)
    members.check(memoryview(data), 10_000_000_000, spans + np.array([10_000_000_000, 0]), EXTENSIONS, WHERE)


@pytest.mark.parametrize("number", [0, 1, 2, 4])
@pytest.mark.usefixtures("way")
def test_a_changed_byte_names_the_sample_and_its_member(number: int) -> None:
    data, spans = archived(DATAS)
    data[spans[number].sum() - 1] ^= 1
    with pytest.raises(BadSample, match=f"here.tar, sample 3: {EXTENSIONS[number]}: its bytes changed"):
        members.check(memoryview(data), 0, spans, EXTENSIONS, WHERE)


@pytest.mark.usefixtures("way")
def test_a_changed_hash_in_a_header_is_no_match_either() -> None:
    data, spans = archived(DATAS)
    data[spans[2][0] - tarfile.BLOCKSIZE + 297] ^= 1
    with pytest.raises(BadSample, match="depth.lz4: its bytes changed"):
        members.check(memoryview(data), 0, spans, EXTENSIONS, WHERE)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("at_once", [1 << 30, 100])
def test_a_sample_is_read_and_checked_in_one_go(tmp_path: Path, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "AT_ONCE", at_once)
    data, spans = archived(DATAS)
    before, begin = b"another sample" * 50, 700
    path, room = tmp_path / "here.tar", bytearray(len(data))
    path.write_bytes(before + data)
    with path.open("rb") as file:
        handle = file.fileno()
        members.load(handle, memoryview(room), begin, spans + np.array([begin, 0]), EXTENSIONS, WHERE)
        assert room == data
        with pytest.raises(BadSample, match="here.tar, sample 3: the shard ends 9 bytes before the sample does"):
            members.load(handle, memoryview(room), begin + 9, spans, EXTENSIONS, WHERE)
    data[spans[2].sum() - 1] ^= 1
    path.write_bytes(data)
    with path.open("rb") as file, pytest.raises(BadSample, match="depth.lz4: its bytes changed"):
        members.load(file.fileno(), memoryview(room), 0, spans, EXTENSIONS, WHERE)
    folder = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(BadSample, match="can't be read .Is a directory"):
        members.load(folder, memoryview(room), 0, spans, EXTENSIONS, WHERE)
    os.close(folder)
