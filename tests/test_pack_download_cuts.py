"""Downloads whose power is cut: what goes on from any state of the disk ends with the right bytes."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import power_cut
import pytest
from zip_server import ZIP, make_zip

from david.pack.fetch import fetcher, lock
from david.pack.fetch.answers import About, Unavailable
from david.pack.fetch.download import download
from david.pack.fetch.fetcher import DownloadOptions
from david.pack.fetch.partial import Partial

OPTIONS = DownloadOptions(connections=1, part_bytes=400)


@dataclass
class Near:
    """In place of `remote.Remote`: one file in this machine's memory. gives: what comes for the next parts in place of
    its own bytes, None where the connection breaks"""

    data: bytes
    etag: str = "1"
    ranges: bool = True
    sized: bool = True
    gives: list[Callable[[bytes], bytes] | None] = field(default_factory=list)

    def __call__(self, *_: object) -> "Near":
        return self

    def about(self, *_: object) -> About:
        return About(len(self.data) if self.sized else None, self.ranges, self.etag, None)

    def fetch(
        self, url: str, _about: About, start: int, stop: int | None, write: Callable[[int, bytes], None], *_: object
    ) -> None:
        give = self.gives.pop(0) if self.gives else bytes
        if give is None:
            raise Unavailable(f"{url}: the connection dropped")
        data = give(self.data[start:stop])
        for first in range(0, len(data), 150):
            write(start + first, data[first : first + 150])

    def stop(self, *_: object) -> None:
        """Nothing takes time."""

    go_on = stop


def wrong(data: bytes) -> bytes:
    return bytes(255 - one for one in data)


@pytest.fixture
def near(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Near:
    served = Near(make_zip(tmp_path / ZIP, 3, 250, seed=0))
    monkeypatch.setattr(fetcher, "Remote", served)
    return served


def survives(near: Near, folder: Path, after: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Download into `folder`; go on from each state of the disk that a power cut may leave. How many there were."""
    versions = near.data, wrong(near.data)
    states = list(power_cut.cuts(folder, lambda: download(folder, [ZIP], OPTIONS)))
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # the power holds from here on
    for cut in states:
        out = cut.lay(after)
        if not (out / ZIP).exists():
            with Partial(out / ZIP, near.about(), OPTIONS.part_bytes) as part:
                for number in part.done:  # each came as it stands there
                    start, stop = part.parts[number]
                    assert part.path.read_bytes()[start:stop] in [one[start:stop] for one in versions], cut.when
        entry = download(out, [ZIP], OPTIONS)[ZIP]
        assert (out / ZIP).read_bytes() == near.data, cut.when
        assert {path.name for path in out.iterdir()} == {ZIP, lock.NAME}, cut.when
        assert lock.load(out / lock.NAME)[ZIP] == entry
    return len(states)


@pytest.mark.parametrize(
    "how",
    [{}, {"ranges": False}, {"ranges": False, "sized": False}],
    ids=["in parts", "in one stream", "without a known size"],
)
def test_after_a_power_cut_a_download_goes_on_to_the_right_bytes(
    how: dict[str, bool], near: Near, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetcher, "Remote", replace(near, **how))
    (tmp_path / "out").mkdir()
    assert survives(replace(near, **how), tmp_path / "out", tmp_path / "after", monkeypatch) > 10


@pytest.mark.parametrize("etag", ["1", "0"], ids=["this version", "an older version"])
def test_after_a_power_cut_what_had_been_gone_on_with_ends_right(
    etag: str, near: Near, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = near.data if etag == "1" else wrong(near.data)
    monkeypatch.setattr(fetcher, "Remote", Near(older, etag, gives=[bytes, bytes, None]))
    with pytest.raises(Unavailable):
        download(tmp_path / "out", [ZIP], OPTIONS)
    monkeypatch.setattr(fetcher, "Remote", near)
    assert survives(near, tmp_path / "out", tmp_path / "after", monkeypatch) > 10


def test_after_a_power_cut_while_damaged_parts_come_again_the_zip_is_right(
    near: Near, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near.gives = [wrong]
    (tmp_path / "out").mkdir()
    assert survives(near, tmp_path / "out", tmp_path / "after", monkeypatch) > 10
