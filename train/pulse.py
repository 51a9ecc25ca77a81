"""A sign of life of each rank, so that one that is stopped, or whose machine is gone, is named and not waited for.

A collective waits for its slowest rank, and a rank may well be slow: its first step compiles, its disk is far away. So
a thread of each rank, which a slow step leaves alone, counts up in the store where the ranks met; rank 0 watches all
others, and they watch rank 0. Silence is counted in own beats and not by the clock: where all ranks were stopped
together, as by `scontrol suspend`, none is silent to another.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

BEATS = 24  # without news of a rank, and it counts as gone
OVER = "over"


class Pulse:
    """From entering to leaving, this rank beats and watches. end: is called with the sentence where a rank is gone"""

    def __init__(self, store: Any, rank: int, size: int, patience_s: float, end: Callable[[str], None] | None = None):
        """store: a torch.distributed Store, of which this takes a connection of its own"""
        self._store, self._rank, self._patience_s = store.clone(), rank, patience_s
        self._store.set_timeout(timedelta(seconds=patience_s))
        self._watched = range(1, size) if rank == 0 else range(1)
        self._end, self._left = end or end_process, threading.Event()
        self._thread = threading.Thread(target=self._run, name="david-pulse", daemon=True)

    def __enter__(self) -> "Pulse":
        self._beat(0)  # who it is, before anything can happen to it
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join(self._patience_s)
        with suppress(RuntimeError):  # the store has gone with the rank that held it
            self._store.set(str(self._rank), OVER)

    def _run(self) -> None:
        last = dict.fromkeys(self._watched, "")
        silent = dict.fromkeys(self._watched, 0)
        beat = 0
        while not self._left.wait(self._patience_s / BEATS):
            beat += 1
            try:
                self._beat(beat)
                news = {rank: self._news(rank) for rank in self._watched}
            except RuntimeError:  # nobody answers: what holds the store is stopped or gone
                if not self._left.wait(self._patience_s):
                    self._end(self._sentence("rank 0, or the launcher,"))
                return
            for rank, said in news.items():
                silent[rank] = 0 if said != last[rank] or said == OVER else silent[rank] + 1
                last[rank] = said
                if silent[rank] >= BEATS:
                    self._wake(said)
                    self._end(self._sentence(f"rank {rank}{' on ' + said.split()[1] if said else ''}"))
                    return

    def _beat(self, number: int) -> None:
        self._store.set(str(self._rank), f"{number} {socket.gethostname()} {os.getpid()}")

    def _news(self, rank: int) -> str:
        """What a rank said last; nothing where it has not yet spoken."""
        return self._store.get(str(rank)).decode() if self._store.check([str(rank)]) else ""

    def _sentence(self, who: str) -> str:
        return (
            f"{who} has given no sign of life for {self._patience_s:g} s: it is stopped, or its machine is gone; the "
            "same command goes on from the last checkpoint"
        )

    def _wake(self, said: str) -> None:
        """Let a rank that is stopped here end with the others, as a launcher's SIGTERM would wait for it. Not by
        SIGKILL, as its death would be seen before this rank's, which knows why."""
        if said and said.split()[1] == socket.gethostname():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(int(said.split()[2]), signal.SIGCONT)


def end_process(sentence: str) -> None:
    """End this process, whose other threads wait for a rank that will not come, and leave the sentence."""
    if not report(sentence):
        sys.stderr.write(f"david: {sentence}\n")
        sys.stderr.flush()
    os._exit(2)


def report(sentence: str) -> bool:
    """Leave the sentence of an expected end where torchrun's agent looks for it, if there is one."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path:
        Path(path).write_text(json.dumps({"message": sentence, "timestamp": int(time.time())}))
    return bool(path)
