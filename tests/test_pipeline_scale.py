"""Large sets start at once anywhere, memory stays flat, and a loader that is killed leaves nothing behind."""

import gc
import os
import signal
import subprocess
import sys
import threading
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from people import made

from david.pack.shards import manifest, shard
from david.pipeline.config import DataConfig
from david.pipeline.loader import Loader
from david.pipeline.sampling import order

SAMPLES, SHARD = 298_008, 500


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of as many samples as SynthHuman has, tiny ones; all its shards but the last are links to one."""
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)

    def members(number: int) -> tuple[str, list[bytes]]:
        depth_cm = rng.uniform(90, 110, (16, 16)).astype(np.float32)
        normals = np.tile(np.array([0, 0, 1], np.float32), (16, 16, 1))
        rgb = rng.integers(0, 256, (16, 16, 3), np.uint8)
        whole = np.ones((16, 16), bool)
        sample = made(f"{number:07}", rgb, rgb[..., 0].copy(), depth_cm, normals, whole, whole, None)
        return sample.key, shard.encode(sample, "jpeg", "lz4")

    samples = [members(number) for number in range(SHARD)]
    first = shard.write(folder / "train-000000.tar", samples, "jpeg", "lz4")
    listed = [first]
    for number in range(1, SAMPLES // SHARD):
        name = f"train-{number:06}"
        for suffix in (".tar", ".idx"):
            os.link(folder / f"train-000000{suffix}", folder / f"{name}{suffix}")
        listed.append(replace(first, name=name))
    last = f"train-{SAMPLES // SHARD:06}"
    listed.append(shard.write(folder / f"{last}.tar", samples[: SAMPLES % SHARD], "jpeg", "lz4"))
    manifest.Manifest(folder, {"image": "jpeg", "compression": "lz4"}, {"train": tuple(listed)}).write()
    return folder


def calls(large: Path, shuffle: str, start: int) -> int:
    """How many of this package's functions are called, in all threads, until a loader's first batch is there."""
    counted, whole = [0], threading.Event()

    def count(frame: types.FrameType, event: str, _: object) -> None:
        if event == "call" and not whole.is_set() and frame.f_globals["__name__"].startswith("david."):
            counted[0] += 1

    config = DataConfig(shuffle=shuffle, threads=1, prefetch=1)  # pyright: ignore[reportArgumentType]
    order.permutation.cache_clear()
    threading.setprofile(count)
    sys.setprofile(count)
    try:
        with Loader(large, "train", config, batch_size=96, seed=0, start=start) as loader:
            batch = next(loader)
            whole.set()
            assert loader.samples == SAMPLES
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert set(batch.epochs.tolist()) == {start // (SAMPLES // 96)}
    return counted[0]


@pytest.mark.parametrize("shuffle", ["full", "blocks"])
def test_the_first_batch_of_a_large_set_costs_the_same_at_any_step(large: Path, shuffle: str) -> None:
    begun = calls(large, shuffle, 0)
    for start in (3 * (SAMPLES // 96) + 17, 1_000_000):
        assert calls(large, shuffle, start) < 1.5 * begun, "a batch ahead may be begun, no epoch may be walked through"


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_stays_flat(shards: Path) -> None:
    with Loader(shards, "train", DataConfig(height=64, width=48), batch_size=4, seed=5) as loader:
        for _ in range(150):
            next(loader)
        gc.collect()
        before = resident()
        for _ in range(500):
            next(loader)
        gc.collect()
        assert resident() < before * 1.01


@pytest.mark.skipif(not Path("/dev/shm").exists(), reason="needs /dev/shm")
def test_a_killed_loader_leaves_no_process_no_shared_memory_and_no_file(shards: Path, tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from david.pipeline.loader import Loader; from david.pipeline.config import DataConfig\n"
        "loader = Loader(pathlib.Path(sys.argv[1]), 'train', DataConfig(), batch_size=4, seed=5)\n"
        "for _ in range(5): next(loader)\n"
        "print(flush=True)\n"
        "while True: next(loader)"
    )
    stored = sorted(shards.iterdir())
    for _ in range(3):
        shared = set(Path("/dev/shm").iterdir())
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(shards)],
            stdout=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            start_new_session=True,
        )
        assert child.stdout is not None
        child.stdout.readline()
        mapped = Path(f"/proc/{child.pid}/maps").read_text()
        assert "/dev/shm" not in mapped
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        child.stdout.close()
        with pytest.raises(ProcessLookupError):
            os.killpg(child.pid, 0)  # its session is empty: nobody outlived it
        assert not [path for path in set(Path("/dev/shm").iterdir()) - shared if str(child.pid) in path.name]
        assert sorted(shards.iterdir()) == stored
        assert not list(tmp_path.iterdir())
