"""The checks of `david doctor`, in the order in which they are told: what others stand on comes first."""

from david.bench.doctor.check import Check
from david.bench.doctor.extensions import BROKEN
from david.bench.doctor.machine import INSTALL

_HERE = "david.bench.doctor"
_AGAIN = f"install the tested set again: {INSTALL}"
_CUDA = "see that driver, torch and DALI are of one CUDA generation, and that nobody else holds the GPU (nvidia-smi)"
_OURS = "david computes something else here than elsewhere: " + _AGAIN
_MACHINE = "say what this machine is to whoever keeps it"

CHECKS: dict[str, Check] = {
    "david": Check(f"{_HERE}.machine:david", _AGAIN),
    "system": Check(f"{_HERE}.machine:system", _MACHINE),
    "open files": Check(f"{_HERE}.machine:open_files", _MACHINE),
    "shared memory": Check(f"{_HERE}.machine:shared_memory", _MACHINE),
    "temporary files": Check(
        f"{_HERE}.machine:temporary_files",
        "make room there, or name a folder that can be written: TMPDIR=FOLDER david ...",
    ),
    "disk": Check(f"{_HERE}.disk:disk", "name another folder with --disk, or make room there"),
    "driver": Check(f"{_HERE}.devices:driver", "the driver hangs or dies: see dmesg, restart the machine"),
    "pack/shards/_codecs": Check(f"{_HERE}.extensions:codecs", BROKEN),
    "pipeline/reading/_members": Check(f"{_HERE}.extensions:members", BROKEN),
    "pipeline/engines/_planes": Check(f"{_HERE}.extensions:planes", BROKEN),
    "xxHash": Check(f"{_HERE}.extensions:xxhash", BROKEN),
    "LZ4": Check(f"{_HERE}.extensions:lz4", BROKEN),
    "torch": Check(f"{_HERE}.libraries:torch", _AGAIN, 120),
    "GPU": Check(f"{_HERE}.devices:cuda", _CUDA, 120),
    "torch.compile": Check(
        f"{_HERE}.libraries:compiler",
        "a GPU's compiler asks for gcc and Python's headers (python3-dev); till then train with --set compile=false",
        180,
    ),
    "DALI": Check(f"{_HERE}.libraries:dali", _AGAIN, 120),
    "nvJPEG": Check(f"{_HERE}.libraries:nvjpeg", _CUDA),
    "nvCOMP": Check(f"{_HERE}.libraries:nvcomp", _CUDA, 120),
    "NCCL": Check(
        f"{_HERE}.libraries:nccl",
        "try NCCL_DEBUG=INFO david doctor; of one GPU nothing else in david needs it",
        180,
    ),
    "decode on the CPU": Check(f"{_HERE}.decode:on_cpu", _OURS, 120),
    "decode on the GPU": Check(f"{_HERE}.decode:on_gpu", _CUDA, 120),
    "step on the CPU": Check(f"{_HERE}.step:on_cpu", _OURS, 120),
    "step on the GPU": Check(f"{_HERE}.step:on_gpu", _CUDA, 180),
}
