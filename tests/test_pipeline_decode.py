"""Where batches are decoded: what crosses to a GPU is the CPU's to the bit, whenever its copies run, and a run keeps
the way that it began with. A stand-in for a GPU's streams runs each copy as late as it may."""

import shutil
import sys
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batches import bits
from people import made as sample_of

from david.pack import BadSample, DavidError
from david.pack.shards import codecs, manifest, shard
from david.pipeline import trace
from david.pipeline.batch import Batch
from david.pipeline.config import DataConfig, Decode
from david.pipeline.engines import cpu, dali_graph, images
from david.pipeline.engines.cpu_to_gpu import MOST_CROSSING
from david.pipeline.loader import Loader
from david.pipeline.sampling.augment import AugmentConfig
from david.pipeline.sampling.order import Picks
from david.train import recipes, run
from david.train.distributed import World
from david.train.recipe import Recipe, override
from david.train.step import decoding

SMALL = DataConfig(height=64, width=48, threads=2, augment=AugmentConfig(0.5, 0.3, 0, 0, 0, crop=0.3))
GARBAGE = 0xA5


class Event:
    """Over once all that was queued before it has run."""

    def __init__(self, device: "Late", number: int):
        self.device, self.number = device, number

    def query(self) -> bool:
        return self.device.ran >= self.number

    def synchronize(self) -> None:
        self.device.run(self.number)


class Late:
    """A device that copies no byte before somebody waits for it. It reads host memory where that lay when the copy was
    queued, whatever has become of it, and its own memory holds garbage until then."""

    def __init__(self) -> None:
        self.memory: dict[int, np.ndarray] = {}  # pinned blocks by address
        self.queued: deque[tuple[int, np.ndarray, torch.Tensor]] = deque()  # number, bytes to read, where they go
        self.count = self.ran = 0
        self.waits: list[tuple[str, int]] = []  # which thread's stream waited for which event
        self.users: dict[int, str] = {}  # address of device memory -> the stream that uses it, too
        self.reused_early: list[int] = []

    def pinned(self, size: int) -> np.ndarray:
        block = np.zeros(size, np.uint8)
        self.memory[block.ctypes.data] = block
        return block

    def stream(self) -> str:
        return "copies"

    def current(self) -> str:
        return threading.current_thread().name

    def copy(self, host: torch.Tensor, stream: str) -> torch.Tensor:
        assert stream == "copies"
        start, block = max((one for one in self.memory.items() if one[0] <= host.data_ptr()), key=lambda one: one[0])
        offset = host.data_ptr() - start
        read = block[offset : offset + host.numel()]  # of the memory below, not of the block that was lent
        self.reused_early += [start for _, other, _ in self.queued if np.shares_memory(read, other)]
        self.count += 1
        there = torch.full_like(host, GARBAGE)
        self.queued.append((self.count, read, there))
        return there

    def event(self, stream: str) -> Event:
        return Event(self, self.count)

    def wait(self, stream: str, event: Event) -> None:
        self.waits.append((stream, event.number))

    def used_on(self, tensor: torch.Tensor, stream: str) -> None:
        self.users[tensor.untyped_storage().data_ptr()] = stream

    def run(self, number: int) -> None:
        """Run what is queued up to a number."""
        while self.queued and self.queued[0][0] <= number:
            self.ran, read, there = self.queued.popleft()
            there.copy_(torch.from_numpy(read.copy()))

    def seen(self, batch: Batch) -> dict[str, bytes]:
        """What this thread's stream reads of a batch: it runs behind what it waited for, and behind nothing else."""
        self.run(max((number for stream, number in self.waits if stream == self.current()), default=0))
        return bits(batch)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Late:
    device = Late()
    monkeypatch.setattr("david.pipeline.loader.Cuda", lambda _: device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    return device


def opened(shards: Path, config: DataConfig = SMALL, device: str = "cuda:0", **how: Any) -> Loader:
    return Loader(shards, "train", config, **{"batch_size": 4, "seed": 5, **how}, device=device)


def on_cpu(shards: Path, steps: int) -> list[dict[str, bytes]]:
    with opened(shards, device="cpu") as loader:
        return [bits(next(loader)) for _ in range(steps)]


@pytest.mark.parametrize("behind", [0, 3])
def test_batches_that_cross_are_the_cpus_to_the_bit_however_late_their_copies_run(
    shards: Path, late: Late, behind: int
) -> None:
    """behind: batches that are taken before the first is looked at"""
    expected, held, found = on_cpu(shards, 12), deque(), []
    with opened(shards) as loader:
        for _ in range(12):
            held.append(next(loader))
            if len(held) > behind:
                found.append(late.seen(held.popleft()))
        found += [late.seen(batch) for batch in held]
    assert found == expected
    assert not late.reused_early


def test_copies_are_recorded_on_the_stream_that_they_run_on(shards: Path, late: Late) -> None:
    with trace.recording(lambda stream: (stream, late.count)) as made, opened(shards) as loader:
        late.seen(next(loader))
    first = next(one for one in made.queued if one.name == "copy")
    assert first.copies and (first.begin, first.end) == (("copies", 0), ("copies", 2))  # its pixels and its numbers


def test_fields_of_any_length_cross_too(shards: Path, late: Late, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pairs of points do, of which each batch has another number, or none."""

    def numbers(picks: Picks, *rest: Any) -> dict[str, torch.Tensor]:
        count = int(picks.ids.sum()) % 3
        pairs = torch.arange(4 * len(picks.ids) * count, dtype=torch.float32)
        return known(picks, *rest) | {"pairs": pairs.view(len(picks.ids), count, 2, 2)}

    known = cpu.numbers
    monkeypatch.setattr(cpu, "numbers", numbers)
    expected = on_cpu(shards, 8)
    with opened(shards) as loader:
        batches = [next(loader) for _ in range(8)]
        assert [late.seen(batch) for batch in batches] == expected
    assert len({batch.pairs.shape[1] for batch in batches}) > 1 and not late.reused_early


def test_memory_is_used_again_but_never_before_its_copy_is_over(shards: Path, late: Late) -> None:
    with opened(shards) as loader:
        for _ in range(30):
            next(loader)
    assert not late.reused_early
    lent = 2 + MOST_CROSSING + 1  # in the making, crossing, and the one that is next
    assert len(late.memory) <= 2 * lent < 30


def test_whoever_takes_a_batch_waits_on_its_own_stream_and_the_allocator_knows(shards: Path, late: Late) -> None:
    with opened(shards) as loader:
        for step in range(1, 5):
            batch = next(loader)
            assert late.waits[-1] == (late.current(), 2 * step) and len(late.waits) == step
            blocks = {one.untyped_storage().data_ptr() for one in batch.tensors().values()}
            assert len(blocks) == 2 and {late.users.get(block) for block in blocks} == {late.current()}
            kept = batch.ids.untyped_storage().nbytes()
            assert kept < 4096  # who keeps the ids does not keep the pixels
    assert not any(stream.startswith("david") for stream, _ in late.waits)


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_closing_waits_for_copies_under_way_and_leaves_no_thread(shards: Path, late: Late, taken: int) -> None:
    before = set(threading.enumerate())
    loader = opened(shards)
    batches = [next(loader) for _ in range(taken)]
    loader.close()
    assert not late.queued and set(threading.enumerate()) <= before  # others of other tests may have ended
    assert [late.seen(batch) for batch in batches] == on_cpu(shards, taken)
    with pytest.raises(RuntimeError, match="closed"):
        next(loader)


def test_a_sample_that_breaks_is_named_on_its_way_to_a_gpu_too(shards: Path, tmp_path: Path, late: Late) -> None:
    copied = shutil.copytree(shards, tmp_path / "set")
    (copied / "train-000001.tar").unlink()
    with opened(copied) as loader, pytest.raises(DavidError, match=r"train-000001\.tar"):
        for _ in range(40):
            next(loader)
    assert not late.queued


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_real_gpu_what_crosses_is_the_cpus_to_the_bit(shards: Path) -> None:
    expected = on_cpu(shards, 30)
    with opened(shards, replace(SMALL, decode="cpu"), "cuda") as loader:
        for one in expected:
            batch = next(loader)
            torch.cuda._sleep(20_000_000)  # what is computed lags behind
            assert bits(batch.each(lambda tensor: tensor + 0).to("cpu")) == one


def test_only_what_dali_decodes_has_another_fingerprint(
    shards: Path, late: Late, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prints(decode: Decode, device: str = "cpu", **how: Any) -> tuple[str, str]:
        with opened(shards, replace(SMALL, decode=decode), device, **how) as loader:
            return loader.fingerprint, loader.earlier

    plain = prints("auto")
    assert plain[0] == plain[1]
    assert prints("cpu") == prints("auto", "cuda:0") == prints("cpu", "cuda:0") == plain
    assert prints("gpu", train=False) == prints("cpu", train=False)  # what is not trained on is the CPU's anyway
    monkeypatch.setattr("david.pipeline.loader._engine", lambda *_: (_ for _ in ()).throw(Reached()))
    loaders: list[Loader] = []
    for load in (1.0, 0.0):
        monkeypatch.setattr(dali_graph, "HARDWARE_LOAD", load)
        loaders.append(Loader.__new__(Loader))
        with pytest.raises(Reached):
            loaders[-1].__init__(shards, "train", replace(SMALL, decode="gpu"), batch_size=4, seed=5, device="cuda:0")
    assert {one.earlier for one in loaders} == {plain[0]}
    assert len({plain[0], *(one.fingerprint for one in loaders)}) == 3


class Reached(Exception):
    """All that comes before the engine was done."""


def test_a_way_that_is_not_there_is_refused_in_one_sentence(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DavidError, match="decode is 'tpu'; it must be 'auto', 'cpu', 'gpu'"):
        DataConfig(decode="tpu")  # type: ignore[arg-type]
    by_dali = replace(SMALL, decode="gpu")
    with pytest.raises(DavidError, match="data.decode is `gpu`, and batches are made for the CPU"):
        opened(shards, by_dali, "cpu")
    with pytest.raises(DavidError, match="data.decode is `gpu`, and this run is on a CPU"):
        decoding.settled(recipe("gpu"), shards, None, ALONE)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    with pytest.raises(DavidError, match="NVIDIA DALI.*--set data.decode=cpu"):
        opened(shards, by_dali, "cuda:0")


def test_an_image_that_tells_another_size_never_reaches_dali(tmp_path: Path) -> None:
    """A few kilobytes of JPEG may tell of gigabytes of pixels."""
    rng = np.random.default_rng(0)
    h, w = 40, 31
    valid, rgb = np.ones((h, w), bool), rng.integers(0, 256, (h, w, 3), np.uint8)
    depth, normals = np.full((h, w), 90, np.float32), np.tile(np.float32([0, 0, 1]), (h, w, 1))
    sample = sample_of("0000000", rgb, rgb[..., 0], depth, normals, valid, valid)
    for image, big in (("jpeg", np.zeros((3000, 4000, 3), np.uint8)), ("webp", np.zeros((300, 400, 3), np.uint8))):
        members = shard.encode(sample, image, "lz4")
        assert images.size_of(memoryview(members[0])) == (h, w)
        members[0] = codecs.encode_rgb(big, image)
        assert images.size_of(memoryview(members[0])) == big.shape[:2]
        for cut in (0, 2, 20, 24):
            assert images.size_of(memoryview(members[0][:cut])) is None
        folder = tmp_path / image
        folder.mkdir()
        listed = shard.write(folder / "train-000000.tar", [("0000000", members)], image, "lz4")
        manifest.Manifest(folder, {"image": image, "compression": "lz4"}, {"train": (listed,)}).write()
        pytest.importorskip("nvidia.dali")
        with fed(folder, (h, w)) as engine, pytest.raises(BadSample, match="has not the 40 x 31 pixels"):
            engine.work.prepared()


class fed:
    """A GPU's engine by CPU operators, given one sample. work: of it, on the engine's threads"""

    def __init__(self, folder: Path, size: tuple[int, int]):
        from david.pipeline.engines.gpu import GpuEngine
        from david.pipeline.reading.reader import Reader
        from david.pipeline.stages import Stages

        self.reader = Reader(folder, "train")
        self.engine = GpuEngine(self.reader, size, "own", 1, 1, torch.device("cpu"), Stages())

    def __enter__(self) -> "fed":
        from david.pipeline.sampling import draws

        one = np.zeros(1, np.int64)
        self.engine.submit(Picks(one, one, np.ones(1, bool)), draws.none(1))
        self.work = self.engine._working[0]
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.close()
        self.reader.close()


ALONE = World(0, 1, torch.device("cpu"))


def recipe(decode: Decode = "auto") -> Recipe:
    return override(recipes.RECIPES["smoke"](), [f"data.decode={decode}"])


class OnGpus:
    """Ranks on GPUs, of which this is the leader; the others measured `others`."""

    def __init__(self, *others: float):
        self.device, self.leads, self.others = torch.device("cuda"), True, others
        self.told: list[int] = []

    def from_leader(self, value: int) -> int:
        self.told.append(value)
        return value


def test_a_way_is_measured_by_the_runs_own_loader(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "WARM_UP", 1)
    monkeypatch.setattr(decoding, "BATCHES", 2)
    small = override(recipe(), ["batch_size=4", "data.height=48", "data.width=32"])
    assert decoding.measured(small, shards, ALONE, "cpu") > 0
    with pytest.raises(DavidError, match="data.decode is `gpu`, and batches are made for the CPU"):
        decoding.measured(small, shards, ALONE, "gpu")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Rates of each way, or what is raised instead."""
    rates: dict[str, Any] = {"cpu": 1000.0, "gpu": 3000.0}

    def rate(_recipe: Recipe, _shards: Path, _world: World, way: str) -> float:
        if isinstance(rates[way], Exception):
            raise rates[way]
        return rates[way]

    monkeypatch.setattr(decoding, "measured", rate)
    yield rates


def test_auto_takes_dali_only_where_it_brings_clearly_more_and_says_so(shards: Path, measured: dict[str, Any]) -> None:
    assert decoding.faster(recipe(), shards, ALONE) == (
        "gpu",
        "data.decode: DALI decodes on the GPU, measured at the start: 1,000 samples/s by the CPU, 3,000 by DALI; the "
        "run keeps that, --set data.decode=cpu or gpu chooses for another",
    )
    measured["gpu"] = 1100.0
    assert decoding.faster(recipe(), shards, ALONE)[0] == "cpu"
    measured["gpu"] = DavidError("no DALI")
    way, told = decoding.faster(recipe(), shards, ALONE)
    assert way == "cpu" and "since DALI can't here (no DALI)" in told
    measured["cpu"] = DavidError("no shards")
    with pytest.raises(DavidError, match="no shards"):
        decoding.faster(recipe(), shards, ALONE)


def test_all_ranks_take_the_same_way_by_the_rates_of_all(
    shards: Path, measured: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {0: (1000.0, 3000.0), 1: (1000.0, 0.0), 2: (5000.0, 3000.0)}
    for others, expected in (((0,), "gpu"), ((1,), "cpu"), ((2,), "cpu")):
        for me in (0, *others):
            measured["cpu"], measured["gpu"] = rates[me]
            way = iter(range(2))

            def gather(_: World, own: torch.Tensor, way: Iterator[int] = way, others: tuple = others) -> torch.Tensor:
                number = next(way)
                return torch.tensor([rates[rank][number] for rank in (0, *others)], dtype=torch.float64)

            monkeypatch.setattr(World, "gather", gather)
            assert decoding.faster(recipe(), shards, ALONE)[0] == expected


def test_a_run_keeps_the_way_that_it_began_with(
    shards: Path, measured: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert decoding.settled(recipe(), shards, None, ALONE)[0].data.decode == "cpu"
    on_gpus, out = OnGpus(), Path("here")
    monkeypatch.setattr(decoding, "faster", lambda *_: ("gpu", "measured"))
    for begun, expected in ((None, "gpu"), ("cpu", "cpu"), ("gpu", "gpu"), ("auto", "gpu")):
        there = None if begun is None else run.Stored(recipe(begun), "", [])
        monkeypatch.setattr(run, "stored", lambda _, there=there: there)
        settled, told = decoding.settled(recipe(), shards, out, on_gpus)  # type: ignore[arg-type]
        assert settled.data.decode == expected and told == (["measured"] if begun is None else [])
        said, _ = decoding.settled(recipe("cpu"), shards, out, on_gpus)  # type: ignore[arg-type]
        assert said.data.decode == "cpu"  # what is said is compared with the run, not replaced
        if begun is not None:
            run.compare(out, recipe(begun), "", settled, "")
            run.compare(out, recipe(begun), "", recipe(), "")
    with pytest.raises(DavidError, match=r"data.decode = gpu, this recipe has cpu"):
        run.compare(out, recipe("gpu"), "", recipe("cpu"), "")
