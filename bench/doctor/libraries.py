"""Libraries that david computes with: torch and its compiler, DALI, nvJPEG, nvCOMP, NCCL."""

import ctypes
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from david.bench.doctor import devices
from david.bench.doctor.check import Asked, Said
from david.pack.shards import codecs
from david.pack.shards.schema import BLOCK_BYTES

DALI, NVCOMP = "nvidia-dali-cuda130", "nvidia-libnvcomp-cu13"
NVJPEG = ("libnvjpeg.so.13", "libnvjpeg.so.12")
OFF_BY = 6  # steps of 255 that another JPEG decoder may differ by in a pixel
BESIDE = Path(cv2.__file__).parents[1]  # site-packages, where NVIDIA's wheels lie


def torch(asked: Asked) -> Said:
    import torch

    one = torch.arange(16.0).reshape(4, 4)
    if (one @ one).sum().item() != float((one.numpy() @ one.numpy()).sum()):
        raise RuntimeError("a product of two matrices is wrong")
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    cudnn = torch.backends.cudnn.version() if devices.present(asked) else None
    return Said(f"{torch.__version__}, {built}, {f'cuDNN {cudnn}, ' if cudnn else ''}{torch.get_num_threads()} threads")


def compiler(asked: Asked) -> Said:
    """torch.compile: on a GPU it is tried; on a CPU, where no recipe of david's asks for it, its C++ compiler is looked
    for."""
    if not devices.present(asked):
        found = next(filter(None, map(shutil.which, ("g++", "clang++", "c++"))), None)
        told = f"{found} is here for it" if found else "no C++ compiler is here for it"
        return devices.not_needed(asked, told)
    import torch

    def function(x: Any) -> Any:
        return (2 * x + 1).relu().sum(1)

    x = torch.linspace(-1, 1, 4096, device="cuda").reshape(64, 64)
    found = torch.compile(function, dynamic=False)(x)
    if not torch.allclose(found, function(x), rtol=1e-5, atol=1e-5):
        raise RuntimeError("what torch.compile made computes something else")
    return Said(f"works, Triton {_version('triton')}")


def dali(asked: Asked) -> Said:
    """Decodes a JPEG, on each device, and compares it with OpenCV's."""
    if sys.platform != "linux":
        return devices.not_needed(asked, "DALI has no build for this system")
    if _version(DALI) is None and not devices.present(asked):
        return devices.not_needed(asked, f"{DALI} is not installed")
    from david.pipeline.engines import dali_graph

    jpeg = codecs.encode_rgb(_picture(), "jpeg")
    expected, numbers = codecs.decode_rgb(jpeg).astype(int), [None, 0] if devices.present(asked) else [None]
    for number in numbers:
        inputs = {"rgb": np.frombuffer(jpeg, np.uint8), "planes": np.arange(64, dtype=np.uint8)}
        image, planes = _through(dali_graph.graph(1, 1, number, inflate=False), inputs)
        apart = np.abs(image.astype(int) - expected).max()
        if apart > OFF_BY or not np.array_equal(planes, inputs["planes"]):
            where = "CPU" if number is None else "GPU"
            raise RuntimeError(f"a JPEG decoded on the {where} differs from OpenCV's by {apart} of 255")
    return Said(f"{_version(DALI)}, decodes on the CPU{' and the GPU' if len(numbers) > 1 else ''}")


def nvjpeg(asked: Asked) -> Said:
    """How many of the chip's own JPEG decoders there are. One without them decodes on its cores."""
    name, library = _library(NVJPEG)
    if not devices.present(asked):
        return devices.not_needed(asked, f"{name} is here" if library else "")
    if library is None:
        raise RuntimeError(f"{' or '.join(NVJPEG)} is nowhere")
    import torch

    torch.cuda.init()
    torch.empty(1, device="cuda")
    handle, engines, cores = ctypes.c_void_p(), ctypes.c_uint(0), ctypes.c_uint(0)
    if code := library.nvjpegCreateSimple(ctypes.byref(handle)):
        raise RuntimeError(f"nvjpegCreateSimple gives {code}")
    try:
        code = library.nvjpegGetHardwareDecoderInfo(handle, ctypes.byref(engines), ctypes.byref(cores))
    finally:
        library.nvjpegDestroy(handle)
    if code or not engines.value:
        return Said(f"{name}, no JPEG engine on this chip: its cores decode")
    return Said(f"{name}, {engines.value} JPEG engines of {cores.value} cores")


def nvcomp(asked: Asked) -> Said:
    """Inflates a block of LZ4 on the GPU."""
    told = _version(NVCOMP)
    if not devices.present(asked):
        return devices.not_needed(asked, f"{told} is here" if told else "")
    from david.pipeline.engines import dali_graph

    expected = (np.arange(BLOCK_BYTES) // 97 % 251).astype(np.uint8)
    block = np.frombuffer(codecs.compress_lz4(expected.tobytes(), low=False), np.uint8)
    jpeg = np.frombuffer(codecs.encode_rgb(_picture(), "jpeg"), np.uint8)
    inputs = {"rgb": jpeg, "planes": block, "blocks": np.array([block.size], np.int32)}
    _, planes = _through(dali_graph.graph(1, 1, 0, inflate=True), inputs)
    if not np.array_equal(planes, expected):
        raise RuntimeError("a block of LZ4 that was inflated on the GPU has other bytes")
    return Said(f"{told}, inflates LZ4 on the GPU")


def nccl(asked: Asked) -> Said:
    """Sums over all GPUs of this machine, a rank each."""
    if not devices.present(asked):
        return devices.not_needed(asked)
    import torch
    from torch.cuda import nccl

    count, told = torch.cuda.device_count(), ".".join(map(str, nccl.version()))
    if count > 1:
        from david.train import distributed

        total = distributed.launch(count, summed)
    else:
        total = _alone(torch)
    if total != count * (count + 1) / 2:
        raise RuntimeError(f"a sum over {count} ranks is wrong: {total}")
    return Said(f"{told}, a sum over {count} rank{'s' if count > 1 else ''} is right")


def summed() -> float:
    """The sum of 1, 2, ... over ranks; each rank runs this."""
    import torch

    from david.train import distributed

    with distributed.joined("cuda") as world:
        return float(world.sum(torch.tensor(world.rank + 1.0, device=world.device)))


def _alone(torch: Any) -> float:
    """The same in a world of one rank, which loads NCCL and its plugins all the same."""
    import torch.distributed as dist

    dist.init_process_group("nccl", store=dist.HashStore(), rank=0, world_size=1, device_id=torch.device("cuda", 0))
    try:
        one = torch.ones((), device="cuda")
        dist.all_reduce(one)
        return float(one)
    finally:
        dist.destroy_process_group()


def _through(pipe: Any, inputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The image and the bytes that DALI's graph makes of one sample."""
    for name, value in inputs.items():
        pipe.feed_input(name, [value])
    lists = [one.as_cpu() if "GPU" in type(one).__name__ else one for one in pipe.run()]
    image, planes, _ = (np.array(one[0]) for one in lists)
    return image, planes


def _picture() -> np.ndarray:
    """(512, 384, 3) uint8: smooth, as photographs are."""
    rows, columns = np.mgrid[:512, :384]
    return np.stack([rows / 2, columns / 1.5, 128 + 90 * np.sin((rows + columns) / 40)], -1).astype(np.uint8)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _library(names: tuple[str, ...]) -> tuple[str, Any]:
    """A shared library as NVIDIA's wheels lay it, or as the system's loader finds it."""
    spec = find_spec("nvidia")
    roots = [Path(one) for one in (spec.submodule_search_locations or ())] if spec else [BESIDE / "nvidia"]
    for name in names:
        found = [path for root in roots for path in sorted(root.glob(f"*/lib/{name}"))]
        for place in (*map(str, found), name):
            try:
                return name, ctypes.CDLL(place)
            except OSError:
                continue
    return names[0], None
