"""`david label --nproc N`: ranks of this machine that label a share each, every one on a GPU of its own."""

import os
import signal
from contextlib import nullcontext
from dataclasses import replace
from types import FrameType
from typing import NoReturn

import torch
from rich.console import Console

from david.pack.errors import DavidError
from david.pack.progress import progress_bar
from david.pack.shards import manifest
from david.train import distributed
from david.train.labels import work
from david.train.labels.record import Record
from david.train.labels.work import Told, Work
from david.train.signals import Handlers, Stopped


class AtOnce(Handlers):
    """While it is entered, SIGTERM stops a rank where it is: finished shards stay, and what is half written goes."""

    numbers = (signal.SIGTERM,)

    def _take(self, number: int, frame: FrameType | None) -> NoReturn:
        raise Stopped("told to end; the same command goes on")


def label(asked: Work, ranks: int, shows: bool) -> Told:
    """As `work.label`, by so many ranks. shows: whether the first tells how far its share is. Raises DavidError too
    where a rank died, or there are fewer GPUs."""
    gpus = torch.cuda.device_count() if asked.device != "cpu" else 0
    if gpus and ranks > gpus:
        raise DavidError(f"--nproc {ranks}: {gpus} GPUs are here; take one rank for each, or --device cpu")
    record = Record(asked.out)
    if asked.restart:
        with record.alone():
            record.require_own()
            record.begin_anew(manifest.load(asked.shards))
    shares = distributed.of_each(ranks, share, asked=replace(asked, restart=False), shows=shows)
    samples, labelled = (sum(counts) for counts in zip(*shares.values(), strict=True))
    return Told(samples, labelled, record.end())


def share(asked: Work, shows: bool) -> tuple[int, int]:
    """What a rank does; the samples of its share, and of those the ones that it labelled now."""
    here = distributed.place(os.environ)
    asked = replace(asked, part=asked.part.share(here.rank, here.size), gpu=here.local_rank)
    first = shows and here.rank == 0
    bar = progress_bar(Console(), f"label, 1 of {here.size} ranks") if first else nullcontext(work.silent)
    with AtOnce(), bar as tell:
        told = work.label(asked, tell)
    return told.samples, told.labelled
