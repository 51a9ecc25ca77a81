"""`david doctor`: every check can fail, says so with advice, and takes no other with it."""

import json
import resource
import sys
import tempfile
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import stand_in_checks
import torch
from typer.testing import CliRunner

from david.bench.doctor import checkup, decode, devices, disk, extensions, libraries, machine, step
from david.bench.doctor.check import Asked, Finding, Said
from david.bench.doctor.table import CHECKS
from david.cli import app
from david.pack.shards import codecs
from david.pipeline import engines
from david.pipeline.engines import dali_graph, images, planes
from david.pipeline.reading import members
from david.train.step import gradients

ASKED = Asked(".")
NEED_A_GPU = ("driver", "GPU", "torch.compile", "nvJPEG", "nvCOMP", "NCCL", "decode on the GPU", "step on the GPU")


def told(name: str) -> Finding:
    """What a check finds here and now, in this process."""
    return checkup.result(name, CHECKS[name], ASKED)


def test_each_check_says_its_own_and_takes_no_other_with_it() -> None:
    found = {one.name: one for one in checkup.checkup(Asked("/somewhere"), "stand_in_checks:CHECKS")}
    assert list(found) == list(stand_in_checks.CHECKS)
    assert found["fine"] == ("fine", True, "looked at /somewhere", "") and found["fine"].verdict == "ok"
    assert found["noted"] == ("noted", True, "slow", "buy another") and found["noted"].verdict == "note"
    assert found["broken"] == ("broken", False, "wrong", "mend it") and found["broken"].verdict == "broken"
    assert found["raises"] == ("raises", False, "RuntimeError: first line", "advice of raises")
    assert found["chatters"] == ("chatters", True, "quiet", "")
    assert found["hangs"] == ("hangs", False, "it did not end within 0.5 s", "advice of hangs")
    assert not found["dies"].ok and "died by SIGKILL; the machine may have run out of memory" in found["dies"].found
    assert found["leaves"].found.endswith("code 3 and no answer: libbroken.so: undefined symbol")
    assert found["dies"].advice == "advice of dies"


@pytest.mark.parametrize(("table", "code"), [("stand_in_checks:CHECKS", 1), ("stand_in_checks:WELL", 0)])
def test_the_exit_code_and_the_json_say_what_is_broken(table: str, code: int, monkeypatch, capfd) -> None:
    monkeypatch.setattr(checkup, "TABLE", table)
    monkeypatch.setattr(sys, "argv", ["david", "doctor", "--json"])
    from david import cli

    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capfd.readouterr()
    rows = json.loads(said.out)
    assert end.value.code == code
    assert all(list(row) == ["name", "ok", "found", "advice"] for row in rows)
    assert [row["name"] for row in rows if not row["ok"]] == (
        ["broken", "raises", "dies", "leaves", "hangs"] if code else []
    )
    assert ("broken: broken, raises, dies, leaves, hangs" in said.err) == bool(code)


def test_a_finding_comes_as_soon_as_its_check_is_done() -> None:
    """The second check hangs, and nobody but the test ends it."""
    findings = checkup.checkup(ASKED, "stand_in_checks:WAITS")
    assert next(findings).name == "fine"
    findings.close()


def test_where_no_temporary_file_can_be_written_the_checks_are_told_all_the_same(monkeypatch) -> None:
    without_temporary_files(monkeypatch)
    assert [one.ok for one in checkup.checkup(ASKED, "stand_in_checks:WELL")] == [True, True]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for words, said in ((["--disk", "/nowhere"], "no such folder"), (["--device", "tpu"], "there are auto and cpu")):
        done = CliRunner().invoke(app, ["doctor", *words])
        assert said in str(done.exception)


def test_what_is_absent_and_not_needed_is_no_fault(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(devices, "NODES", Path("/nowhere"))
    monkeypatch.setattr(devices, "SMI", ("/nowhere/nvidia-smi",))
    monkeypatch.setattr(libraries.shutil, "which", lambda name: None)
    for name in NEED_A_GPU:
        found = told(name)
        assert found.ok and not found.advice and "no" in found.found, found


def one_gpu(patch: pytest.MonkeyPatch) -> None:
    """A torch with one GPU, which has no bf16 and is in use, as far as the checks ask."""
    about = namedtuple("About", "name major minor")("NVIDIA H200", 9, 0)
    cuda: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "init": lambda: None,
        "get_device_properties": lambda number: about,
        "mem_get_info": lambda number: (10 << 30, 140 << 30),
        "is_bf16_supported": lambda including_emulation: False,
        "nccl": SimpleNamespace(version=lambda: (2, 30, 7)),
    }
    for name, one in cuda.items():
        patch.setattr(torch.cuda, name, one)


def refuses(*_: object, **__: object) -> Any:
    raise RuntimeError("it says no\nat length")


def no_limit(what: int) -> tuple[int, int]:
    assert what == resource.RLIMIT_NOFILE
    return 64, 128


def darker(decode: Callable[..., Any]) -> Callable[..., Any]:
    def decoded(data: Any, out: np.ndarray) -> None:
        decode(data, out)
        out[:] //= 2

    return decoded


def without_planes(patch: pytest.MonkeyPatch) -> None:
    """As where the C code was never built: neither it nor who asks for it is loaded."""
    for name in ("_planes", "planes"):
        patch.delattr(engines, name)
    patch.setitem(sys.modules, "david.pipeline.engines._planes", None)
    patch.delitem(sys.modules, "david.pipeline.engines.planes")


def without_temporary_files(patch: pytest.MonkeyPatch) -> None:
    def no_place() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    patch.setattr(tempfile, "tempdir", None)
    patch.setattr(tempfile, "_get_default_tempdir", no_place)


def full(handle: int) -> None:
    raise OSError(28, "No space left on device")


def halved(call: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *given: call(self, *given) / 2


FAULTS: dict[str, tuple[str, Callable[[Any], object], str, str]] = {
    "no place for temporary files": (
        "temporary files",
        lambda m: without_temporary_files(m),
        "No usable temporary directory",
        "TMPDIR=FOLDER",
    ),
    "few open files": (
        "open files",
        lambda m: m.setattr(resource, "getrlimit", no_limit),
        "64 at once, 128 after",
        "a large shard set wants 1,024; raise it in /etc/security/limits.conf",
    ),
    "a small /dev/shm": (
        "shared memory",
        lambda m: m.setattr(machine.shutil, "disk_usage", lambda path: namedtuple("Usage", "total free")(9e6, 9e6)),
        "0.01 of 0.01 GB free",
        "--shm-size=8g",
    ),
    "no /dev/shm": ("shared memory", lambda m: m.setattr(machine, "SHM", Path("/nowhere")), "no /nowhere", "mount"),
    "a full disk": ("disk", lambda m: m.setattr(disk.os, "fsync", full), "No space left", "name another folder"),
    "broken C code of packing": (
        "pack/shards/_codecs",
        lambda m: m.setattr(codecs._codecs, "split", lambda x, y, z, valid, planes: planes.fill(7)),
        "normals come back",
        "build david's C code again",
    ),
    "broken C code of reading": (
        "pipeline/reading/_members",
        lambda m: m.setattr(members._members, "inflate", lambda address, packed, outs: True),
        "planes of LZ4 come back with other bytes",
        "build david's C code again",
    ),
    "broken C code of engines": (
        "pipeline/engines/_planes",
        lambda m: m.setattr(planes._planes, "join", lambda *_: None),
        "places pixels elsewhere",
        "build david's C code again",
    ),
    "C code that is not there": (
        "pipeline/engines/_planes",
        without_planes,
        "_planes",
        "build david's C code again",
    ),
    "a hidden xxHash": ("xxHash", lambda m: m.setattr(members, "XXH3", 0), "the slow way", "--force-reinstall xxhash"),
    "a hidden LZ4": ("LZ4", lambda m: m.setattr(members, "LZ4", 0), "the slow way", "--force-reinstall lz4"),
    "a torch that is wrong": (
        "torch",
        lambda m: m.setattr(torch, "arange", lambda *_, **__: torch.full((16,), float("nan"))),
        "a product of two matrices is wrong",
        "install the tested set again",
    ),
    "a DALI that raises": ("DALI", lambda m: m.setattr(dali_graph, "graph", refuses), "it says no", "install"),
    "a DALI that can't be imported": (
        "DALI",
        lambda m: m.setitem(sys.modules, "nvidia.dali", None),
        "can't be imported here",
        "install the tested set again",
    ),
    "a decoder that is off": (
        "decode on the CPU",
        lambda m: m.setattr(images, "decode", darker(images.decode)),
        "image differs from the slow twin's by",
        "computes something else here",
    ),
    "planes that are off": (
        "decode on the CPU",
        lambda m: m.setattr(planes, "join", lambda *_: None),
        "differs from the slow twin's",
        "computes something else here",
    ),
    "a step that is off": (
        "step on the CPU",
        lambda m: m.setattr(gradients.Ddp, "__call__", halved(gradients.Ddp.__call__)),
        "losses or gradients are 50.0% off plain PyTorch",
        "computes something else here",
    ),
    "a GPU that torch can't use": (
        "GPU",
        lambda m: (
            m.setattr(devices, "shown", lambda asked: ["/dev/nvidia0"]),
            m.setattr(torch.cuda, "is_available", lambda: False),
            m.setattr(torch.cuda, "init", refuses),
            m.delenv("CUDA_VISIBLE_DEVICES", raising=False),
        ),
        "/dev/nvidia0, but torch can't use them: it says no",
        "torch",
    ),
    "a driver that is gone": (
        "driver",
        lambda m: (
            m.setattr(devices, "shown", lambda asked: ["/dev/nvidia0"]),
            m.setattr(devices, "SMI", (sys.executable, "-c", "print('NVIDIA-SMI has failed'); raise SystemExit(9)")),
        ),
        "nvidia-smi says: NVIDIA-SMI has failed",
        "install NVIDIA's driver",
    ),
    "a nvJPEG that is not there": (
        "nvJPEG",
        lambda m: (one_gpu(m), m.setattr(libraries, "_library", lambda names: (names[0], None))),
        "is nowhere",
        "driver, torch and DALI",
    ),
    "an inflate that raises": (
        "nvCOMP",
        lambda m: (one_gpu(m), m.setattr(dali_graph, "graph", refuses)),
        "it says no",
        "driver, torch and DALI",
    ),
    "a NCCL that raises": (
        "NCCL",
        lambda m: (
            one_gpu(m),
            m.setattr(torch.distributed, "init_process_group", refuses),
        ),
        "it says no",
        "NCCL_DEBUG=INFO",
    ),
    "a compiler that raises": (
        "torch.compile",
        lambda m: (one_gpu(m), m.setattr(torch, "linspace", refuses)),
        "it says no",
        "--set compile=false",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_broken_is_said_with_what_to_do(fault: str, monkeypatch, tmp_path: Path) -> None:
    name, breaks, found, advice = FAULTS[fault]
    breaks(monkeypatch)
    one = checkup.result(name, CHECKS[name], Asked(str(tmp_path)))
    assert not one.ok and one.verdict == "broken", one
    assert found in one.found and "\n" not in one.found, one
    assert advice in one.advice, one
    assert not list(tmp_path.iterdir())


def test_a_gpu_that_works_is_told_with_what_would_be_better(monkeypatch) -> None:
    one_gpu(monkeypatch)
    monkeypatch.setattr(devices, "_require_right", lambda *_: None)
    one = told("GPU")
    assert one.ok and "NVIDIA H200 (9.0, 140 GiB); CUDA" in one.found
    assert "130 GiB of GPU 0 are in use" in one.advice and "precision=fp16" in one.advice


def test_a_gpu_that_was_hidden_on_purpose_is_no_fault(monkeypatch) -> None:
    monkeypatch.setattr(devices, "shown", lambda asked: ["/dev/nvidia0"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    one = told("GPU")
    assert one.ok and "1 hidden by CUDA_VISIBLE_DEVICES=" in one.found and "unset it" in one.advice


def test_a_containers_share_of_the_cores_is_told(monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    monkeypatch.setattr(machine, "CGROUP", tmp_path / "cpu.max")
    monkeypatch.setattr(machine.machine, "cores", lambda: 16)
    one = told("system")
    assert one.ok and "may use 2.5 of the cores" in one.found and "data.threads=2" in one.advice


@pytest.mark.parametrize(("how", "told"), [("O_DIRECT", disk.DROPPED), ("tmpfs", disk.CACHED)])
def test_the_disk_says_how_it_was_read(how: str, told: str, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(disk, "FILE_BYTES", 8 << 20)
    if how == "tmpfs":
        monkeypatch.setattr(disk, "file_system", lambda path: "tmpfs")
    else:
        monkeypatch.setattr(disk.os, "O_DIRECT", 0o100000000)  # a flag that no file system knows

        def open_(path: Path, flags: int, found: Callable[..., int] = disk.os.open) -> int:
            if flags & 0o100000000:
                raise OSError(22, "Invalid argument")
            return found(path, flags)

        monkeypatch.setattr(disk, "os", SimpleNamespace(**{**vars(disk.os), "open": open_}))
    one = disk.disk(Asked(str(tmp_path)))
    assert one.ok and f"({told})" in one.found and "samples/s" in one.found
    assert not list(tmp_path.iterdir())


def test_a_slow_disk_is_noted_and_no_fault(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(disk, "FILE_BYTES", 8 << 20)
    monkeypatch.setattr(disk, "rate", lambda *_: 1e6)
    one = disk.disk(Asked(str(tmp_path)))
    assert one.ok and "2 samples/s" in one.found and "data.shuffle=blocks" in one.advice


@pytest.mark.parametrize("name", ["david", "system", "open files", "shared memory", "temporary files", "torch", "DALI"])
def test_what_works_here_is_ok(name: str) -> None:
    one = told(name)
    assert one.ok, one


@pytest.mark.parametrize("look", [extensions.codecs, extensions.members, extensions.planes, decode.on_cpu, step.on_cpu])
def test_david_computes_here_what_its_twins_do(look: Callable[[Asked], Said]) -> None:
    assert look(ASKED).ok


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", sorted({*NEED_A_GPU, "DALI"} - {"torch.compile"}))  # others compile there
def test_every_check_passes_on_a_gpu(name: str) -> None:
    one = told(name)
    assert one.ok, one
