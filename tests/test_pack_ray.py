"""Packing on Ray: the same bytes, also with bad samples and workers that are killed."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from david.pack import BadSample
from david.pack.raw import archive
from david.pack.shards import manifest
from david.pack.work import build, plan, ray_engine

OPTIONS = plan.PackOptions(val_fraction=0.25, shard_samples=6)
ray = pytest.importorskip("ray")
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A local Ray that all tests here share."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tasks() -> list[int]:
    """The processes that run a task of ours now."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().startswith(b"ray::write"):
                found.append(int(path.parent.name))
    return found


def test_a_killed_worker_costs_ray_no_byte(cluster: None, raw: Path, tmp_path: Path) -> None:
    build.build(raw, tmp_path / "here", OPTIONS, workers=2)
    killed: list[int] = []
    over = threading.Event()

    def hunt() -> None:
        while not killed and not over.wait(0.01):
            for pid in tasks()[:1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    hunter = threading.Thread(target=hunt)
    hunter.start()
    try:
        build.build(raw, tmp_path / "ray", OPTIONS, engine=ray_engine.run, workers=2)
    finally:
        over.set()
        hunter.join()
    assert killed
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")


def test_a_bad_sample_stops_ray_or_goes_to_quarantine(cluster: None, raw: Path, tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    for member in archive.members(sorted(raw.glob("*.zip"))[0]):
        (spoilt / Path(member.name).name).write_bytes(archive.read(member))
    (spoilt / "depth_0000005.exr").write_bytes(b"v/1\x01 and then noise")
    with pytest.raises(BadSample, match="0000005"):
        build.build(spoilt, tmp_path / "ray", OPTIONS, engine=ray_engine.run, workers=2)
    policy = build.BadPolicy(quarantine=True, max_share=0.5)
    build.build(spoilt, tmp_path / "ray", OPTIONS, engine=ray_engine.run, workers=2, bad=policy)
    build.build(spoilt, tmp_path / "here", OPTIONS, workers=2, bad=policy)
    assert [one["id"] for one in manifest.load(tmp_path / "ray").quarantined] == ["0000005"]
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")
