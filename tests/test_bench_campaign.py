"""`david bench campaign`: parts by themselves, rows as they end, and going on after any end."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from browser import CHROMIUM, chromium
from smallest import SMALLEST
from stand_in_parts import part
from typer.testing import CliRunner

from david.bench import rows
from david.bench.campaign import conduct, page, plan, steps, work
from david.bench.campaign.part import CUT, DONE, FAILED, SKIPPED, Part
from david.bench.doctor.check import Asked, Finding
from david.bench.suites import apart, parts
from david.bench.suites.peaks import peak_gflops
from david.cli import app
from david.model import build
from david.pack.errors import DavidError
from david.pack.lazy import load
from david.train import recipes
from david.train.distributed import World
from david.train.recipe import override

HERE = {"commit": "abc", "hardware": {"gpu": None, "cores": 2, "processor": "Abacus"}, "versions": {"torch": "2"}}
TESTS = Path(__file__).parent
# A campaign in a process of its own that a test may kill. Its parts stand in for work.
CAMPAIGN = """
import json, sys, time
from pathlib import Path
from david.bench.campaign import conduct
from smallest import SMALLEST
from stand_in_parts import part
parts = [part(*words, **how) for words, how in json.loads(sys.argv[2])]
conduct.conduct(Path(sys.argv[1]), parts, json.loads(sys.argv[3]), "cpu", None, time.time() + 100, print)
"""


def run(out: Path, *parts: Part, seconds: float = 100.0) -> dict[str, dict[str, Any]]:
    conduct.conduct(out, list(parts), HERE, "cpu", None, time.time() + seconds, lambda line: None)
    return conduct.newest(out)


def ran(out: Path) -> list[str]:
    return (out / "ran.txt").read_text().split()


def test_killed_after_a_part_it_has_its_row_and_goes_on_with_the_others(tmp_path: Path) -> None:
    words: list[Any] = [(["first", "counts"], {"says": "first"}), (["second", "begins_and_hangs"], {})]
    command = [sys.executable, "-c", CAMPAIGN, str(tmp_path), json.dumps(words), json.dumps(HERE)]
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}, text=True) as process:
        while not (tmp_path / "hangs.txt").exists() or not (tmp_path / "hangs.txt").read_text():
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    child = int((tmp_path / "hangs.txt").read_text())
    (kept,) = rows.read(tmp_path / "rows.jsonl")
    assert (kept["part"], kept["status"], kept["said"]) == ("first", DONE, "first ran")
    assert kept["hardware"] == HERE["hardware"] and kept["recipe"] == {"name": "first"}
    assert (tmp_path / "rows.jsonl").read_bytes().endswith(b"}\n") and (tmp_path / page.NAME).exists()
    while Path(f"/proc/{child}").exists() and Path(f"/proc/{child}/stat").read_text().split(") ")[1][0] != "Z":
        time.sleep(0.01)  # it ends with whoever waits for it
    found = run(tmp_path, part("first", "counts", says="first"), part("second", "counts", says="second"))
    assert ran(tmp_path) == ["first", "second"] and {row["status"] for row in found.values()} == {DONE}


def test_parts_fail_each_by_itself_and_say_so_in_their_rows(tmp_path: Path) -> None:
    ends = [
        part("hangs", "begins_and_hangs", most_s=1.0),
        part("fails", "fails"),
        part("skips", "skips"),
        part("dies", "dies_as_a_part"),
        part("late", "counts", least_s=1000.0, says="late"),
        part("last", "counts", says="last"),
    ]
    heard: list[str] = []
    conduct.conduct(tmp_path, ends, HERE, "cpu", None, time.time() + 100, heard.append)
    found = conduct.newest(tmp_path)
    assert {name: row["status"] for name, row in found.items()} == {
        **{"hangs": CUT, "fails": FAILED, "skips": SKIPPED, "dies": FAILED, "late": SKIPPED, "last": DONE}
    }
    assert found["hangs"]["figures"]["step"]["rate"]["median"] == 1.0
    assert found["hangs"]["said"] == "it was ended after 1 s; what it had found by then is kept"
    assert found["fails"]["said"] == "ValueError: no such thing"
    assert "died by SIGKILL" in found["dies"]["said"]
    assert "the time ran out before it; it asks for 1000 s" in found["late"]["said"]
    assert "no such thing" in (tmp_path / "logs" / "fails.log").read_text()  # with its traceback
    assert heard[0] == "[1/6] hangs: what hangs asks, at most 1 s" and len(heard) == 12
    assert "1.0 samples/s" in heard[1] and heard[8] == "[5/6] late: no time is left"
    again = [part(one.name, "counts", says=one.name) for one in ends]
    assert [one.name for one in conduct.left(tmp_path, again)] == ["skips", "late", "hangs", "fails", "dies"]
    assert {row["status"] for row in run(tmp_path, *again).values()} == {DONE}
    assert ran(tmp_path) == ["last", "skips", "late", "hangs", "fails", "dies"]


def test_a_row_behind_one_that_was_cut_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows.append(path, {"part": "one"})
    with path.open("ab") as file:
        file.write(b'{"part": "tw')
    rows.append(path, {"part": "three"})
    assert rows.read(path) == [{"part": "one"}, {"part": "three"}]
    assert path.read_bytes().count(b"\n") == 3 and rows.read(tmp_path / "absent.jsonl") == []


def test_another_machine_another_set_and_another_campaign_are_refused(tmp_path: Path) -> None:
    run(tmp_path, part("one", "counts", says="one"))
    other = HERE | {"hardware": HERE["hardware"] | {"gpu": "NVIDIA H200"}}
    with pytest.raises(DavidError, match=r"campaign\.json: hardware is .*None.* there and .*H200.* now"):
        conduct.conduct(tmp_path, [], other, "cpu", None, time.time() + 9, print)
    with pytest.raises(DavidError, match="shards is None there and"):
        conduct.conduct(tmp_path, [], HERE, "cpu", tmp_path, time.time() + 9, print)
    with conduct.alone.alone(tmp_path / conduct.LOCK), pytest.raises(DavidError, match="another campaign is at work"):
        run(tmp_path)
    (tmp_path / conduct.ABOUT).write_text("no JSON")
    with pytest.raises(DavidError, match=r"campaign\.json: not what a campaign writes there"):
        run(tmp_path)


@pytest.mark.parametrize(("device", "minutes"), [("cuda", 9.0), ("cpu", 3.0), ("cuda", 0.5), ("cpu", 0.1)])
def test_the_parts_take_no_more_than_the_time(device: str, minutes: float) -> None:
    planned = plan.parts_for(device)
    shares = [limit_s for _, limit_s in conduct.shares(planned, 60 * minutes)]
    assert sum(shares) <= 60 * minutes
    assert all(
        limit_s == 0 or part.least_s <= limit_s <= part.most_s for part, limit_s in zip(planned, shares, strict=True)
    )
    assert len({one.name for one in planned}) == len({conduct.file_name(one) for one in planned}) == len(planned)
    for one in planned:
        assert callable(load(one.work))
        if "settings" in one.how:
            override(recipes.recipe(one.how["recipe"]), one.how["settings"])


def test_the_dry_run_lists_parts_and_times_and_makes_nothing(tmp_path: Path) -> None:
    words = ["bench", "campaign", "--out", str(tmp_path / "out"), "--device", "cuda", "--dry-run"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    for one in plan.parts_for("cuda"):
        assert any(line.startswith(one.name) for line in done.output.splitlines()), one.name
    assert not list(tmp_path.iterdir())


# What stands in a campaign's rows: of each part what became of it, and its figures by group.
ON_A_GPU: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "data": (DONE, {}),
    "doctor": (
        FAILED,
        {
            "GPU <b>": {"ok": True, "found": "H200", "advice": ""},
            "disk": {"ok": False, "found": "full", "advice": "make room"},
        },
    ),
    "base": (
        DONE,
        {
            "step": {"rate": 812.0, "step": 118.2, "MFU": 0.451, "of the matrix rate": 0.55, "memory": 81.2},
            "both": {"rate": 808.0, "waited": 0.004},
        },
    ),
    "tests": (FAILED, {"tests": {"tests/test_a.py::test_b": "passed", "tests/test_a.py::test_c": "failed"}}),
    "loader": (CUT, {"decode gpu, 16 threads": {"rate": 4700.0}, "decode cpu, 16 threads": {"rate": 5100.0}}),
    "plain trainer": (DONE, {"both": {"rate": 800.0, "waited": 0.01}, "plain": {"rate": 250.0, "waited": 0.4}}),
    "base, not compiled": (DONE, {"step": {"rate": 500.0, "MFU": 0.28}}),
    "attention": (DONE, {"flash": {"time": 2.0}, "cudnn": {"time": 1.7}}),
    "encoder and decoder of base": (DONE, {"encoder": {"time": 60.0, "MFU": 0.5}, "decoder": {"time": 50.0}}),
    "large": (FAILED, {}),
}


def rows_of_a_gpu(out: Path) -> list[Part]:
    """As a campaign on a GPU leaves them, with every kind of part and every kind of end."""
    here = HERE | {"hardware": HERE["hardware"] | {"gpu": "NVIDIA H200"}}
    for name, (status, groups) in ON_A_GPU.items():
        figures = {
            group: {key: {"median": one} if isinstance(one, float) else one for key, one in found.items()}
            for group, found in groups.items()
        }
        about = {"part": name, "status": status, "said": f"{name} said <this>", "seconds": 12.3}
        rows.append(out / conduct.ROWS, rows.row(conduct.SUITE, figures, here, **about))
    return plan.on_a_gpu()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_the_page_opens_alone_and_shows_every_part(tmp_path: Path) -> None:
    planned = rows_of_a_gpu(tmp_path)
    path = page.write(tmp_path, planned, conduct.newest(tmp_path))
    with chromium(tmp_path / "profile") as browser:
        browser.open(path.as_uri())
        text = browser.run("document.body.innerText")
        wide = browser.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        bars = browser.run("[...document.querySelectorAll('td.bar div')].filter((bar) => bar.offsetWidth > 10).length")
        assert browser.requests == [path.as_uri()] and not browser.problems
        browser.screenshot(tmp_path / "page.png")
    assert wide and bars >= 8
    for one in planned:
        assert one.name in text
    for said in ("NVIDIA H200", "812.0", "45.1%", "0.4%", "81.2", "4,700.0", "to do", "test_c", "make room", "GPU <b>"):
        assert said in text, said
    assert f"6 of {len(planned)} parts are done" in text


def test_the_count_of_encoder_and_decoder_is_that_of_their_layers() -> None:
    """By hand, as hooks see it: multiplications and additions of linear layers, convolutions and attention, thrice."""
    recipe = tiny(batch_size=2)
    batch: Any = SimpleNamespace(image=torch.zeros(1, 3, 48, 32, dtype=torch.uint8))
    network, counted = build(recipe.model), {"encoder": 0, "decoder": 0}

    def counts(name: str, module: Any) -> None:
        def add(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            if isinstance(module, torch.nn.Linear):
                counted[name] += 2 * output.numel() * module.in_features
            elif isinstance(module, torch.nn.ConvTranspose2d):
                counted[name] += 2 * inputs[0].numel() * module.weight[0].numel()
            elif isinstance(module, torch.nn.Conv2d):
                counted[name] += 2 * output.numel() * module.weight[0].numel()
            elif type(module).__name__ == "Attention":
                counted[name] += 4 * inputs[0].shape[1] ** 2 * inputs[0].shape[2]

        module.register_forward_hook(add)

    for name, module in network.named_modules():
        counts("encoder" if name.startswith("backbone") else "decoder", module)
    network(batch.image[:1])
    found = apart.flops_apart(recipe.model, batch)
    for name, count in counted.items():
        assert 2.6 * count < found[name] < 3.6 * count, name


def test_peaks_are_found_by_a_devices_name() -> None:
    assert peak_gflops("NVIDIA H100 PCIe", halves=True) == 756_500
    assert peak_gflops("NVIDIA H100 80GB HBM3", halves=True) == peak_gflops("NVIDIA H200", halves=True) == 989_400
    assert peak_gflops("NVIDIA A100-SXM4-80GB", halves=False) == 19_500
    assert peak_gflops("NVIDIA TITAN", halves=True) is peak_gflops(None, halves=True) is None


def tiny(**changes: Any) -> Any:
    return override(recipes.recipe("smoke"), [*SETTINGS, *(f"{name}={value}" for name, value in changes.items())])


SETTINGS = [*SMALLEST, "batch_size=4", "parallel=ddp", "data.threads=1"]


@pytest.fixture(autouse=True)
def small_matrices(monkeypatch) -> None:
    """What a device's rate is measured with takes a second otherwise."""
    monkeypatch.setitem(parts.MATRIX, "cpu", 64)


@pytest.fixture(scope="module")
def campaign_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With data as the part `data` draws it, of fewer samples."""
    folder = tmp_path_factory.mktemp("campaign")
    told: list[dict[str, Any]] = []
    work.data(told.append, given(folder), samples=8)
    assert told[0]["about"]["shards"]["samples"] == 8
    return folder


def given(folder: Path, seconds: float = 0.3) -> dict[str, Any]:
    return {"folder": str(folder), "shards": None, "device": "cpu", "until": time.time() + seconds}


PARTS: dict[str, tuple[Any, dict[str, Any], dict[str, set[str]]]] = {
    "apart": (
        steps.encoder_and_decoder,
        {"recipe": "smoke", "settings": SETTINGS},
        {name: {"time", "arithmetic", "of the matrix rate"} for name in apart.NAMES},
    ),
    "attention": (
        steps.attention,
        {"recipe": "smoke", "settings": SETTINGS, "rounds": 1},
        {"flash": {"time"}, "math": {"time"}},
    ),
    "plain trainer": (
        work.beside,
        {"recipe": "smoke", "settings": SETTINGS, "batches": 1, "rounds": 1},
        {"both": {"rate", "waited"}, "plain": {"rate", "waited"}},
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_each_part_tells_what_it_measured(name: str, campaign_folder: Path) -> None:
    function, how, expected = PARTS[name]
    told: list[dict[str, Any]] = []
    function(told.append, given(campaign_folder), **how)
    json.dumps(told)  # it goes through a pipe
    figures: dict[str, Any] = {}
    for one in told:
        figures |= one.get("figures", {})
    assert {group: set(found) for group, found in figures.items()} == expected
    assert all(one["median"] >= 0 and one["unit"] for found in figures.values() for one in found.values())
    assert any("recipe" in one.get("about", {}) for one in told)


def test_the_loader_is_measured_by_placement_and_threads(campaign_folder: Path) -> None:
    told: list[dict[str, Any]] = []
    how = {"recipe": "smoke", "settings": SETTINGS, "decodes": ["cpu"], "threads": [1, 1, 1000]}
    work.loader(told.append, given(campaign_folder), **how)
    (one,) = told
    assert one["figures"]["decode cpu, 1 threads"]["rate"]["median"] > 0
    assert one["said"].startswith("decode cpu, 1 threads is fastest, ")


def test_a_loader_that_cannot_be_had_costs_no_other(campaign_folder: Path) -> None:
    told: list[dict[str, Any]] = []
    how = {"recipe": "smoke", "settings": SETTINGS, "decodes": ["gpu", "cpu"], "threads": [1]}
    work.loader(told.append, given(campaign_folder), **how)
    assert list(told[0]["figures"]) == ["decode cpu, 1 threads"]
    assert told[1]["status"] == FAILED and told[1]["said"].startswith("decode gpu, 1 threads: data.decode is `gpu`")


def test_a_batch_that_does_not_fit_is_halved_and_said(campaign_folder: Path, monkeypatch) -> None:
    make = steps.training.make_step

    def made(recipe: Any, world: World) -> Any:
        if recipe.batch_size > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return make(recipe, world)

    monkeypatch.setattr(steps.training, "make_step", made)
    told: list[dict[str, Any]] = []
    steps.step(told.append, given(campaign_folder), "smoke", SETTINGS)
    assert told[0]["about"]["recipe"]["batch_size"] == 1
    assert told[1]["said"] == "batches of 1: 4 images do not fit into its memory"
    figures = told[1]["figures"] | told[2]["figures"]
    assert {group: set(found) for group, found in figures.items()} == {
        "step": {"rate", "step", "first step", "arithmetic", "of the matrix rate", "memory"},
        "both": {"rate", "waited"},
    }
    assert all(one["median"] >= 0 and one["unit"] for found in figures.values() for one in found.values())
    monkeypatch.setattr(steps.training, "make_step", lambda recipe, world: made(replace(recipe, batch_size=9), world))
    with pytest.raises(torch.OutOfMemoryError):
        steps.step(told.append, given(campaign_folder), "smoke", SETTINGS)


@pytest.mark.parametrize(("asked", "device"), [("auto", "auto"), ("cpu", "cpu"), ("cuda", "auto")])
def test_a_gpu_that_torch_cannot_use_is_not_left_alone(asked: str, device: str, tmp_path: Path, monkeypatch) -> None:
    """The campaign then computes on the CPU, and its doctor says why."""
    seen: list[Asked] = []

    def one(given: Asked) -> list[Finding]:
        seen.append(given)
        return [Finding("GPU", False, "torch can't use it", "another driver")]

    monkeypatch.setattr("david.bench.doctor.checkup.checkup", one)
    told: list[dict[str, Any]] = []
    work.doctor(told.append, given(tmp_path) | {"asked": asked})
    assert seen == [Asked(str(tmp_path), device)]
    assert told[0]["figures"]["GPU"] == {"ok": False, "found": "torch can't use it", "advice": "another driver"}
    assert told[1] == {"status": FAILED, "said": "broken: GPU"}


def test_tests_are_told_one_by_one_as_they_end(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu: x\n")
    (tmp_path / "tests" / "test_x.py").write_text(
        "import pytest\n\n@pytest.mark.gpu\ndef test_a(): pass\n\n@pytest.mark.gpu\ndef test_b(): assert 0\n\n"
        "@pytest.mark.gpu\n@pytest.mark.skip\ndef test_c(): pass\n\ndef test_d(): assert 0\n"
    )
    told: list[dict[str, Any]] = []
    work.tests(told.append, {}, root=str(tmp_path))
    assert [len(one["figures"]["tests"]) for one in told[:3]] == [1, 2, 3]
    assert told[-1]["status"] == FAILED
    assert told[-1]["said"] == "1 passed, 1 failed, 1 skipped: tests/test_x.py::test_b"
    told.clear()
    work.tests(told.append, {}, root=str(tmp_path / "tests"))
    assert told == [{"status": SKIPPED, "said": f"{tmp_path / 'tests'} has no tests: run it from a checkout of david"}]


def test_a_signal_ends_a_campaign_with_all_that_it_started(tmp_path: Path) -> None:
    words: list[Any] = [(["hangs", "begins_and_hangs"], {})]
    command = [sys.executable, "-c", CAMPAIGN, str(tmp_path), json.dumps(words), json.dumps(HERE)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(TESTS)}, stderr=subprocess.PIPE) as process:
        while not (tmp_path / "hangs.txt").exists() or not (tmp_path / "hangs.txt").read_text():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.communicate()
    child = Path("/proc", (tmp_path / "hangs.txt").read_text())
    while child.exists() and (child / "stat").read_text().split(") ")[1][0] != "Z":
        time.sleep(0.01)
    assert rows.read(tmp_path / "rows.jsonl") == []
