"""Whatever bytes come, a parser returns or names what is wrong: mutated seeds, and all that fuzzing ever found."""

import runpy
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from david.pack import DavidError
from david.pack.shards import index

FUZZ = Path(__file__).parent / "fuzz"
CASES = sorted(path for path in (FUZZ / "cases").rglob("*") if path.is_file())
_targets = runpy.run_path(str(FUZZ / "targets.py"))
TARGETS: dict[str, Callable[[bytes], None]] = _targets["TARGETS"]
SEEDS: dict[str, list[bytes]] = {name: make() for name, make in _targets["SEEDS"].items()}


@st.composite
def damaged(draw: st.DrawFn, name: str) -> bytes:
    """A seed with up to three of: bits flipped, a word written over, a piece cut out, repeated or spliced in."""
    data = bytearray(draw(st.sampled_from(SEEDS[name])))
    for kind in draw(st.lists(st.sampled_from(["flip", "word", "cut", "repeat", "splice", "end"]), max_size=3)):
        start = draw(st.integers(0, max(0, len(data) - 1)))
        stop = min(len(data), start + draw(st.integers(1, 64)))
        piece = data[start:stop]
        if kind == "flip" and data:
            data[start] ^= 1 << draw(st.integers(0, 7))
        elif kind == "word":
            data[start : start + 4] = draw(
                st.sampled_from([bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"])
            )
        elif kind == "cut":
            del data[start:stop]
        elif kind == "repeat":
            data[start:start] = piece * draw(st.integers(1, 50))
        elif kind == "splice":
            other = draw(st.sampled_from(SEEDS[name]))
            data[start:stop] = other[start : start + draw(st.integers(1, 200))]
        elif kind == "end":
            del data[start:]
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_bytes_are_read_or_refused_by_name(name: str) -> None:
    @settings(max_examples=150, deadline=None)
    @given(damaged(name))
    def run(data: bytes) -> None:
        with suppress(DavidError):
            TARGETS[name](data)

    run()


@pytest.mark.parametrize("name", TARGETS)
def test_sound_bytes_are_read_and_other_kinds_refused(name: str) -> None:
    """So the mutations start deep inside the parsers."""
    refused = []
    for seed in SEEDS[name]:
        try:
            TARGETS[name](seed)
        except DavidError as error:
            refused.append(str(error))
    told = {"png": ["with alpha"], "exr": ["compressed as B44"] * 2, "cam": ["intrinsics"]}.get(name, [])
    assert [word for word, message in zip(told, refused, strict=True) if word in message] == told


def test_an_index_takes_memory_as_it_has_bytes(tmp_path: Path) -> None:
    lines = [f"json {512 * i} 9 {'x' * (1_000_000 if i == 5 else 1)}" for i in range(200)]
    (tmp_path / "x.idx").write_text("\n".join(["v1.2 200", *lines]))
    tracemalloc.start()
    assert index.entries(tmp_path / "x.idx", ("json",))[0][5].tolist() == [[2560, 9]]
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}-{case.name}")
def test_what_fuzzing_found_is_read_or_refused_by_name(case: Path) -> None:
    with suppress(DavidError):
        TARGETS[case.parent.name](case.read_bytes())
