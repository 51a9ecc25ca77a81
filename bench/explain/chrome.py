"""A record as a trace that Perfetto and Chrome open: the JSON array format of trace events.

Google, "Trace Event Format" (2016), chapter "JSON Object Format": `ph` X is a complete event with `ts` and `dur` in
microseconds, M names a thread or the process, and events of one thread nest.
"""

from typing import Any

from david.bench.explain.path import Part
from david.bench.explain.tracks import Tracks

PROCESS = 1


def events(tracks: Tracks, path: list[Part]) -> dict[str, Any]:
    """All spans by thread, and above them the critical path."""
    order = [
        tracks.trainer,
        *sorted(set(tracks.pieces) - {tracks.trainer}, key=lambda one: (one != tracks.loader, one)),
    ]
    row = {thread: number for number, thread in enumerate(order, 1)}
    begin = min(one.start_ns for pieces in tracks.pieces.values() for one in pieces)
    found: list[dict[str, Any]] = [_named("process_name", 0, "david train"), _named("thread_name", 0, "critical path")]
    found += [_named("thread_name", row[one], name_of(tracks, one)) for one in order]
    found += [_event(one.stage, 0, one.start_ns - begin, one.end_ns - one.start_ns) for one in path]
    found += [
        _event(span.name, row[thread], span.start_ns - begin, span.end_ns - span.start_ns)
        for thread in order
        for span in dict.fromkeys(piece.span for piece in tracks.pieces[thread])
    ]
    return {"traceEvents": found, "displayTimeUnit": "ms"}


def name_of(tracks: Tracks, thread: int) -> str:
    """A thread's name, for people."""
    known = {tracks.trainer: "trainer", tracks.loader: "loader"}
    return known.get(thread) or tracks.threads.get(thread, "thread").removeprefix("david-")


def _named(kind: str, row: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": PROCESS, "tid": row, "args": {"name": name}}


def _event(name: str, row: int, start_ns: int, ns: int) -> dict[str, Any]:
    return {"name": name, "cat": "david", "ph": "X", "pid": PROCESS, "tid": row, "ts": start_ns / 1e3, "dur": ns / 1e3}
