"""How fast packing is, against its floor and against the plain way, on the same raw samples.

- `david`: david's own `build`, with `workers` processes
- `floor`: the C decoders and encoders alone, called on bytes that are in memory already, one process a core: PNG and
  EXR in, JPEG (or WebP) and LZ4 out. What no arrangement around them can beat
- `plain`: what one writes in an afternoon: a loop over OpenEXR, Pillow and `webdataset.ShardWriter`, one process
"""

import io
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
from rich.console import Console

from david.bench import raw as raw_samples
from david.bench.harness import Contender, Measured, take_turns
from david.bench.raw import Kinds, repeated, samples_of
from david.bench.result import Result
from david.pack import machine
from david.pack.raw import archive
from david.pack.shards import codecs
from david.pack.shards.schema import FIELDS_V1
from david.pack.shards.shard import encode
from david.pack.sources import synthhuman
from david.pack.work.build import build
from david.pack.work.plan import PackOptions


def measure(raw: Path, samples: int, rounds: int, workers: int | None, lossless: bool, console: Console) -> Result:
    """Pack `samples` samples of `raw`, over and over where it holds fewer. console: shows what runs"""
    workers = workers or machine.cores()
    data = raw_samples.about(raw, samples)
    contenders: dict[str, Contender] = {
        f"david, {workers} workers": lambda: david(raw, samples, workers, lossless),
        "david, 1 worker": lambda: david(raw, samples, 1, lossless),
        f"floor, {workers} processes": lambda: in_processes(floor, raw, samples, workers, lossless),
        "plain, 1 process": lambda: in_processes(plain, raw, samples, 1, lossless),
    }
    with console.status("measuring") as status:
        figures = take_turns(contenders, rounds, told=status.update)
    all_cores, one, least, slow = (figures[name]["rate"].median for name in contenders)
    ratios = {"of_floor": all_cores / least, "over_plain": all_cores / slow, "over_one_worker": all_cores / one}
    sentence = (
        f"{ratios['of_floor']:.2f} of the floor, {ratios['over_plain']:.1f} times the plain way, "
        f"{ratios['over_one_worker']:.2f} times one worker"
    )
    about = {"ratios": ratios, "data": data, "samples": samples, "rounds": rounds, "lossless": lossless}
    title = f"packing {raw_samples.told(data, samples)}"
    return Result.of("pack", title, figures, verdict=sentence, about=about)


def david(raw: Path, count: int, workers: int, lossless: bool) -> Measured:
    """samples/s of packing `count` samples into a fresh folder, all that a user waits for, and MB a sample."""
    with tempfile.TemporaryDirectory() as folder:
        source = repeated(raw, Path(folder) / "raw", count)
        options = PackOptions(image="webp" if lossless else "jpeg", shard_samples=max(1, count // (4 * workers)))
        begin = time.perf_counter()
        manifest = build(source, Path(folder) / "shards", options, workers=workers)
        elapsed_s = time.perf_counter() - begin
        assert manifest is not None
        size = sum(shard.bytes for shards in manifest.splits.values() for shard in shards)
    return {"rate": (count / elapsed_s, "samples/s"), "size": (size / 1e6 / count, "MB a sample")}


def in_processes(
    work: Callable[[list[tuple[str, Kinds]], bool], float], raw: Path, count: int, workers: int, lossless: bool
) -> Measured:
    """samples/s of `work`, which times itself, in `workers` processes at once."""
    chosen = samples_of(raw, count)
    parts = [chosen[number::workers] for number in range(workers)]
    with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
        seconds = list(pool.map(work, parts, [lossless] * workers))
    return {"rate": (count / max(seconds), "samples/s")}


def floor(chosen: list[tuple[str, Kinds]], lossless: bool) -> float:
    """Seconds of the C codecs alone over these samples."""
    cv2.setNumThreads(1)
    once = dict(chosen)
    data = {key: {kind: archive.read(member) for kind, member in kinds.items()} for key, kinds in once.items()}
    planes = {key: _planes(key, kinds) for key, kinds in once.items()}
    extension, parameters = codecs.IMAGE_ENCODERS["webp" if lossless else "jpeg"]
    begin = time.perf_counter()
    for key, _ in chosen:
        members = data[key]
        bgr = cv2.imdecode(np.frombuffer(members["rgb"], np.uint8), cv2.IMREAD_COLOR)
        assert bgr is not None
        cv2.imdecode(np.frombuffer(members["alpha"], np.uint8), cv2.IMREAD_GRAYSCALE)
        for kind in ("depth", "normal"):
            OpenEXR.File(io.BytesIO(members[kind]), separate_channels=True, num_threads=0).channels()
        cv2.imencode(extension, bgr, parameters)
        for block, low in planes[key]:
            codecs.compress_lz4(block, low)
    return time.perf_counter() - begin


def _planes(key: str, kinds: Kinds) -> list[tuple[bytes, bool]]:
    """The blocks that a sample's planes are before they are compressed, and whether they are low bytes."""
    sample = synthhuman.load(key, kinds)
    height, width = sample.depth_valid.shape
    found = []
    for member, field in zip(encode(sample, "jpeg", "lz4")[1:-1], FIELDS_V1[1:], strict=True):
        planes = codecs.decode_planes(member, field.planes, height, width, "lz4")
        found += codecs.blocks_of(planes, field.low)
    return found


def plain(chosen: list[tuple[str, Kinds]], lossless: bool) -> float:
    """Seconds of the plain way over these samples: RGB as JPEG (or PNG), alpha as PNG, depth and normals as
    fp16 in webdataset's own compressed `npz`."""
    from PIL import Image
    from webdataset.writer import ShardWriter

    rgb_name = "rgb.png" if lossless else "rgb.jpg"
    begin = time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as folder,
        ShardWriter(f"{folder}/plain-%06d.tar", maxcount=1000, verbose=0) as writer,
    ):
        for number, (_, kinds) in enumerate(chosen):
            data = {kind: archive.read(member) for kind, member in kinds.items()}
            rgb = np.array(Image.open(io.BytesIO(data["rgb"])))
            alpha = np.array(Image.open(io.BytesIO(data["alpha"])))
            depth = _exr(data["depth"])["Y"].astype(np.float16)
            channels = _exr(data["normal"])
            normals = np.stack([channels[name] for name in ("B", "G", "R")], -1).astype(np.float16)
            arrays = {"depth": depth, "normals": normals}
            writer.write({"__key__": f"{number:07d}", rgb_name: rgb, "alpha.png": alpha, "npz": arrays})
    return time.perf_counter() - begin


def _exr(data: bytes) -> dict[str, np.ndarray]:
    """As the manual of the OpenEXR package does it: from a file."""
    with tempfile.NamedTemporaryFile(suffix=".exr") as file:
        file.write(data)
        file.flush()
        found = OpenEXR.File(file.name, separate_channels=True).channels()
    return {name: channel.pixels for name, channel in found.items()}
