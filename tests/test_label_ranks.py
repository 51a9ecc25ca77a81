"""`david label --nproc N`: ranks that share the shards of a set write what one process writes, also once one died."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from labelling import ask, contents
from test_distill_task import teachers

from david.pack import DavidError
from david.pack.part import Part
from david.pack.shards import manifest
from david.train import distributed
from david.train.labels import ranks
from david.train.labels.record import Record
from david.train.labels.work import Work

pytestmark = pytest.mark.usefixtures("warm")
__all__ = ["teachers"]
HOW = ("--size", 28, "--batch-size", 3)


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Meanwhile this process computes on so many: sums of more are rounded otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_dies(asked: Work, shows: bool) -> tuple[int, int]:
    """A rank's share; the second is gone before the line of its first shard, which the first rank waits for."""
    if distributed.place(os.environ).rank == 1:
        Record.finish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # in a process of its own
    counts = ranks.share(asked, shows)
    signal.pause()
    return counts


def test_two_ranks_write_what_one_process_writes_also_after_one_of_them_died(
    figures: Path, teachers: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of ranks
    with on_threads(1):
        ask(figures, teachers[0], alone, *HOW)
    with monkeypatch.context() as patch:
        patch.setattr(ranks, "share", one_dies)
        with pytest.raises(DavidError, match="rank 1 died by SIGKILL and the others were ended"):
            ask(figures, teachers[0], together, *HOW, "--nproc", 2)
    assert not (together / manifest.NAME).exists() and (together / manifest.RECORD).is_dir()
    ask(figures, teachers[0], together, *HOW, "--nproc", 2)
    assert contents(together) == contents(alone)
    with on_threads(2), pytest.raises(DavidError, match="the teacher's threads is 1 there and 2 now"):
        ask(figures, teachers[0], together, *HOW)
    with pytest.raises(DavidError, match="the teacher's batch_size is 3 there and 2 now"):
        ask(figures, teachers[0], together, "--size", 28, "--batch-size", 2, "--nproc", 2)
    told = ask(figures, teachers[0], together, "--size", 28, "--batch-size", 2, "--nproc", 2, "--restart")
    assert told.startswith("24 samples labelled") and contents(together) != contents(alone)


def test_ranks_of_parts_do_each_shard_once() -> None:
    whole = list(range(23))
    shares = [Part(part, 3).share(rank, 2).of_all(whole) for part in (1, 2, 3) for rank in (0, 1)]
    assert sorted(one for share in shares for one in share) == whole
    assert {one for share in shares[:2] for one in share} == set(Part(1, 3).of_all(whole))
