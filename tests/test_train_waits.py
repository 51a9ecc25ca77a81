"""The host waits for nobody: a step asks nothing of the device, and what is told comes late and in one piece."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from smallest import SMALLEST
from torch import nn

from david.bench.counting import Counting
from david.bench.fake_gpu import CUDA, Walk, batch_of, fake_gpu, step_of
from david.model import build
from david.pack.errors import DavidError
from david.pipeline.loader import Loader
from david.train import loop, recipes
from david.train.distributed import World
from david.train.journal import read
from david.train.losses.l1 import l1
from david.train.losses.table import TERMS, Term
from david.train.recipe import override
from david.train.record import recorder
from david.train.record.bundle import Watch
from david.train.record.display import display
from david.train.record.post import Post
from david.train.record.recorder import Recorder
from david.train.step import step as steps
from david.train.step.step import Step, may_draw

pytestmark = pytest.mark.usefixtures("warm")
TINY = override(
    recipes.recipe("smoke"),
    [
        *SMALLEST,
        *("batch_size=4", "steps=8", "optim.warmup=3", "log_every=3", "checkpoint_every=4", "parallel=ddp"),
        *("evaluate_every=0", "picture_every=0", "objective.uncertainty=true", "precision=fp16"),
    ],
)
UNTOLD = ("samples_per_s", "wait", "memory_gb")


@pytest.fixture(scope="module")
def shards(figures: Path) -> Path:
    return figures


class Late(Post):
    """As from a GPU: what is sent is there only when it is read."""

    sent: list["Late"] = []  # noqa: RUF012

    def __init__(self, tensors: Sequence[torch.Tensor]):
        super().__init__(tensors)
        self.was_read = False
        self.sent.append(self)

    @staticmethod
    def is_late(device: torch.device) -> bool:
        return True

    def read(self) -> list[torch.Tensor]:
        self.was_read = True
        return super().read()


def test_what_comes_a_step_late_is_written_as_what_comes_at_once(shards: Path, tmp_path: Path, monkeypatch):
    loop.train(TINY, shards, tmp_path / "at once", device="cpu", speaks=False)
    monkeypatch.setattr(Late, "sent", [])
    monkeypatch.setattr(loop, "Recorder", partial(Recorder, post=Late))
    seen: list[tuple[int, int, int]] = []  # of each step, while it computes: lines in the journal, sent, read
    call = Step.__call__

    def watching(step: Step, *more):
        lines = len(list(read(tmp_path / "late" / "journal.jsonl")))
        seen.append((lines, len(Late.sent), sum(one.was_read for one in Late.sent)))
        return call(step, *more)

    monkeypatch.setattr(Step, "__call__", watching)
    loop.train(TINY, shards, tmp_path / "late", device="cpu", speaks=False)
    # sent with step 3 and read after step 4, which is saved and so flushed; likewise 6 and 7, 8
    assert seen == [(0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 1, 0), (4, 2, 2), (4, 2, 2), (4, 3, 2), (6, 3, 3)]
    for name in ("journal", "ledger", "metrics"):
        one, other = (
            [{k: v for k, v in line.items() if k not in UNTOLD} for line in read(tmp_path / run / f"{name}.jsonl")]
            for run in ("at once", "late")
        )
        assert one == other and len(one) == {"journal": 8, "ledger": 8, "metrics": 1}[name]


def test_what_was_packed_is_what_comes_out():
    tensors = [torch.tensor([0.1, torch.inf]), torch.tensor([[2**53 - 1, -3]]), torch.tensor(1 / 3).double()]
    for ours, theirs in zip(Post(tensors).read(), tensors, strict=True):
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)


class Event:
    """Of a GPU that is not there."""

    def record(self) -> None:
        pass

    def synchronize(self) -> None:
        raise AssertionError("the host waits")


def test_between_logs_nothing_is_asked_of_a_gpu_and_at_a_log_one_copy(tmp_path: Path, monkeypatch):
    """A step, its record and all else that the loop does for each; `Watch` alone looks at the step before."""
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(Watch, "__init__", lambda *_: None)
    monkeypatch.setattr(Watch, "hold", lambda *_: None)
    monkeypatch.setattr(recorder, "writers", lambda *_: [])
    counting, waits = Counting(), []
    with fake_gpu(Walk(counting.entering)), counting:
        recipe = override(TINY, ["objective.uncertainty=false"])
        step, batch, world = step_of(recipe), batch_of(recipe), World(0, 1, CUDA)
        pinned = torch.empty_like
        monkeypatch.setattr(torch, "empty_like", lambda *a, pin_memory=False, **how: pinned(*a, **how))
        watch = Watch(tmp_path, step, world, print)
        written = Recorder(tmp_path, 0, recipe, step, watch, world, display(0, 8, False), ())
        for number in (1, 2, 3):
            counting.clear()
            written.take(step(batch, number), batch, 0.0)
            assert not world.any(False)
            waits.append(sum(one.waits for one in counting.found.values()))
    assert waits == [0, 0, 1]
    assert not (tmp_path / "journal.jsonl").read_bytes()


def test_generators_are_seeded_only_where_something_is_drawn(shards: Path, monkeypatch):
    def seeded(recipe, change=lambda step: None) -> bool:
        step = Step(build(recipe.model), recipe, World(0, 1, torch.device("cpu")))
        change(step)
        called: list[int] = []
        monkeypatch.setattr(steps, "seed_generators", lambda *about: called.append(about[1]))
        step(batch, 7)
        return called == [7]

    with Loader(shards, "train", TINY.data, batch_size=2, seed=0) as loader:
        batch = next(loader)
    assert not seeded(TINY)
    network = build(TINY.model)
    assert not may_draw(network)
    network.backbone.vit.pos_drop = nn.Dropout(0.1)
    assert may_draw(network)
    assert not may_draw(nn.Dropout(0.0)) and may_draw(Own())
    monkeypatch.setitem(TERMS, "depth_own", Term("depth", "depth", lambda p, d, v: l1(p + torch.rand(()), d, v)))
    assert seeded(override(TINY, ["objective.depth_own=1"]))


class Own(nn.Module):
    """Of somebody else: it may draw."""


def test_a_step_that_is_not_seeded_draws_nothing(shards: Path):
    recipe = override(TINY, ["recompute=true", "precision=fp32"])
    with Loader(shards, "train", recipe.data, batch_size=2, seed=0) as loader:
        batch = next(loader)
    step = Step(build(recipe.model), recipe, World(0, 1, torch.device("cpu")))
    assert not step.draws
    before = torch.get_rng_state()
    step(batch, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_that_diverges_ends_though_it_is_told_late(shards: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(loop, "Recorder", partial(Recorder, post=Late))
    recipe = override(TINY, ["max_skipped=1", "objective.depth_ssi_mse=1e38", "checkpoint_every=0", "precision=fp32"])
    with pytest.raises(DavidError, match="step 3: the gradient was not finite in 3 steps in a row"):
        loop.train(recipe, shards, tmp_path / "run", device="cpu", speaks=False)
