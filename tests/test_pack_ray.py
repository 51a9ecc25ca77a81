"""Packing on Ray: the same bytes, also with bad samples and workers that are killed."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import processes
import pytest
from starters import tiny_raw

from david.pack import BadSample, DavidError
from david.pack.raw import archive
from david.pack.shards import manifest
from david.pack.work import build, crew, plan, ray_engine, record, survey

OPTIONS = plan.PackOptions(val_fraction=0.25, shard_samples=6)
ray = pytest.importorskip("ray")


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
    return [pid for pid in processes.family(os.getpid()) if processes.called(pid, b"ray::write")]


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
        build.build(raw, tmp_path / "ray", OPTIONS, runner=ray_engine.run, workers=2)
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
        build.build(spoilt, tmp_path / "ray", OPTIONS, runner=ray_engine.run, workers=2)
    policy = build.BadPolicy(quarantine=True, max_share=0.5)
    build.build(spoilt, tmp_path / "ray", OPTIONS, runner=ray_engine.run, workers=2, bad=policy)
    build.build(spoilt, tmp_path / "here", OPTIONS, workers=2, bad=policy)
    assert [one["id"] for one in manifest.load(tmp_path / "ray").quarantined] == ["0000005"]
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")


def test_unusual_data_is_judged_and_accepted_on_ray_as_it_is_here(
    cluster: None, far_off: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DavidError, match=r"the raw data: depth is .* go on with --accept depth; expected"):
        build.build(far_off, tmp_path / "ray", OPTIONS, runner=ray_engine.run, workers=2)
    for name, runner in (("ray", ray_engine.run), ("here", crew.run)):
        build.build(far_off, tmp_path / name, OPTIONS, runner=runner, workers=2, accept=["depth"])
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")
    monkeypatch.setattr(survey, "begin", lambda *_: None)  # as where the first look saw nothing of it
    with pytest.raises(DavidError, match=r"latest 8 samples.*packing was stopped.* go on with --accept depth;"):
        build.build(far_off, tmp_path / "later", OPTIONS, runner=ray_engine.run, workers=2)


def test_a_cluster_without_a_node_is_waited_for_and_that_is_told(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[crew.Event] = []
    monkeypatch.setattr(crew, "TOLD_S", 0.0)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"memory": 1.0})  # as a head that computes nothing has
    few = tiny_raw(tmp_path / "few.zip", samples=2)
    assert build.build(few, tmp_path / "ray", OPTIONS, runner=ray_engine.run, hear=heard.append)
    waits = [event.what.told for event in heard if isinstance(event.what, crew.Waits)]
    assert set(waits) == {ray_engine.NO_NODE}
    assert len(waits) <= sum(isinstance(event.what, record.Done) for event in heard)  # not again and again
