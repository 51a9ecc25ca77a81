"""`david predict --engine ray`: the files and exit codes of a run here, also with broken inputs, kills and signals."""

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import predicting
import processes
import pytest
import torch
from smallest import network
from test_predict_video import film

from david.model import weights
from david.pack.errors import DavidError
from david.train.use import predict_ray

ray = pytest.importorskip("ray")
MANY, ROOM = 160, predict_ray.room


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A local Ray that all tests here share; two tasks at once, of one core each, as a run here has meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict_ray, "room", lambda nodes, gpu: ({"num_cpus": 1}, 2))
        patch.setattr(predict_ray, "TURNS", 2)
        patch.setattr(predict_ray, "POLL_S", 0.02)
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where commands are given; `w.safetensors` is a network there, and `many` a folder of pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("place"))
        weights.save(network(), Path("w.safetensors"))
        photos("many", MANY)
        yield Path()


@pytest.fixture(scope="module")
def here(cluster: None, place: Path) -> tuple[dict[str, bytes], list[list[bytes]]]:
    """What a run without Ray makes of `many`."""
    assert ask("many", "--save", "depth,alpha", "--out", "here")[0] == 0
    return contents("here")


def photos(folder: str, count: int) -> Path:
    rng = np.random.default_rng(0)
    Path(folder).mkdir()
    for number in range(count):
        size = int(rng.integers(20, 60)), int(rng.integers(20, 60))
        cv2.imwrite(f"{folder}/p{number:03}.png", cv2.resize(rng.integers(0, 256, (4, 5, 3), np.uint8), size))
    return Path(folder)


def ask(*words: object) -> tuple[int, str]:
    return predicting.ask(*words, "--weights", "w.safetensors", "--size", "32")


def contents(folder: str) -> tuple[dict[str, bytes], list[list[bytes]]]:
    """The files of a folder, and apart from them the lines of its records, part after part."""
    files = predicting.contents(Path(folder))
    records = [name for name in files if name.endswith(".jsonl")]
    return files, [files.pop(name).splitlines() for name in sorted(records)]


def told(output: str) -> list[str]:
    """What the command says at its end."""
    return [line for line in output.splitlines() if "no picture that" in line or "predicted" in line]


@contextlib.contextmanager
def at_the_first_line(out: Path, act: Callable[[], None]) -> Iterator[list[dict]]:
    """Meanwhile `act` is called once a record has a line; gives the lines that were there then."""
    over, there = threading.Event(), []

    def watch() -> None:
        while not over.wait(0.005):
            if any(path.stat().st_size for path in out.glob("predictions-*.jsonl")):
                act()
                for path in out.glob("predictions-*.jsonl"):
                    there.extend(json.loads(line) for line in path.read_bytes().split(b"\n")[:-1])
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield there
    finally:
        over.set()
        watcher.join()


def test_ray_writes_what_a_run_here_writes_and_names_the_broken_in_order(
    cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photos("in", 8)
    for broken in ("p000b.jpg", "p005b.jpg"):
        (folder / broken).write_text("no picture")
    film(folder / "clip.mp4", [0, 40, 80])
    words = (folder, "--save", "picture,depth,normals")
    code, said = ask(*words, "--out", "alone")
    code_of_ray, said_of_ray = ask(*words, "--out", "ray", "--engine", "ray")
    assert (code, told(said)) == (code_of_ray, [line.replace(": ray", ": alone") for line in told(said_of_ray)])
    assert code == 1 and len(told(said)) == 3 and "4 parts as Ray tasks, 2 at once on 1 machine" in said_of_ray
    (files, (lines,)), (files_of_ray, lines_of_ray) = contents("alone"), contents("ray")
    assert files == files_of_ray and "clip_video.mp4" in files
    assert lines_of_ray == [lines[number::4] for number in range(4)]

    monkeypatch.setattr(predict_ray, "TURNS", 5)  # as on a larger cluster
    _, said = ask(*words, "--out", "ray", "--engine", "ray")
    assert "4 parts as Ray tasks" in said and "0 inputs of 11 predicted, 9 were there, 2 could not be" in said
    assert contents("ray") == (files_of_ray, lines_of_ray)
    with pytest.raises(DavidError, match=r'ray: was begun otherwise: save is .* there and \["depth"\] now'):
        ask(folder, "--save", "depth", "--out", "ray", "--engine", "ray")
    ask(folder, "--save", "depth", "--out", "ray", "--engine", "ray", "--restart")
    assert set(contents("ray")[0]) == {name for name in files if "_depth" in name or name == "predictions.json"}


def test_killed_workers_cost_no_byte_and_nothing_is_predicted_twice(here: tuple) -> None:
    killed: list[int] = []

    def kill() -> None:
        for pid in processes.family(os.getpid()):  # not those of another run of these tests
            if processes.called(pid, b"ray::predict "):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    with at_the_first_line(Path("killed"), kill) as there:
        code, said = ask("many", "--save", "depth,alpha", "--out", "killed", "--engine", "ray")
    assert code == 0 and killed and 0 < len(there) < MANY
    assert f"{MANY - len(there)} inputs of {MANY} predicted, {len(there)} were there" in said
    (files, (lines,)), (files_of_ray, lines_of_ray) = here, contents("killed")
    assert files == files_of_ray
    assert lines_of_ray == [lines[number::4] for number in range(4)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_leaves_no_half_file_and_the_same_command_goes_on(
    number: signal.Signals, code: int, here: tuple
) -> None:
    words, out = ("many", "--save", "depth,alpha", "--engine", "ray"), f"out-{code}"
    with at_the_first_line(Path(out), lambda: os.kill(os.getpid(), number)):
        got, said = ask(*words, "--out", out)
    done = sum(len(lines) for lines in contents(out)[1])
    assert got == code and 0 < done < MANY and not list(Path(out).rglob(".*"))
    if number == signal.SIGTERM:
        assert f"stopped by SIGTERM after {done} of {MANY} inputs; the same command goes on" in said
    got, said = ask(*words, "--out", out)
    assert got == 0 and f"{MANY - done} inputs of {MANY} predicted, {done} were there" in said
    assert contents(out)[0] == here[0]


def test_what_can_not_be_is_said_in_one_sentence_and_nothing_is_written(
    cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photos("one", 1)
    for words, sentence in (
        (("--engine", "slurm"), "--engine slurm: there are local and ray"),
        (("--engine", "ray", "--part", "1/2"), "--engine ray makes the parts by itself; leave out --part"),
        (("--engine", "ray", "webcam"), "webcam: a camera films for this machine alone; leave out --engine ray"),
    ):
        with pytest.raises(DavidError, match=sentence):
            ask(folder, *words, "--out", "out")
    weights.save(network(heads=("depth",)), Path("w.safetensors"))
    with pytest.raises(DavidError) as here:
        ask(folder, "--save", "alpha", "--out", "out")
    with pytest.raises(DavidError) as there:  # which a task finds out
        ask(folder, "--save", "alpha", "--out", "out", "--engine", "ray")
    assert str(there.value) == str(here.value)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DavidError, match=r'--engine ray needs ray, which is not installed: pip .*-e "\.\[ray\]"'):
        ask(folder, "--out", "out", "--engine", "ray")
    assert not Path("out").exists()


def test_a_task_asks_for_a_gpu_with_its_cores_or_for_those_of_a_machine() -> None:
    head, large, small = {"memory": 1.0}, {"CPU": 64.0, "GPU": 8.0}, {"CPU": 6.0, "GPU": 1.0}
    assert ROOM([head, large, small], gpu=True) == ({"num_gpus": 1, "num_cpus": 6}, 9)
    assert ROOM([head, large, small], gpu=False) == ({"num_cpus": 6}, 11)
    assert ROOM([head, {"CPU": 8.0}, {"CPU": 8.0}], gpu=True) == ({"num_cpus": 8}, 2)
    assert ROOM([head], gpu=True) == ({"num_cpus": 1}, 1)
