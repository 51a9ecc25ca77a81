"""Where samples go: a pure function of ids and options. How well it mixes: see `test_pack_zips.py`."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from david.pack import DavidError
from david.pack.raw.archive import Entry, Found, Member
from david.pack.shards import codecs
from david.pack.work import plan
from david.pack.work.record import compare


def found(count: int) -> Found:
    """What a scan of `count` samples gives, as far as a plan looks at it."""
    entry = Entry({"rgb": Member(Path("SynthHuman_0000.zip"), "rgb.png", 1, 0, 0, 1, 0)})
    return dict.fromkeys((f"{number:07d}" for number in range(count)), entry)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.integers(1, 50), st.floats(0, 0.9), st.integers(0, 5))
def test_every_sample_stands_once_and_shards_are_full_but_the_last(
    count: int, size: int, val_fraction: float, seed: int
) -> None:
    options = plan.PackOptions(shard_samples=size, val_fraction=val_fraction, seed=seed)
    whole = plan.plan(found(count), options)
    assert whole == plan.plan(found(count), options)
    assert sorted(key for shard in whole.shards for key, _ in shard.samples) == list(found(count))
    for split in ("train", "val"):
        sizes = [len(shard.samples) for shard in whole.shards if shard.split == split]
        assert all(one == size for one in sizes[:-1])
        assert all(1 <= one <= size for one in sizes)


def test_more_samples_leave_the_others_in_their_split() -> None:
    options = plan.PackOptions(val_fraction=0.3)
    few, many = ({k: plan.split_of(k, 0.3) for k in found(count)} for count in (100, 1000))
    assert few.items() <= many.items()
    assert 0.25 < sum(split == "val" for split in many.values()) / 1000 < 0.35
    assert options.as_json()["val_fraction"] == 0.3


@pytest.mark.parametrize(
    "wrong",
    [
        {"image": "gif"},
        {"compression": "xz"},
        {"val_fraction": 1.0},
        {"shard_samples": 0},
        {"max_pixels": 0},
        {"max_pixels": -1},
    ],
)
def test_impossible_options_are_refused(wrong: dict) -> None:
    with pytest.raises(DavidError):
        plan.PackOptions(**wrong)


def test_what_other_codecs_of_davids_own_began_is_not_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "REVISION", 1)
    first = plan.plan(found(3), plan.PackOptions()).as_json()
    before_it_was_written_down = first | {"libraries": {name: plan.version(name) for name in plan.ENCODERS}}
    compare(Path("shards"), before_it_was_written_down, first)
    monkeypatch.setattr(codecs, "REVISION", 2)
    second = plan.plan(found(3), plan.PackOptions()).as_json()
    for there in (first, before_it_was_written_down):
        with pytest.raises(DavidError, match="david's codecs is revision 1 there and revision 2 now"):
            compare(Path("shards"), there, second)
