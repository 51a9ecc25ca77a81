"""What the system gives: processors, memory, open files, shared memory."""

import os
import platform
import resource
import shutil
import tempfile
from pathlib import Path

from david import __version__
from david.bench import rows
from david.bench.doctor import devices
from david.bench.doctor.check import Asked, Said
from david.pack import machine

LEAST_FILES = 1024  # open at once: a shard set of a thousand shards, sockets of ranks, workers' pipes
SHM = Path("/dev/shm")
LEAST_SHM, SHM_FOR_RANKS = 64 << 20, 1 << 30  # bytes: where nothing works, and what NCCL and DataLoaders ask for
CGROUP = Path("/sys/fs/cgroup/cpu.max")
INSTALL = "in david's checkout say: pip install -c constraints.txt -e ."


def david(asked: Asked) -> Said:
    commit = rows.commit()
    return Said(f"{__version__}{f', commit {commit}' if commit else ''}, Python {platform.python_version()}")


def system(asked: Asked) -> Said:
    cores, quota = machine.cores(), cpu_quota()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    found = f"{machine.processor()}, {cores} cores, {memory:,.0f} GB; {platform.system()} {platform.release()}"
    if quota is not None and quota < cores - 0.5:
        return Said(
            f"{found}; this container may use {quota:.1f} of the cores at a time",
            f"train with --set data.threads={max(1, int(quota))}, or give the container more",
        )
    return Said(found)


def cpu_quota() -> float | None:
    """Of the control group that this process is in, in cores; None where nothing limits it."""
    try:
        quota, period = CGROUP.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def open_files(asked: Asked) -> Said:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    told = ["unlimited" if one == unlimited else f"{one:,}" for one in (soft, hard)]
    found = f"{told[0]} at once, {told[1]} after ulimit -n"
    if soft != unlimited and soft < LEAST_FILES:
        able = hard == unlimited or hard >= LEAST_FILES
        how = f"say before david: ulimit -n {LEAST_FILES}" if able else "raise it in /etc/security/limits.conf"
        return Said(found, f"a large shard set wants {LEAST_FILES:,}; {how}", ok=False)
    return Said(found)


def shared_memory(asked: Asked) -> Said:
    if not SHM.is_dir():
        return Said(f"no {SHM}", f"mount it: mount -t tmpfs -o size=8g tmpfs {SHM}", ok=False)
    usage, several = shutil.disk_usage(SHM), len(devices.shown(asked)) > 1
    found = f"{usage.free / 1e9:,.2f} of {usage.total / 1e9:,.2f} GB free in {SHM}"
    more = "start the container with --shm-size=8g, or remount it larger"
    if not os.access(SHM, os.W_OK):
        return Said(f"{SHM} can't be written", "mount it with mode 1777", ok=False)
    if usage.free < LEAST_SHM or (several and usage.free < SHM_FOR_RANKS):
        return Said(found, more, ok=False)
    if usage.free < SHM_FOR_RANKS:
        return Said(found, f"enough for david's loader, which is threads; Ray and DataLoaders want more: {more}")
    return Said(found)


def temporary_files(asked: Asked) -> Said:
    """That a file can be written where such files go; tempfile has looked through several folders."""
    with tempfile.NamedTemporaryFile(prefix=".david-doctor-") as file:
        file.write(b"x")
        file.flush()
    folder = Path(file.name).parent
    return Said(f"{folder}, {shutil.disk_usage(folder).free / 1e9:,.2f} GB free")
