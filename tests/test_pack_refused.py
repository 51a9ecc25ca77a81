"""Where the system refuses, each command of the raw data and the shards says so with the path, and nothing is lost."""

import errno
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from starters import contents, quick, tiny_raw

from david import cli
from david.pack.work import crew, survey

FILES = ("plan.json", "conventions-all.json", "train-000000.tar", "train-000000.idx", "train-000000.json")


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs `david WORDS` here: its exit code, and what it said of errors."""
    monkeypatch.setattr(crew, "run", quick)
    monkeypatch.setattr(survey, "look", lambda entries, most, _: [survey.see(*entry, most) for entry in entries])

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["david", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0), capsys.readouterr().err

    return run


@pytest.mark.parametrize("where", ["/proc/nowhere", "file in the way"])
@pytest.mark.parametrize("command", ["pack", "synth", "view", "sheet"])
def test_a_place_that_cannot_be_written_is_a_sentence(command: str, where: str, say, tmp_path: Path) -> None:
    raw = tiny_raw(tmp_path / "raw.zip", samples=1)
    place = Path(where) if where.startswith("/") else tmp_path / where
    if place.parent == tmp_path:
        place.write_text("mine")
    out = place / "out.png"
    code, told = say(
        *{
            "pack": ("pack", raw, out),
            "synth": ("synth", out, "--samples", 1, "--zips", 1),
            "view": ("view", raw, "--out", out),
            "sheet": ("view", raw, "--contact-sheet", out),
        }[command]
    )
    assert code == 1, told
    assert told.startswith(f"david: {place}") and told.count("\n") == 1
    assert place.parent != tmp_path or place.read_text() == "mine"


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch):
    """Makes the disk full for one file: what is written of it does not reach the disk."""
    fsync = os.fsync

    def for_file(name: str) -> None:
        def sync(handle: int) -> None:
            if name and Path(f"/proc/self/fd/{handle}").readlink().name.startswith(f".{name}."):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fsync(handle)

        monkeypatch.setattr(os, "fsync", sync)

    return for_file


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_disk_that_is_full_for_any_file_of_a_pack_is_a_sentence_and_nothing_is_lost(
    say, full, tmp_path: Path
) -> None:
    raw, shards = tiny_raw(tmp_path / "raw.zip", samples=4), tmp_path / "shards"
    assert say("pack", raw, tmp_path / "alone") == (0, "")
    expected, before = contents(tmp_path / "alone"), set()
    for name in (*FILES, "report.html", "dataset.json"):
        full(name)
        code, told = say("pack", raw, shards)
        assert code == 1, told
        assert told.startswith("david: ") and f"{name}: can't be written (No space left on device); make room" in told
        assert told.count("\n") == 1
        left = {one for one, data in contents(shards).items() if expected.get(one) == data}
        assert before <= left, "what was whole is gone"
        assert not [one for one in contents(shards) if one.endswith(".part")]
        before = left
    full("")
    assert say("pack", raw, shards) == (0, "")
    assert contents(shards) == expected


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_disk_that_is_full_for_a_drawn_zip_or_a_page_is_a_sentence(say, full, tmp_path: Path) -> None:
    raw = tiny_raw(tmp_path / "raw.zip", samples=1)
    calls = {
        "SynthHuman_0000.zip": ("synth", tmp_path / "drawn", "--samples", 1, "--zips", 1),
        "page.html": ("view", raw, "--out", tmp_path / "page.html"),
        "sheet.png": ("view", raw, "--contact-sheet", tmp_path / "sheet.png"),
    }
    for name, words in calls.items():
        full(name)
        code, told = say(*words)
        assert (code, told.count("\n")) == (1, 1), told
        assert f"{name}: can't be written (No space left on device); make room" in told
        assert not list(tmp_path.rglob(f"*{name}*"))
        full("")
        assert say(*words) == (0, "")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Four photos with depth in millimetres, in PNGs."""
    for kind in ("rgb", "depth"):
        (tmp_path / "own" / kind).mkdir(parents=True)
    ramp = np.linspace(900, 2100, 48 * 36).reshape(48, 36).astype(np.uint16)
    for number in range(4):
        cv2.imwrite(str(tmp_path / "own" / "rgb" / f"{number}.png"), np.full((48, 36, 3), 40 * number, np.uint8))
        cv2.imwrite(str(tmp_path / "own" / "depth" / f"{number}.png"), ramp)
    return tmp_path / "own"


WORDS = "--source", "folder", "--rgb", "rgb/*.png", "--depth", "depth/*.png", "--val-fraction", 0, "--depth-scale"


def test_a_refused_pack_leaves_room_for_the_mended_data(say, own: Path, tmp_path: Path) -> None:
    shards, photo = tmp_path / "shards", own / "rgb" / "2.png"
    code, told = say("pack", own, shards, *WORDS, 1000)
    assert code == 2 and "nothing was packed" in told
    good, bad = photo.read_bytes(), b"a text"
    photo.write_bytes(bad)
    code, told = say("pack", own, shards, *WORDS, 0.001)
    assert code == 2 and "mend it, or set it aside with --on-bad quarantine" in told
    photo.write_bytes(good)
    assert say("pack", own, shards, *WORDS, 0.001) == (0, "")
    assert say("pack", own, tmp_path / "alone", *WORDS, 0.001) == (0, "")
    assert contents(shards) == contents(tmp_path / "alone")


def test_where_shards_are_finished_a_bad_sample_says_what_mending_it_costs(say, own: Path, tmp_path: Path) -> None:
    shards, words = tmp_path / "shards", (*WORDS, 0.001, "--shard-samples", 1, "--order", "stored")
    photo = own / "rgb" / "2.png"
    good = photo.read_bytes()
    photo.write_bytes(b"a text")
    code, told = say("pack", own, shards, *words)
    assert code == 2 and "mend it and pack all again with --restart, or set it aside" in told
    assert "with --on-bad quarantine, which keeps what is packed" in told
    before = contents(shards)
    photo.write_bytes(good)
    code, told = say("pack", own, shards, *words)
    assert code == 2 and "was begun otherwise: the raw data is" in told and "1 sample changed" in told
    assert contents(shards) == before
    photo.write_bytes(b"a text")
    assert say("pack", own, shards, *words, "--on-bad", "quarantine") == (0, "")
    assert contents(shards).items() >= {name: data for name, data in before.items() if name.endswith(".tar")}.items()
