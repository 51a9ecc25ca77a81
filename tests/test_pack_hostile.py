"""Zips that lie: each is a named error, writes nothing and is never inflated beyond what it declares."""

import io
import struct
import tempfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from david.pack import BadSample, DavidError
from david.pack.raw import archive
from david.pack.sources import synthhuman
from david.pack.work import build

FULL = 0xFFFFFFFF


@dataclass(frozen=True)
class Entry:
    """A member to write. local, central: words of its two headers that differ from the truth."""

    name: str
    data: bytes
    method: int = 0
    local: dict[str, Any] = field(default_factory=dict)
    central: dict[str, Any] = field(default_factory=dict)


def make(entries: list[Entry], comment: bytes = b"", **end: int) -> bytes:
    """A zip as the entries say. end: words of the end of central directory that differ from the truth."""
    body = directory = b""
    for entry in entries:
        deflater = zlib.compressobj(wbits=-15)
        packed = deflater.compress(entry.data) + deflater.flush() if entry.method == 8 else entry.data
        truth = {"flags": 0, "method": entry.method, "crc": zlib.crc32(entry.data)}
        truth |= {"packed": len(packed), "size": len(entry.data), "name": entry.name.encode(), "extra": b""}
        truth |= {"attributes": 0, "disk": 0, "offset": len(body)}
        local, central = truth | entry.local, truth | entry.central
        words = [[h[word] for word in ("crc", "packed", "size")] for h in (local, central)]
        lengths = [[len(h["name"]), len(h["extra"])] for h in (local, central)]
        body += struct.pack("<4s5H3L2H", b"PK\3\4", 20, local["flags"], local["method"], 0, 0, *words[0], *lengths[0])
        body += local["name"] + local["extra"] + packed
        directory += struct.pack(
            "<4s6H3L2H", b"PK\1\2", 20, 20, central["flags"], central["method"], 0, 0, *words[1], *lengths[1]
        )
        directory += struct.pack("<3H2L", 0, central["disk"], 0, central["attributes"], central["offset"])
        directory += central["name"] + central["extra"]
    told = {"disk": 0, "here": len(entries), "total": len(entries), "size": len(directory), "offset": len(body)} | end
    words = [told[word] for word in ("disk", "disk", "here", "total", "size", "offset")]
    return body + directory + struct.pack("<4s4H2LH", b"PK\5\6", *words, len(comment)) + comment


def first(entries: list[Entry], **changes: Any) -> bytes:
    """The zip with its first member changed."""
    return make([replace(entries[0], **changes), *entries[1:]])


def also(entries: list[Entry], name: str, **changes: Any) -> bytes:
    """The zip with one more member."""
    return make([*entries, Entry(name, b"evil", **changes)])


def zip64(*words: int) -> bytes:
    return struct.pack(f"<2H{len(words)}Q", 1, 8 * len(words), *words)


def overlapping(entries: list[Entry]) -> bytes:
    """Fifield's bomb: one kernel of data that many members claim."""
    kernel = Entry("kernel.txt", bytes(100_000), 8)
    return make([kernel, *(Entry(f"{i}.txt", b"", 0, {}, {"offset": 0}) for i in range(50)), *entries])


def behind_the_stream(entries: list[Entry]) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    truth = {"method": 8, "size": len(entries[0].data), "crc": zlib.crc32(entries[0].data)}
    packed = deflater.compress(entries[0].data) + deflater.flush() + b"evil"
    return first(entries, data=packed, local=truth, central=truth)


def two_ends(entries: list[Entry]) -> bytes:
    """A second end of another directory, hidden in the comment of the first."""
    honest = make(entries)
    return make(entries, comment=honest[-22:])


HOSTILE: dict[str, tuple[Callable[[list[Entry]], bytes], str]] = {
    "a path to the parent": (lambda e: also(e, "../evil.txt"), r"'\.\./evil.txt' is no plain relative path"),
    "a parent within": (lambda e: also(e, "a/../../evil.txt"), "is no plain relative path"),
    "an absolute path": (lambda e: also(e, "/tmp/evil.txt"), "'/tmp/evil.txt' is no plain relative path"),
    "a drive": (lambda e: also(e, "C:evil.txt"), "'C:evil.txt' is no plain relative path"),
    "backslashes": (lambda e: also(e, "..\\evil.txt"), "is no plain relative path"),
    "a zero byte in a name": (lambda e: also(e, "rgb_1.png\0.txt"), "is no plain relative path"),
    "no name": (lambda e: also(e, ""), "'' is no plain relative path"),
    "a link": (lambda e: first(e, central={"attributes": 0o120777 << 16}), "rgb_0000000.png: is a link, expected"),
    "a device": (lambda e: first(e, central={"attributes": 0o020666 << 16}), "rgb_0000000.png: is no file, expected"),
    "a folder with bytes": (lambda e: also(e, "x/"), "'x/' is a folder with bytes"),
    "a name twice": (lambda e: make([*e, e[0]]), "is there twice"),
    "sizes beyond the file": (
        lambda e: first(e, central={"packed": 1 << 30, "size": 1 << 30}),
        "lies outside the file",
    ),
    "zip64 sizes beyond the file": (
        lambda e: first(e, central={"packed": FULL, "size": FULL, "extra": zip64(1 << 50, 1 << 50)}),
        "lies outside the file",
    ),
    "a zip64 size that overflows": (
        lambda e: first(e, central={"packed": FULL, "extra": zip64(2**64 - 1)}),
        "a zip64 field tells of 18,446,744,073,709,551,615 bytes",
    ),
    "an offset beyond the file": (lambda e: first(e, central={"offset": 1 << 31}), "lies outside the file"),
    "no zip64 field": (lambda e: first(e, central={"offset": FULL}), "a zip64 field is missing or too short"),
    "members that overlap": (overlapping, "50 of 56 members overlap"),
    "an encrypted member": (lambda e: first(e, central={"flags": 1}), "is encrypted"),
    "a member encrypted on the quiet": (lambda e: first(e, local={"flags": 1}), "its local header .* disagrees"),
    "a method that is not read": (
        lambda e: first(e, central={"method": 14}),
        r"rgb_0000000.png: is neither stored nor deflated \(method 14\)",
    ),
    "another name in the local header": (
        lambda e: first(e, local={"name": b"rgb_9999999.png"}),
        "rgb_9999999.* disagrees",
    ),
    "another size in the local header": (
        lambda e: first(e, local={"size": 5, "packed": 5}),
        "local header .* disagrees",
    ),
    "another CRC in the local header": (lambda e: first(e, local={"crc": 5}), "its local header .* disagrees"),
    "another method in the local header": (lambda e: first(e, local={"method": 8}), "its local header .* disagrees"),
    "a local header elsewhere": (lambda e: first(e, central={"offset": 1}), "no local header at 1|overlap"),
    "a wrong CRC": (lambda e: first(e, local={"crc": 5}, central={"crc": 5}), "CRC-32 .*, the zip says 00000005"),
    "a stored member of another size": (lambda e: first(e, central={"size": 5}), "stored in another size"),
    "a bomb": (
        lambda e: first(e, data=bytes(50_000_000), method=8, local={"size": 9}, central={"size": 9}),
        "declares 9 bytes but inflates to more",
    ),
    "a bomb that says so": (
        lambda e: first(e, method=8, local={"size": FULL - 1}, central={"size": FULL - 1}),
        "declares 512 rows x 384 columns, 2,031,616 bytes at most, but has 4,294,967,294",
    ),
    "bytes behind the deflated ones": (behind_the_stream, "deflated bytes are not one whole stream"),
    "too few bytes": (
        lambda e: first(e, method=8, local={"size": 1 << 21}, central={"size": 1 << 21}),
        "declares 2,097,152 bytes but holds",
    ),
    "bytes behind the end": (lambda e: make(e) + b"x", "no end of central directory closes the file"),
    "bytes before the start": (lambda e: b"x" + make(e), "does not meet its end"),
    "two ends": (two_ends, "two ends close the file"),
    "one part of several": (lambda e: make(e, disk=1), "one part of a zip in several parts"),
    "members that are not listed": (lambda e: make(e, here=4, total=4), "4 members fill .* of its directory"),
    "more members than listed": (lambda e: make(e, here=6, total=6), "5 of 6 members fill 312 of the 312 bytes"),
    "more members than bytes": (lambda e: make(e, here=65535, total=65535), "can't list 65,535 members"),
    "a directory elsewhere": (lambda e: make(e, offset=7), "does not meet its end"),
    "cut short": (lambda e: make(e)[:-700_000], "no end of central directory .* cut short"),
    "nothing": (lambda e: b"", "no end of central directory"),
}


@pytest.fixture(scope="module")
def entries(raw: Path) -> list[Entry]:
    """The five members of one sample, rgb first, as honest entries."""
    kinds = next(iter(synthhuman.scan(raw).values()))
    return [Entry(member.name, archive.read(member)) for _, member in sorted(kinds.items(), reverse=True)]


@pytest.mark.parametrize("lie", HOSTILE)
def test_a_hostile_zip_is_a_named_error_and_nothing_is_written_elsewhere(
    lie: str, entries: list[Entry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile, told = HOSTILE[lie]
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "x.zip").write_bytes(hostile(entries))
    monkeypatch.chdir(tmp_path / "raw")

    def elsewhere() -> dict[Path, bytes]:
        files = (path for path in tmp_path.rglob("*") if path.is_file())
        return {path: path.read_bytes() for path in files if not path.is_relative_to(tmp_path / "out")}

    before = elsewhere()
    with pytest.raises(DavidError, match=f"x.zip.*(?:{told})"):
        build.build(tmp_path / "raw" / "x.zip", tmp_path / "out", workers=1)
    assert elsewhere() == before
    assert not Path("/tmp/evil.txt").exists()


def test_honest_zips_that_look_odd_are_read(entries: list[Entry], tmp_path: Path) -> None:
    """A full comment, folders, foreign members, deflate, and zip64 fields that tell the truth."""
    longs = zip64(len(entries[0].data), len(entries[0].data))
    honest = [
        replace(
            entries[0], local={"size": FULL, "packed": FULL, "extra": struct.pack("<2H", 7, 200) + bytes(200) + longs}
        ),
        *(replace(entry, method=8) for entry in entries[1:]),
        Entry("./folder/", b""),
        Entry("./folder/readme é.txt", b"", local={"flags": 0x800}, central={"flags": 0x800}),
    ]
    path = tmp_path / "x.zip"
    path.write_bytes(make(honest, comment=b"PK\5\6" * 16_383))
    listed = list(archive.members(path))
    assert [member.name for member in listed][5:] == ["./folder/readme é.txt"]
    assert [archive.read(member) for member in listed] == [entry.data for entry in entries] + [b""]
    assert len(list(synthhuman.samples(path))) == 1


names = st.text("abcé/.", min_size=1, max_size=9).filter(lambda name: not name.startswith("/"))
plain = names.filter(lambda name: "//" not in name and ".." not in name and not name.endswith("/"))


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(plain, st.tuples(st.binary(max_size=300), st.sampled_from([0, 8]), st.booleans()), max_size=6),
    st.booleans(),
    st.binary(max_size=30).filter(lambda comment: b"PK" not in comment),  # which zipfile takes for another end
)
def test_what_zipfile_writes_is_listed_and_read_as_zipfile_does(
    files: dict[str, tuple[bytes, int, bool]], streamed: bool, comment: bytes
) -> None:
    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return not streamed

        def tell(self) -> int:
            if streamed:
                raise io.UnsupportedOperation
            return super().tell()

    stream = Stream()
    with zipfile.ZipFile(stream, "w") as writer:
        writer.comment = comment
        for name, (data, method, long) in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            with writer.open(info, "w", force_zip64=long) as member:
                member.write(data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.zip"
        path.write_bytes(stream.getvalue())
        ours = [(member.name, member.size, member.crc, archive.read(member)) for member in archive.members(path)]
        with zipfile.ZipFile(path) as reader:
            theirs = [(info.filename, info.file_size, info.CRC, reader.read(info)) for info in reader.infolist()]
        assert ours == theirs
        assert archive.comment(path) == comment


def test_a_member_is_read_without_the_central_directory(entries: list[Entry], tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(make(entries))
    listed = list(archive.members(path))
    with path.open("r+b") as file:
        file.truncate(listed[-1].offset + 30 + len(listed[-1].name) + listed[-1].packed)
    assert [archive.read(member) for member in listed] == [entry.data for entry in entries]
    with pytest.raises(DavidError, match="no whole zip"):
        list(archive.members(path))
    path.write_bytes(b"")
    with pytest.raises(BadSample, match="no local header"):
        archive.read(listed[0])
    path.unlink()
    with pytest.raises(BadSample, match="No such file"):
        archive.read(listed[0])


def test_a_bomb_is_not_inflated(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    lie = {"size": 100}
    path.write_bytes(make([Entry("x", bytes(1 << 28), 8, lie, lie)]))
    (member,) = archive.members(path)
    tracemalloc.start()
    with pytest.raises(BadSample, match="declares 100 bytes but inflates to more"):
        archive.read(member)
    assert tracemalloc.get_traced_memory()[1] < 3 * member.packed
    tracemalloc.stop()
