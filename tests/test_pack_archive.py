"""Raw data in any shape that people keep it in: all of it is found, or what can't be looked at is named."""

import os
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from david.pack import BadSample, DavidError, read
from david.pack.raw import archive
from david.pack.shards import manifest
from david.pack.sources import synthhuman
from david.pack.work import build, plan

OPTIONS = plan.PackOptions(val_fraction=0.25, shard_samples=3)
SET_ASIDE = build.BadPolicy(quarantine=True, max_share=0.5)


@pytest.fixture(scope="module")
def raw(two_zips: Path) -> Path:
    return two_zips


def loose(raw: Path, folder: Path, samples: int = 6) -> Path:
    """The first samples as loose files in `folder`."""
    folder.mkdir()
    for kinds in list(synthhuman.scan(raw).values())[:samples]:
        for member in kinds.values():
            (folder / Path(member.name).name).write_bytes(archive.read(member))
    return folder


def test_zips_are_found_in_any_case_in_subfolders_and_through_links(raw: Path, tmp_path: Path) -> None:
    first, second = sorted(raw.glob("*.zip"))
    everywhere, elsewhere = tmp_path / "raw", tmp_path / "other disk"
    (everywhere / "a" / "b").mkdir(parents=True)
    elsewhere.mkdir()
    (everywhere / "a" / "b" / "Y.ZIP").symlink_to(first)
    (elsewhere / "x.Zip").symlink_to(second)
    (everywhere / "disk").symlink_to(elsewhere)
    (everywhere / "disk again").symlink_to(elsewhere)  # the same folder: entered once
    (elsewhere / "round").symlink_to(everywhere)
    assert list(synthhuman.scan(everywhere)) == list(synthhuman.scan(raw))
    (everywhere / "once more.zip").symlink_to(first)
    with pytest.raises(BadSample, match=r"is there twice, in .*Y\.ZIP and in .*once more\.zip"):
        synthhuman.scan(everywhere)


@pytest.mark.parametrize("name", ["SynthHuman_0001.zip", "inner/rgb_0000001.png", "a folder"])
def test_a_link_that_leads_nowhere_is_named_and_never_skipped(name: str, raw: Path, tmp_path: Path) -> None:
    folder = loose(raw, tmp_path / "raw", 1)
    (folder / "inner").mkdir()
    (folder / name).symlink_to("/mnt/not mounted/x")
    with pytest.raises(DavidError, match=rf"{name}: a link that leads nowhere \(to /mnt/not mounted/x: No such file"):
        build.build(folder, tmp_path / "shards", OPTIONS)
    (folder / name).unlink()
    (folder / name).symlink_to(folder / name)
    with pytest.raises(DavidError, match=rf"{name}: a link that leads nowhere"):
        build.build(folder, tmp_path / "shards", OPTIONS)


def test_what_can_not_be_looked_at_is_named(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = loose(raw, tmp_path / "raw", 2)
    os.mkfifo(folder / "pipe.zip")
    with pytest.raises(DavidError, match=r"pipe\.zip: neither a file nor a folder"):
        synthhuman.scan(folder)
    (folder / "pipe.zip").unlink()
    (folder / "locked").mkdir()
    scandir = os.scandir

    def closed(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(DavidError, match=r"locked: can't be listed: Permission denied"):
        synthhuman.scan(folder)
    monkeypatch.undo()
    found = synthhuman.SynthHuman().scan(folder)
    (folder / "rgb_0000001.png").unlink()
    with pytest.raises(BadSample, match=r"rgb_0000001\.png: can't be read: No such file"):
        archive.hashed(found)
    whole, bad = archive.hashed(found, {})
    assert list(whole) == ["0000000"] and list(bad or {}) == ["0000001"]


def test_loose_files_are_hashed_as_a_zip_lists_them(raw: Path, tmp_path: Path) -> None:
    folder = loose(raw, tmp_path / "raw", 3)
    told: list[tuple[int, int]] = []
    hashed, _ = archive.hashed(synthhuman.SynthHuman().scan(folder), watch=lambda *now: told.append(now))
    zipped, asked = synthhuman.SynthHuman().scan(raw), 0
    for key, (kinds, *_) in hashed.items():
        assert {kind: one.crc for kind, one in kinds.items()} == {k: one.crc for k, one in zipped[key].members.items()}
        asked += sum(one.size for one in kinds.values())
    assert told == [(0, asked), (asked, asked)]
    assert archive.hashed(zipped) == (zipped, None)


def changed(path: Path) -> None:
    """The same size, the same time, one byte of another value."""
    about, data = path.stat(), bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def test_a_pack_of_files_that_changed_since_it_began_is_refused_with_names(raw: Path, tmp_path: Path) -> None:
    folder, shards = loose(raw, tmp_path / "raw"), tmp_path / "shards"
    assert build.build(folder, shards, OPTIONS, part=build.Part(1, 2), workers=1) is None
    changed(folder / "rgb_0000004.png")
    changed(folder / "cam_0000002.txt")
    with pytest.raises(
        DavidError, match=r"was begun otherwise: the raw data is .*, 2 samples changed \(0000002, 0000004"
    ):
        build.build(folder, shards, OPTIONS, workers=1)
    for path in folder.glob("*_0000005.*"):
        path.unlink()
    with pytest.raises(DavidError, match=r", 1 sample no longer there \(0000005\), 2 samples changed"):
        build.build(folder, shards, OPTIONS, workers=1)


@pytest.mark.parametrize("bad", [None, SET_ASIDE], ids=["stop", "quarantine"])
def test_a_file_that_changes_while_it_is_packed_stops_the_pack(
    bad: build.BadPolicy | None, raw: Path, tmp_path: Path
) -> None:
    folder = loose(raw, tmp_path / "raw")

    def change_all(*_: object) -> None:
        for path in folder.glob("rgb_*"):
            changed(path)

    told = r"rgb_000000\d\.png: changed while it was being packed \(its bytes had CRC-32"
    with pytest.raises(DavidError, match=told):
        build.build(folder, tmp_path / "shards", OPTIONS, bad=bad, workers=1, planned=change_all)


def zipped(raw: Path, path: Path, change: Callable[[zipfile.ZipFile], None]) -> Path:
    """The first three samples as a zip, and what `change` adds to it."""
    with zipfile.ZipFile(path, "w") as file:
        for kinds in list(synthhuman.scan(raw).values())[:3]:
            for member in kinds.values():
                file.writestr(Path(member.name).name, archive.read(member))
        change(file)
    return path


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return info


def test_members_that_are_not_ours_keep_no_zip_from_being_packed(raw: Path, tmp_path: Path) -> None:
    def add(file: zipfile.ZipFile) -> None:
        file.writestr(link("latest"), "rgb_0000000.png")
        file.writestr("notes.txt", b"x" * 1000, zipfile.ZIP_BZIP2)

    assert len(list(synthhuman.samples(zipped(raw, tmp_path / "x.zip", add)))) == 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("alpha_0000007.png", "is a link, expected a plain file, stored or deflated"),
        ("depth_0000007.exr", r"is neither stored nor deflated \(method 12\), expected"),
        (f"rgb_{'7' * 30}.png", "an id of 30 digits, expected 18 at most"),
    ],
)
def test_a_member_of_ours_that_can_not_be_read_is_one_bad_sample(
    name: str, reason: str, raw: Path, tmp_path: Path
) -> None:
    def add(file: zipfile.ZipFile) -> None:
        if name.startswith("alpha"):
            file.writestr(link(name), "elsewhere.png")
        else:
            file.writestr(name, b"x" * 1000, zipfile.ZIP_BZIP2 if "depth" in name else zipfile.ZIP_STORED)

    path = zipped(raw, tmp_path / "x.zip", add)
    with pytest.raises(BadSample, match=rf"x\.zip, {name}: {reason}"):
        build.build(path, tmp_path / "shards", OPTIONS)
    written = build.build(path, tmp_path / "shards", OPTIONS, bad=SET_ASIDE, workers=1)
    assert written is not None and sum(map(written.samples, ("train", "val"))) == 3
    assert [reason.split(" ")[0] in one["reason"] for one in written.quarantined] == [True]


def test_a_folder_whose_name_is_no_text_is_packed_and_named(raw: Path, tmp_path: Path) -> None:
    """A byte that is no UTF-8, and a sequence that clears a terminal's screen."""
    folder = loose(raw, Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\x1b[2J")))
    (folder / "depth_0000001.exr").write_bytes(b"none")
    command = [sys.executable, "-m", "david.cli", "pack", os.fsencode(folder), str(tmp_path / "shards")]
    done = subprocess.run([*command, "--on-bad", "quarantine", "--max-bad", "0.5"], capture_output=True, timeout=60)
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert rb"caf\udce9\x1b[2J, depth_0000001.exr" in told and b"\x1b" not in told
    assert r"caf\udce9\x1b[2J, depth_0000001.exr: depth" in (tmp_path / "shards" / "report.html").read_text()
    assert len(list(read(tmp_path / "shards", "train"))) + manifest.load(tmp_path / "shards").samples("val") == 5


_MEMORY = """
import resource, sys
from pathlib import Path
from david.pack import BadSample
from david.pack.sources import synthhuman
found = synthhuman.scan(Path(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for key, kinds in found.items():
    try:
        synthhuman.load(key, kinds)
    except BadSample as error:
        print(error.reason)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, "MiB")
"""


def test_a_zip_of_megabytes_takes_no_gigabytes(raw: Path, tmp_path: Path) -> None:
    """A sound header, then zeros without end: deflate makes a thousandth of them."""
    kinds = next(iter(synthhuman.scan(raw).values()))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        for kind, member in kinds.items():
            size = 1 << 27 if kind in ("rgb", "normal") else 0
            file.writestr(Path(member.name).name, archive.read(member) + bytes(size), zipfile.ZIP_DEFLATED, 1)
    done = subprocess.run([sys.executable, "-c", _MEMORY, tmp_path], capture_output=True, text=True, timeout=60)
    reason, memory = done.stdout.splitlines()
    assert reason.startswith("declares 48 rows x 36 columns") and "134," in reason, done
    assert int(memory.split()[0]) < 40


def test_the_first_bytes_of_a_member_are_those_of_the_whole(raw: Path, tmp_path: Path) -> None:
    noise = os.urandom(5000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        for name, data in (("noise", noise), ("zeros", bytes(1 << 20)), ("none", b"")):
            file.writestr(f"{name} stored", data, zipfile.ZIP_STORED)
            file.writestr(f"{name} deflated", data, zipfile.ZIP_DEFLATED)
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "x").write_bytes(noise)
    for member in [*archive.members(tmp_path / "x.zip"), *archive.members(tmp_path / "loose")]:
        whole = archive.read(member)
        assert zlib.crc32(whole) == archive.crc32(member, whole)
        for size in (1, 33, 4096, 1 << 16):
            assert archive.begin(member, size) == whole[:size]
