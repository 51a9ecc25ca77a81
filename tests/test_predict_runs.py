"""Many pictures, however they are batched, cut into parts, killed or stopped: the same files, each once."""

import json
import os
import signal
import threading
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import predicting
import pytest
from predicting import contents, lines
from test_model_predict import Echo
from typer.testing import CliRunner

from david.cli import app
from david.model.predict import outputs, runner
from david.model.predict.inputs import Input, listed
from david.model.predict.predictor import Predictor
from david.model.predict.record import Outcome, Record
from david.pack.errors import DavidError
from david.pack.part import Part
from david.train.use import load as loading

COUNT = 13


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Soft pictures of many sizes in two folders, two of them broken."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number in range(COUNT):
        path = folder / ("sub" if number % 3 else "") / f"p{number:02d}.{'png' if number % 2 else 'jpg'}"
        path.parent.mkdir(exist_ok=True)
        size = int(rng.integers(20, 60)), int(rng.integers(20, 60))
        if number in (4, 6):
            path.write_text("no picture")
        else:
            cv2.imwrite(str(path), cv2.resize(rng.integers(0, 256, (4, 5, 3), np.uint8), size))
    return folder


class Fatal(Echo):
    """Says what it sees; at its `last` call the process is gone."""

    last = 0

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        if len(self.calls) + 1 == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(images)


OUTLINE = bytes.fromhex("0808 3a04 0a00 6200")  # an ONNX file's: a version, and a graph of one node and one output


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fatal:
    """The engine of every network that the command loads meanwhile; `w.onnx` can be named as its weights."""
    engine = Fatal()
    (tmp_path / "w.onnx").write_bytes(OUTLINE)
    monkeypatch.setattr(loading, "_engine", lambda *_: (engine, {}))
    monkeypatch.chdir(tmp_path)
    return engine


def ask(*words: object) -> tuple[int, str]:
    """By the engine that `echo` put in the place of every network's."""
    return predicting.ask(*words, "--onnx", "w.onnx", "--size", "32")


def test_files_and_lines_are_the_same_whatever_the_batch_and_the_threads(photos: Path, tmp_path: Path) -> None:
    listing = listed([str(photos)])
    found = []
    for batch_size, threads in ((1, 1), (1, 4), (3, 2), (50, 3)):
        job = runner.Job(Predictor((Echo(),), side=32), tmp_path / f"{batch_size}-{threads}", ("depth", "npz"))
        job = runner.Job(job.predictor, job.out, job.saves, batch_size=batch_size, threads=threads)
        outcomes = list(runner.run(job, listing.inputs))
        found.append((contents(job.out), [outcome.line() for outcome in outcomes]))
        assert [outcome.input for outcome in outcomes] == list(listing.inputs)
    assert all(one == found[0] for one in found[1:])


def test_batches_hold_as_many_pictures_as_were_asked_for(photos: Path, tmp_path: Path) -> None:
    engine = Echo()
    job = runner.Job(Predictor((engine,), side=32), tmp_path / "out", ("depth",), batch_size=4, threads=2)
    list(runner.run(job, listed([str(photos)]).inputs))
    assert sum(engine.calls) == COUNT - 2 and len(engine.calls) == -(-COUNT // 4)


def run_until_killed(folder: Path, words: tuple[str, ...], last_call: int, last_file: int) -> None:
    """The command in a process of its own, which is gone at a call of the network or in the middle of a file."""
    os.chdir(folder)
    engine, written, begun = Fatal(), runner.files.write_whole, []
    engine.last = last_call

    def write_whole(path: Path, data: bytes, *, tidy: bool = True) -> None:
        begun.append(path)
        if len(begun) == last_file:
            path.with_name(f".{path.name}.{'0' * 16}.part").write_bytes(data[:10])
            os.kill(os.getpid(), signal.SIGKILL)
        written(path, data, tidy=tidy)

    runner.files.write_whole = write_whole
    loading._engine = lambda *_: (engine, {})
    ask(*words)


def kill(folder: Path, *words: object, last_call: int = 0, last_file: int = 0) -> None:
    given = (folder, tuple(map(str, words)), last_call, last_file)
    process = get_context("spawn").Process(target=run_until_killed, args=given)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("last", [1, 2, 6, COUNT - 2])
def test_killed_and_said_again_gives_the_same_files_and_predicts_nothing_twice(
    last: int, photos: Path, tmp_path: Path, echo: Fatal, warm: None
) -> None:
    words = (photos, "--save", "depth,alpha", "--save", "normals")
    ask(*words, "--out", "whole")
    kill(tmp_path, *words, "--out", "out", last_call=last)
    record = Path("out/predictions.jsonl")
    done = [line for line in lines(record) if "error" not in line]
    assert len(done) < last
    left = {str(path) for path in Path("out").rglob(".*.part")}
    echo.calls = []
    code, said = ask(*words, "--out", "out")
    assert code == 1 and (f"{len(done)} were there" in said) == bool(done)
    assert sum(echo.calls) == COUNT - 2 - len(done)
    there = contents(Path("out"))
    assert not {f"out/{name}" for name in there} & left
    assert there == contents(Path("whole"))
    echo.calls = []
    assert ask(*words, "--out", "out")[0] == 1  # the broken ones are looked at again, and are broken still
    assert echo.calls == [] and contents(Path("out")) == there


def test_killed_in_the_middle_of_a_file_leaves_none_that_is_half_there(
    photos: Path, tmp_path: Path, echo: Fatal, warm: None
) -> None:
    ask(photos, "--save", "depth,alpha", "--out", "whole")
    kill(tmp_path, photos, "--save", "depth,alpha", "--out", "out", last_file=6)
    assert list(Path("out").rglob(".*.part"))
    whole = contents(Path("whole"))
    for name, data in contents(Path("out")).items():
        if not name.endswith((".part", ".lock", ".jsonl")):
            assert whole[name] == data
    ask(photos, "--save", "depth,alpha", "--out", "out")
    assert contents(Path("out")) == whole


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_record_that_was_cut_short_is_gone_on_with(cut: int, photos: Path, tmp_path: Path, echo: Fatal) -> None:
    ask(photos, "--save", "depth", "--out", "out")
    whole = contents(Path("out"))
    record = Path("out/predictions.jsonl")
    record.write_bytes(record.read_bytes()[:-cut])
    lost = COUNT - len(record.read_bytes().split(b"\n")[:-1])
    echo.calls = []
    ask(photos, "--save", "depth", "--out", "out")
    assert 1 <= sum(echo.calls) <= lost and contents(Path("out")) == whole


def test_what_was_taken_away_or_mended_is_predicted_again_and_the_order_stays(
    photos: Path, tmp_path: Path, echo: Fatal
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for path in photos.glob("*.*g"):
        (folder / path.name).write_bytes(path.read_bytes())
    ask(folder, "--save", "depth", "--out", "out")
    broken = next(line["input"] for line in lines(Path("out/predictions.jsonl")) if "error" in line)
    Path(broken).write_bytes((folder / "p00.jpg").read_bytes())
    Path("out/p00_depth.png").unlink()
    Path("out/p09_depth.png").write_bytes(b"short")
    echo.calls = []
    code, _ = ask(folder, "--save", "depth", "--out", "out")
    assert code == 0 and sum(echo.calls) == 3
    told = lines(Path("out/predictions.jsonl"))
    assert [line["input"] for line in told] == [one.name for one in listed([str(folder)]).inputs]
    assert not any("error" in line for line in told)
    assert Path("out/p09_depth.png").stat().st_size == told[-2]["files"].get(
        "p09_depth.png", told[-1]["files"].get("p09_depth.png")
    )


def test_parts_together_are_the_whole(photos: Path, tmp_path: Path, echo: Fatal) -> None:
    ask(photos, "--out", "whole")
    for number in (2, 3, 1):
        ask(photos, "--out", "parts", "--part", f"{number}/3")
    assert sum(echo.calls) == 2 * (COUNT - 2)
    whole, parts = contents(Path("whole")), contents(Path("parts"))
    told = whole.pop("predictions.jsonl").splitlines()
    by_part = [parts.pop(f"predictions-{number}-of-3.jsonl").splitlines() for number in (1, 2, 3)]
    assert parts == whole
    assert [told[number::3] for number in range(3)] == by_part
    echo.calls = []
    ask(photos, "--out", "parts")
    assert echo.calls == []  # what parts did is done


def test_another_run_on_the_same_part_is_refused_while_one_is_at_work(tmp_path: Path) -> None:
    with Record(tmp_path).opened({}):
        told = "another david predict is at work there on part 1/1"
        with pytest.raises(DavidError, match=told), Record(tmp_path).opened({}):
            pass
        with Record(tmp_path, Part(1, 2)).opened({}):
            pass
        told = "another david predict is at work there [(].predict-1-of-1.lock"
        with pytest.raises(DavidError, match=told), Record(tmp_path, Part(2, 2)).opened({}, restart=True):
            pass
    with Record(tmp_path).opened({}):
        pass


def test_other_weights_or_options_are_refused_with_both_values(photos: Path, tmp_path: Path, echo: Fatal) -> None:
    ask(photos, "--save", "depth", "--out", "out")
    before = contents(Path("out"))
    with pytest.raises(DavidError, match=r'save is \["depth"\] there and \["depth", "alpha"\] now.*--restart'):
        ask(photos, "--save", "alpha,depth", "--out", "out")
    Path("w.onnx").write_bytes(OUTLINE + bytes.fromhex("120161"))  # and who made it
    with pytest.raises(DavidError, match=r"weights is .*[0-9a-f]{64}.* there and .*[0-9a-f]{64}.* now"):
        ask(photos, "--save", "depth", "--out", "out")
    assert contents(Path("out")) == before
    Path("out/mine.txt").write_text("kept")
    ask(photos, "--save", "alpha", "--out", "out", "--restart")
    assert not list(Path("out").rglob("*_depth.png")) and Path("out/mine.txt").read_text() == "kept"
    assert len(list(Path("out").rglob("*_alpha.png"))) == COUNT - 2


def test_a_restart_touches_no_file_outside_its_folder(photos: Path, tmp_path: Path, echo: Fatal) -> None:
    ask(photos, "--save", "depth", "--out", "out")
    victim = tmp_path / "victim.png"
    victim.write_text("mine")
    with Path("out/predictions.jsonl").open("a") as file:
        file.write(json.dumps({"input": "x", "files": {"../victim.png": 4, str(victim): 4}}) + "\n")
    ask(photos, "--save", "depth", "--out", "out", "--restart")
    assert victim.read_text() == "mine"


def test_an_input_of_the_same_name_from_elsewhere_writes_over_nothing(
    photos: Path, tmp_path: Path, echo: Fatal
) -> None:
    ask(photos / "p00.jpg", "--out", "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "p00.jpg").write_bytes((photos / "p03.png").read_bytes())
    with pytest.raises(DavidError, match=r"p00_picture.jpg: was made of .*/p00.jpg, and .*/other/p00.jpg would be"):
        ask(tmp_path / "other", "--out", "out")


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (["."], "out"),
        (["../in"], "../in/./out"),
        (["link"], "out"),
        (["**/*.*g"], "out"),
        (["p*"], "."),
        (["p00.jpg", "p03.png", "p00_alpha.png"], "."),
        (["sub"], "."),
    ],
)
def test_predictions_among_the_pictures_are_no_inputs_the_next_time(
    words: list[str], out: str, photos: Path, tmp_path: Path, echo: Fatal, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for path in (photos / "p00.jpg", photos / "p03.png"):
        (folder / ("sub" if words == ["sub"] else "") / path.name).write_bytes(path.read_bytes())
    (tmp_path / "w.onnx").rename(folder / "w.onnx")
    monkeypatch.chdir(folder)
    Path("link").symlink_to(folder)
    assert ask(*words[:2], "--out", out, "--save", "alpha")[0] == 0
    there = contents(Path(out))
    assert ask(*words, "--out", out, "--save", "alpha")[0] == 0
    assert sum(echo.calls) == 2 and contents(Path(out)) == there


def test_nobodys_own_file_is_written_over(photos: Path, tmp_path: Path, echo: Fatal) -> None:
    Path("a.jpg").write_bytes((photos / "p00.jpg").read_bytes())
    Path("a_picture.jpg").write_bytes(own := (photos / "p06.jpg").read_bytes() + b"mine")
    for inputs in (["a.jpg"], ["a.jpg", "a_picture.jpg"]):
        with pytest.raises(DavidError, match="a_picture.jpg: there already, and no david predict wrote it"):
            ask(*inputs, "--out", ".")
        assert not Path("predictions.json").exists()
    assert ask("a.jpg", "--out", "out")[0] == 0
    Path("out/b.jpg").write_bytes((photos / "p00.jpg").read_bytes())
    Path("out/b_picture.jpg").write_bytes(own)
    with pytest.raises(DavidError, match="b_picture.jpg: there already, .*what is said of out/b.jpg would be"):
        ask("out/b.jpg", "out/b_picture.jpg", "--out", "out")
    assert Path("a_picture.jpg").read_bytes() == Path("out/b_picture.jpg").read_bytes() == own


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_what_is_being_written_and_the_same_command_goes_on(
    number: signal.Signals, photos: Path, tmp_path: Path, echo: Fatal, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(photos, "--save", "depth", "--out", "whole")
    add = Record.add

    def signalled(self: Record, outcome: Outcome) -> None:
        add(self, outcome)
        if outcome.input.path.name == "p09.png":
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(Record, "add", signalled)
        if number == signal.SIGINT:
            done = CliRunner().invoke(
                app, ["predict", str(photos), "--save", "depth", "--out", "out", "--onnx", "w.onnx", "--size", "32"]
            )
            assert done.exit_code in (130, 1) and not isinstance(done.exception, DavidError)
        else:
            code, said = ask(photos, "--save", "depth", "--out", "out")
            assert code == 75 and "stopped by SIGTERM after" in said and "goes on" in said
    assert not list(Path("out").rglob(".*.part"))
    assert 0 < len(lines(Path("out/predictions.jsonl"))) < COUNT
    ask(photos, "--save", "depth", "--out", "out")
    assert contents(Path("out")) == contents(Path("whole"))


def test_what_is_in_flight_is_bounded_by_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of pictures, no more are held at once than there is room for; and large ones pass alone."""
    rng = np.random.default_rng(0)
    sizes = [(64, 64)] * 10 + [(400, 400)] + [(64, 64)] * 5 + [(300, 300), (310, 300)] + [(64, 64)] * 10
    for number, (height, width) in enumerate(sizes):
        cv2.imwrite(str(tmp_path / f"{number:03}.png"), rng.integers(0, 256, (height, width, 3), np.uint8))
    room = 6 * 64 * 64 * 3
    monkeypatch.setattr(runner, "DECODED_BYTES", room)
    held, most, lock = [0], [0], threading.Lock()
    decode, write = runner.pictures.decode, runner._write

    def decoded(*args, sized, **how):
        def heard(height: int, width: int) -> None:
            sized(height, width)
            with lock:
                held[0] += height * width * 3
                most[0] = max(most[0], held[0] - height * width * 3)

        return decode(*args, sized=heard, **how)

    def wrote(job, one, *rest):
        with lock:
            held[0] -= one.bytes
        return write(job, one, *rest)

    monkeypatch.setattr(runner.pictures, "decode", decoded)
    monkeypatch.setattr(runner, "_write", wrote)
    for batch_size in (1, 4, 30):
        most[0] = 0
        job = runner.Job(
            Predictor((Echo(),), side=32), tmp_path / f"out{batch_size}", ("alpha",), batch_size=batch_size
        )
        outcomes = list(runner.run(job, listed([str(tmp_path)], job.out).inputs[: len(sizes)]))
        assert not any(outcome.error for outcome in outcomes) and len(outcomes) == len(sizes)
        assert 0 < most[0] <= room


def test_a_full_disk_ends_the_run_and_no_thread_is_left_waiting(photos: Path, tmp_path: Path, monkeypatch) -> None:
    def full(path: Path, data: bytes, *, tidy: bool) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(runner.files, "write_whole", full)
    monkeypatch.setattr(runner, "DECODED_BYTES", 4000)
    job = runner.Job(Predictor((Echo(),), side=32), tmp_path / "out", ("alpha",), threads=2)
    with pytest.raises(OSError, match="No space left"):
        list(runner.run(job, listed([str(photos)]).inputs))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("david-predict")]


def test_a_network_that_says_no_number_is_told(tmp_path: Path, photos: Path) -> None:
    class Mad(Echo):
        def __call__(self, images):
            return super().__call__(images) | {"alpha": np.full((len(images), 1, 32, 32), np.nan, np.float32)}

    job = runner.Job(Predictor((Mad(),), side=32), tmp_path / "out", ("alpha",))
    (outcome,) = runner.run(job, [Input("p", photos / "p00.jpg", "image", "p")])
    assert outcome.error == "p: the network says alpha that is not finite; compute in fp32"
    job = runner.Job(job.predictor, job.out, ("depth",))  # which that harms not
    (outcome,) = runner.run(job, [Input("p", photos / "p00.jpg", "image", "p")])
    assert outcome.error is None and set(outputs.KINDS) >= {"depth"}
