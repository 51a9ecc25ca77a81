"""Packs killed, bits flipped, jobs started together, at length.

    PYTHONPATH=tests python tests/soak/pack.py kills|flips|starters|processes [ROUNDS]

    kills       SIGKILL to a whole `david pack` at random moments, then run to its end: the same bytes     (100)
    flips       one bit of a shard or an index: named by `verify` and, where it is read, by `read`        (1,000)
    starters    sets of jobs begun at a barrier, in threads of one process: one set, or a sentence          (200)
    processes   the same of pairs of jobs in processes of their own, with nothing replaced                  (200)

Not part of the suite; `train_kills.py` beside it does the same to training. A fault ends it with an error.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from unittest import mock

from starters import (
    PAIRS,
    STARTS,
    Server,
    at_once,
    changes,
    contents,
    job,
    note_conventions,
    packs,
    parts_without_end,
    small,
    tiny_raw,
    understood,
)

from david.pack import DavidError, read, synth
from david.pack.check import verify
from david.pack.shards import manifest
from david.pack.work import build, plan, survey, worker

OPTIONS = plan.PackOptions(val_fraction=0.25, shard_samples=3)
CALL = ["--val-fraction", "0.25", "--shard-samples", "3", "--workers", "2"]


def kills(raw: Path, out: Path, rounds: int) -> str:
    build.build(raw, out / "alone" / "shards", OPTIONS, workers=2)
    expected, chance, killed, number = contents(out / "alone" / "shards"), random.Random(0), 0, 0
    while killed < rounds:
        shards = out / str(number) / "shards"
        number += 1
        while killed < rounds:
            command = [sys.executable, "-m", "david.cli", "pack", str(raw), str(shards), *CALL]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
            if not changes(process, shards, chance.randint(1, 30)):
                break
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
        build.build(raw, shards, OPTIONS, workers=2)
        assert contents(shards) == expected, f"set {number} differs after {killed} kills"
    return f"{killed} kills of {number} packs: the same bytes each time"


def flips(raw: Path, out: Path, rounds: int) -> str:
    build.build(raw, out / "shards", OPTIONS, workers=2)
    dataset, chance, by_read = manifest.load(out / "shards"), random.Random(0), 0
    listed = {one.name: (split, one) for split, rows in dataset.splits.items() for one in rows}
    start = {}
    for rows in dataset.splits.values():
        start |= {one.name: sum(other.samples for other in rows[:place]) for place, one in enumerate(rows)}
    files = sorted(path for path in (out / "shards").iterdir() if path.suffix in (".tar", ".idx"))

    def samples(path: Path) -> list[bytes]:
        split, one = listed[path.stem]
        there = read(out / "shards", split, start=start[one.name])
        return [
            repr((s.key, s.meta)).encode()
            + s.rgb.tobytes()
            + s.depth_m.tobytes()
            + s.normals.tobytes()
            + s.alpha.tobytes()
            for s, _ in zip(there, range(one.samples), strict=False)
        ]

    whole = {path: samples(path) for path in files}
    for _ in range(rounds):
        path = chance.choice(files)
        data = path.read_bytes()
        place = chance.randrange(len(data))
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :])
        told = " ".join(verify.walk(dataset, listed[path.stem][1], deep=False).faults)
        assert path.stem in told, f"verify did not name {path} at {place}"
        try:
            assert samples(path) == whole[path], f"read gave other data for {path} at {place}"
        except DavidError as error:
            assert path.stem in str(error)
            by_read += 1
        path.write_bytes(data)
    return f"{rounds} flips: verify named all, read named {by_read}; the others change nothing that is read"


def starters(raw: Path, out: Path, rounds: int) -> str:
    few = sorted(raw.glob("*.zip"))[0]
    calls = {(worker, "_encode"): small, (os, "fsync"): lambda _: None, (survey, "begin"): lambda *_: None}
    with ExitStack() as patched:
        for (holder, name), call in calls.items():
            patched.enter_context(mock.patch.object(holder, name, call))
        packs(few, out / "alone" / "shards")()
        expected = contents(out / "alone" / "shards")
        for words in STARTS:
            for number in range(rounds):
                shards = out / f"{number} {' '.join(words).replace('/', '-')}" / "shards"
                outcomes = at_once([job(word, few, shards) for word in words])
                assert all(map(understood, outcomes)), outcomes
                packs(few, shards)()
                assert contents(shards) == expected, words
    return f"{rounds} rounds of each of {len(STARTS)} sets of jobs: one set each time"


def processes(raw: Path, out: Path, rounds: int) -> str:
    out.mkdir()
    few, told = tiny_raw(out / "few.zip"), []
    ready = parts_without_end(few, out / "ready" / "shards")
    build.merge(Path(shutil.copytree(ready, out / "alone" / "shards")))
    expected = contents(out / "alone" / "shards")
    with Server() as server:
        for pair in PAIRS:
            seen: Counter[str] = Counter()
            for _ in range(rounds):
                shards = out / "round" / "shards"
                shutil.copytree(ready, shards) if "merge" in pair else note_conventions(shards)
                outcomes = server.round(pair, few, shards)
                assert all(one in ("set", "no set yet") or understood(one) for one in outcomes), outcomes
                seen.update(one.partition(f"{shards}: ")[2] or one for one in outcomes)
                packs(few, shards)()
                assert contents(shards) == expected, pair
                shutil.rmtree(shards)
            print(f"{' '.join(pair)}, {rounds} rounds: {dict(seen)}", flush=True)
            told.append(" ".join(pair))
    return f"{rounds} rounds of each of {', '.join(told)} in processes: one set each time"


ROUNDS = {"kills": (kills, 100), "flips": (flips, 1000), "starters": (starters, 200), "processes": (processes, 200)}

if __name__ == "__main__":
    soak, rounds = ROUNDS[sys.argv[1]]
    with tempfile.TemporaryDirectory() as folder:
        synth.write(Path(folder) / "raw", samples=24, zips=2, seed=0)
        print(soak(Path(folder) / "raw", Path(folder) / "out", int(sys.argv[2]) if len(sys.argv) > 2 else rounds))
