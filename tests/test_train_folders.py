"""Where a run goes, what makes it the same run, and that a start that came to nothing leaves nothing."""

import dataclasses
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from david.cli import app
from david.pack.errors import DavidError
from david.pack.files import write_whole
from david.train import identity, loop, recipes, run
from david.train.journal import read
from david.train.loop import train
from david.train.recipe import Recipe, override, to_json
from david.train.start import PRETRAINED, Start
from david.train.trees import flat

SETTINGS = [
    *("data.height=16", "data.width=12", "model.backbone_size=32", "model.width=16", "model.head_widths=8,8"),
    *("model.reassemble=8,8,8,8", "batch_size=4", "steps=2", "optim.warmup=1", "picture_every=0"),
]
TINY = override(recipes.recipe("smoke"), SETTINGS)


@pytest.fixture(scope="module")
def small(tiny: Callable[[Path, list[int]], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("small") / "shards", [5, 4])


@pytest.fixture(scope="module")
def other(tiny: Callable[[Path, list[int]], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("small") / "shards", [6, 4])


def david(shards: Path | None, *more: str) -> str:
    """What `david train` says of the tiny recipe."""
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    named = ["--shards", str(shards)] if shards else []
    done = CliRunner().invoke(app, ["train", *named, "--device", "cpu", *sets, *more])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_the_default_folder_depends_on_what_must_not_change_and_on_nothing_else(small: Path, other: Path):
    def folder(*changes: str, shards: Path = small, begin: Start = PRETRAINED) -> Path:
        return identity.default_folder(override(TINY, list(changes)), shards, begin)

    own = folder()
    assert own == folder() and own.parent == Path("runs") and own.name.startswith("smoke-")
    leaves = flat(to_json(TINY))
    free = {path: leaves[path] for path in (*run.FREE, "steps") if path in leaves}  # others are of other objectives
    changes = {path: "alpha_iou" if path == "best" else int(value) + 3 for path, value in free.items()}
    assert all(folder(f"{path}={value}") == own for path, value in changes.items())
    others = {
        *(folder(change) for change in ("seed=1", "optim.rate=1e-3", "data.augment.flip=0.25", "batch_size=2")),
        *(folder("name=mine"), folder("micro_batch=2"), folder(shards=other), folder(begin=Start(Path("a")))),
        *(folder(begin=Start(Path("b"))), folder(begin=Start(backbone=Path("a")))),
    }
    assert len(others) == 10 and own not in others


def test_a_field_that_a_later_version_adds_moves_no_run(small: Path):
    longer = dataclasses.make_dataclass("Later", [("new", int, 7)], bases=(Recipe,), frozen=True)
    later = longer(**{field.name: getattr(TINY, field.name) for field in dataclasses.fields(TINY)})
    assert identity.default_folder(later, small, PRETRAINED) == identity.default_folder(TINY, small, PRETRAINED)


def test_the_same_command_without_a_folder_goes_on_and_another_begins_its_own(small: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = david(small, "--steps", "1")
    (out,) = (tmp_path / "runs").iterdir()
    assert f"the run's folder is runs/{out.name}; the same command goes on there" in said
    assert "this trains `smoke`, a toy" in said
    david(small, "--steps", "1")
    assert "toy" not in david(small, "--steps", "3", "--batch-size", "auto", "--set", "log_every=2")
    assert [out] == list((tmp_path / "runs").iterdir())
    assert [line["step"] for line in read(out / "journal.jsonl")] == [1, 2, 3]
    assert "step 3: " in david(None, "--steps", "3", "--out", str(out), "--set", "log_every=2")
    said = david(small, "--set", "seed=1", "--batch-size", "auto", "--steps", "1")
    assert "nothing to find, parallel=exact computes one sample at a time" in said
    assert len(list((tmp_path / "runs").iterdir())) == 2 and len(list(read(out / "journal.jsonl"))) == 3


@pytest.mark.parametrize("standing", [False, True], ids=["new", "empty"])
def test_a_start_that_fails_leaves_nothing_that_refuses_the_corrected_command(
    small: Path, tmp_path: Path, monkeypatch, standing: bool
):
    out = tmp_path / "deep" / "run"
    if standing:
        out.mkdir(parents=True)
    with pytest.raises(DavidError, match="--from .*nowhere: no such file or folder"):
        david(small, "--out", str(out), "--from", str(tmp_path / "nowhere"))
    with pytest.raises(DavidError, match="expected backbone weights"):
        david(small, "--out", str(out), "--backbone-weights", str(small))
    with monkeypatch.context() as patch:  # as late as can be: out of memory in the first step
        patch.setattr(loop.Step, "__call__", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            david(small, "--out", str(out), "--set", "optim.rate=0.5")
    assert out.exists() == standing and (not standing or [path.name for path in out.iterdir()] == [".lock"])
    assert "step 2: " in david(small, "--out", str(out))


def test_a_start_that_was_killed_before_anything_was_recorded_is_no_run(small: Path, tmp_path: Path):
    content = {"shards": "0" * 64, "recipe": to_json(override(TINY, ["optim.rate=0.5"]))}
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "step-00000000.png").write_bytes(b"of another network")
    (tmp_path / "journal.jsonl").touch()
    write_whole(tmp_path / "recipe.json", json.dumps(content).encode())
    assert run.stored(tmp_path) is None
    assert train(TINY, small, tmp_path, device="cpu", speaks=False).step == 2
    assert (found := run.stored(tmp_path)) and found.recipe == override(
        TINY, ["parallel=exact", "data.decode=cpu"]
    )  # on a CPU
    assert (tmp_path / "pictures" / "step-00000000.png").read_bytes().startswith(b"\x89PNG")


def test_a_start_that_was_killed_while_it_cleared_up_is_no_run_either(small: Path, tmp_path: Path, monkeypatch):
    out = tmp_path / "run"

    def killed(path: Path, **_: object) -> None:
        if path.is_dir():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt), run.claimed(out, TINY, small):
            pass
    assert (out / "pictures").is_dir()
    run.check(TINY, small, out, 1)
    with run.claimed(out, override(TINY, ["seed=1"]), small):
        pass
    assert [path.name for path in out.iterdir()] == [run.LOCK]


def test_a_run_that_another_process_left_meanwhile_is_not_taken_over(small: Path, tmp_path: Path):
    """As by whoever looked while nothing was there, and came to the lock when the other had come to its end."""
    with run.claimed(tmp_path, TINY, small):
        (tmp_path / "journal.jsonl").write_text('{"step": 1}\n')
    left = (tmp_path / run.RECIPE).read_bytes()
    refused = pytest.raises(DavidError, match="the run there has seed = 0, this recipe has 1")
    with refused, run.claimed(tmp_path, override(TINY, ["seed=1"]), small):
        pass
    assert (tmp_path / run.RECIPE).read_bytes() == left


def test_whoever_looks_while_a_start_comes_to_nothing_sees_no_run(small: Path, tmp_path: Path):
    out, over = tmp_path / "run", threading.Event()

    def look() -> None:
        while not over.is_set():
            assert run.stored(out) is None

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        for _ in range(30):
            with run.claimed(out, TINY, small):
                (out / "journal.jsonl").touch()
        over.set()
        looking.result()


def test_of_two_starters_one_trains_and_the_other_is_told(small: Path, tmp_path: Path):
    """At a barrier, round after round: in a new folder, and in one that the first has just left with nothing done."""
    both, told, inside = threading.Barrier(2), threading.Event(), []

    def start(out: Path, stays: bool) -> str:
        both.wait(30)
        try:
            run.check(TINY, small, out, 1)
            with run.claimed(out, TINY, small):
                inside.append(1)
                assert len(inside) == 1, "two train there at once"
                if stays:
                    told.wait(30)
                inside.pop()
        except DavidError as error:
            told.set()
            return str(error)
        return "trained"

    with ThreadPoolExecutor(2) as pool:
        for number in range(40):
            stays, out = number % 2 == 0, tmp_path / str(number % 4)
            told.clear()
            said = [one.result() for one in [pool.submit(start, out, stays) for _ in range(2)]]
            refused = [one for one in said if one != "trained"]
            assert all("another process trains there" in one for one in refused) and len(refused) < 2
            assert len(refused) == 1 or not stays
            assert not out.exists() or [path.name for path in out.iterdir()] == [run.LOCK]
