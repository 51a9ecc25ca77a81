"""DALI's own webdataset reader with CPU operators: JPEG, and uncompressed fp16, which it can't inflate on a CPU."""

# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lz4.block
import numpy as np
import simplejpeg

from david.bench.peers import fields
from david.bench.peers import webdataset_loader as tars

SIZE = "size.txt"


def prepare(raw: Path, samples: int, folder: Path) -> int:
    plain = [
        {name: data if name == "jpg" else lz4.block.decompress(data) for name, data in stored.items()}
        for stored in fields.stored(raw, samples)
    ]
    h, w, _, _ = simplejpeg.decode_jpeg_header(plain[0]["jpg"])
    (folder / SIZE).write_text(f"{h} {w}")
    return tars.write(plain, folder)


@contextmanager
def batches(folder: Path, batch_size: int, workers: int) -> Iterator[Iterator[Any]]:
    from nvidia.dali import Pipeline, fn, types

    h, w = map(int, (folder / SIZE).read_text().split())
    pipe = Pipeline(batch_size, workers, device_id=None, prefetch_queue_depth=2)
    with pipe:
        paths = sorted(str(path) for path in folder.glob("*.tar"))
        how = {"ext": list(fields.NAMES), "random_shuffle": True, "initial_fill": 100}
        jpg, alpha, depth, normals = fn.readers.webdataset(paths=paths, **how)
        flip = fn.random.coin_flip(probability=0.5)
        image = fn.flip(fn.decoders.image(jpg, device="cpu", output_type=types.RGB), horizontal=flip)
        alpha = fn.flip(fn.reshape(alpha, shape=[h, w, 1], layout="HWC"), horizontal=flip)
        depth = fn.reinterpret(depth, dtype=types.INT16, shape=[h, w, 1], layout="HWC")
        depth = fn.flip(depth, horizontal=flip)
        valid = (depth & types.Constant(0x7FFF, dtype=types.INT16)) <= types.Constant(0x7C00, dtype=types.INT16)
        depth = depth * valid
        normals = fn.reinterpret(normals, dtype=types.INT16, shape=[3, h, w], layout="CHW")
        mirrored = np.array([-0x8000, 0, 0], np.int16).reshape(3, 1, 1)
        normals = fn.flip(normals, horizontal=flip) ^ (types.Constant(mirrored) * fn.cast(flip, dtype=types.INT16))
        pipe.set_outputs(image, alpha, depth, valid, normals)
    pipe.build()

    def run() -> Iterator[Any]:
        while True:
            outputs = pipe.run()
            yield dict(zip(("image", "alpha", "depth", "valid", "normals"), outputs, strict=True))

    yield run()
