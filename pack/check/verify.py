"""`david verify SHARDS`: is every byte of a shard set what packing wrote, and every sample there once?

A shard is walked member by member (header, data against the digest in the header, padding, end), its index against
what the walk found, and both files against the manifest's hashes: whatever bit changed is named by shard and sample.
"""

import hashlib
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from david.pack import files, machine
from david.pack.errors import DavidError
from david.pack.shards import index, manifest, shard, sidecar
from david.pack.shards.manifest import Manifest, Shard
from david.pack.shards.schema import CODINGS

BLOCK = tarfile.BLOCKSIZE


@dataclass
class Walked:
    """What was found in one shard. faults: sentences; keys: of its samples, in order."""

    faults: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)


def verify(
    folder: Path,
    *,
    deep: bool = False,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Manifest, list[str]]:
    """The manifest of a set or a sidecar, and every fault found, in the order of shards; none: it is whole.

    deep: decode every sample too; progress: hears (shards done, shards in all).
    Raises DavidError where the folder holds no manifest, or a damaged one."""
    dataset = manifest.load_any(folder)
    listed = [one for shards in dataset.splits.values() for one in shards]
    found: dict[str, Walked] = {}
    workers = min(workers or machine.cores(), max(len(listed), 1))
    with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
        tasks = {pool.submit(walk, dataset, one, deep): one.name for one in listed}
        for done, task in enumerate(as_completed(tasks), start=1):
            try:
                found[tasks[task]] = task.result()
            except BrokenProcessPool as error:
                raise DavidError(
                    f"{folder}: a process that read it was ended, as it is where files shrink meanwhile or memory is "
                    "short; check it again while nobody writes there"
                ) from error
            progress(done, len(listed))
    faults = [fault for one in listed for fault in found[one.name].faults]
    twice = [key for key, times in Counter(key for one in found.values() for key in one.keys).items() if times > 1]
    faults += [f"{folder}: sample {key} is there more than once" for key in sorted(twice)]
    total = sum(map(dataset.samples, dataset.splits)) + len(dataset.quarantined)
    if total != dataset.raw.get("samples", total):
        faults.append(
            f"{folder}: holds or quarantines {total} samples of the {dataset.raw['samples']} that were packed"
        )
    return dataset, faults + list(_strangers(folder, {one.name for one in listed}))


def _strangers(folder: Path, names: set[str]) -> Iterator[str]:
    """Files beside the set's own: what an interrupted copy or another pack left."""
    expected = {manifest.NAME, *(f"{name}{suffix}" for name in names for suffix in (".tar", ".idx"))}
    for path in sorted(folder.iterdir()):
        if path.name not in expected and (path.suffix in (".tar", ".idx", ".part") or path.name == manifest.RECORD):
            yield f"{path}: not in the manifest"


def walk(dataset: Manifest, listed: Shard, deep: bool) -> Walked:
    """Everything about one shard."""
    found = Walked()
    path = dataset.folder / f"{listed.name}.tar"
    try:
        sha256 = files.sha256(path)  # read before it is mapped: a bad sector is an error here and a signal there
        data = np.memmap(path, np.uint8, "r").data if path.stat().st_size else memoryview(b"")
        text = path.with_suffix(".idx").read_bytes()
    except OSError as error:
        found.faults.append(f"{error.filename or path}: can't be read ({error.strerror})")
        return found
    rows, end = _members(path, data, dataset, found)
    if len(data) != listed.bytes:
        found.faults.append(f"{path}: has {len(data):,} bytes, the manifest lists {listed.bytes:,}")
    elif any(data[end:]):
        found.faults.append(f"{path}: something stands behind its last sample, {found.keys[-1] if rows else 'none'}")
    if len(rows) != listed.samples:
        found.faults.append(f"{path}: holds {len(rows)} samples, the manifest lists {listed.samples}")
    expected, got = index.dump(rows).splitlines(), text.splitlines()
    if text != index.dump(rows):
        line = next((n for n, pair in enumerate(zip(expected, got, strict=False)) if pair[0] != pair[1]), len(expected))
        name = (
            f"sample {found.keys[line - 1]}" if 0 < line <= len(rows) else "its first line" if not line else "its end"
        )
        found.faults.append(f"{path.with_suffix('.idx')}: does not describe the shard, beginning with {name}")
    if not found.faults and (sha256, hashlib.sha256(text).hexdigest()) != (listed.sha256, listed.index_sha256):
        found.faults.append(f"{path}: sound in itself, but another shard than the one in the manifest")
    if deep:
        found.faults += _decoded(path, data, rows, dataset)
    return found


def _members(path: Path, data: memoryview, dataset: Manifest, found: Walked) -> tuple[list[list[index.Member]], int]:
    """The rows of the index that the shard should have, and where its last member ends; faults on the way.

    A damaged header is passed over by the size that the index tells."""
    listed = _listed(path, dataset)
    rows: list[list[index.Member]] = []
    offset = 0
    while offset + BLOCK <= len(data) and (any(data[offset : offset + BLOCK]) or len(rows) < len(listed)):
        row: list[index.Member] = []
        for extension in dataset.extensions:
            where = f"{path}, sample {len(rows)}" + (f" ({listed[len(rows)][0]})" if len(rows) < len(listed) else "")
            head = data[offset : offset + BLOCK]
            try:
                info = tarfile.TarInfo.frombuf(bytes(head), "ascii", "strict")
                key, size = info.name.removesuffix(f".{extension}"), info.size
                if info.name == key or (row and info.name != f"{found.keys[-1]}.{extension}"):
                    raise DavidError(f"{info.name} stands where a {extension} is expected")
                content = data[offset + BLOCK : offset + BLOCK + size]
                if len(content) != size:
                    raise DavidError("the shard ends within it")
                if not row:
                    found.keys.append(key)
                where = f"{path}, sample {len(rows)} ({key}), {extension}"
                shard.check(head, content)
                if shard.header(info.name, content) != bytes(head):
                    raise DavidError("its header is not as packing writes it")
            except (tarfile.HeaderError, DavidError, UnicodeError, ValueError) as error:
                found.faults.append(f"{where}: {error}")
                if len(rows) >= len(listed):
                    return rows, len(data)
                key, sizes = listed[len(rows)]
                size = sizes[len(row)]
                if len(found.keys) == len(rows):
                    found.keys.append(key)
            row.append(index.Member(extension, offset + BLOCK, size, f"{found.keys[-1]}.{extension}"))
            end = offset + BLOCK + size
            offset = end + -size % BLOCK
            if any(data[end:offset]):
                found.faults.append(f"{where}: its padding is not zero")
        rows.append(row)
    return rows, offset


def _listed(path: Path, dataset: Manifest) -> list[tuple[str, list[int]]]:
    """Each sample's key and its members' sizes by the index; nothing where that is damaged too."""
    text = path.with_suffix(".idx")
    try:
        spans, keys = index.entries(text, dataset.extensions)
    except DavidError:
        return []
    return list(zip(keys, spans[..., 1].tolist(), strict=True))


def _decoded(path: Path, data: memoryview, rows: list[list[index.Member]], dataset: Manifest) -> Iterator[str]:
    """Faults that show only when samples are decoded."""
    coded = dataset.compression, dataset.fields
    decode = sidecar.decode if dataset.belongs else shard.decode
    for number, row in enumerate(rows):
        key = row[0].name.partition(".")[0]
        where = f"{path}, sample {number} ({key})"
        try:
            sample = decode([data[m.offset : m.offset + m.size] for m in row], *coded)
        except DavidError as error:
            yield f"{where}: {error}"
            continue
        sizes = {} if isinstance(sample, sidecar.Labels) else {"rgb": sample.rgb.shape[:2]}
        shapes = sizes | {name: one.shape[:2] for name, one in sample.values.items()}
        if len(set(shapes.values())) > 1:
            yield f"{where}: fields differ in size: {shapes}"
        if sample.key != key:
            yield f"{where}: its JSON member is of sample {sample.key}"
        for one, member in zip(dataset.labels, row[-1 - len(dataset.labels) :], strict=False):
            value, valid = sample.values[one.name], sample.masks[one.name]
            if member.size and not valid.any() and not np.isposinf(value).any():
                yield f"{where}: no pixel of {one.name} is valid"
            lengths = np.linalg.norm(value[valid], axis=-1) if CODINGS[one.coding].vector else np.ones(1)
            if np.abs(lengths - 1).max(initial=0) > 1e-3:
                yield f"{where}: {one.name} are not of unit length"
