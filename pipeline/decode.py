"""DALI graphs: encoded bytes and draws go in as data, images come out; no chance and no order of their own.

Legend: B samples, H rows, W columns of the batch; h, w of a sample; n blocks of 65,536 bytes.
"""

from typing import Any

from david.pack.errors import DavidError
from david.pack.schema import BLOCK_BYTES

AHEAD = 2  # batches that DALI is given before the first is taken; its own queue would ask for as many at the start


def _dali() -> Any:
    try:
        import nvidia.dali
        import nvidia.dali.fn
        import nvidia.dali.types
    except ImportError as error:
        raise DavidError(
            f"batches are decoded by NVIDIA DALI, which can't be imported here ({error}); "
            "on Linux install it: pip install nvidia-dali-cuda130"
        ) from error
    return nvidia.dali


def _source(dali: Any, name: str, dtype: str, ndim: int, layout: str = "") -> Any:
    return dali.fn.external_source(name=name, dtype=getattr(dali.types, dtype), ndim=ndim, layout=layout)


def _resize(dali: Any, images: Any, size: tuple[int, int] | None) -> Any:
    """By a triangle as wide as two pixels of the source or of the target, whichever are larger: no aliasing."""
    if size is None:
        return images
    return dali.fn.resize(images, size=size, interp_type=dali.types.INTERP_LINEAR, antialias=True)


def cpu_graph(batch_size: int, threads: int, size: tuple[int, int] | None) -> Any:
    """From `rgb`, encoded images: (H, W, 3) images. Where a size is given they are resized to it, and so is a second
    output, `alpha` (h, w, 1) to (H, W, 1).

    Mirroring and colour are left to OpenCV while images are copied out (`augment.paint`): DALI's CPU operators for
    affine colour take 5 ms an image, OpenCV's 0.1 ms."""
    dali = _dali()
    pipe = dali.Pipeline(batch_size, threads, device_id=None, prefetch_queue_depth=1)
    with pipe:
        rgb = _source(dali, "rgb", "UINT8", 1)
        image = dali.fn.decoders.image(rgb, device="cpu", output_type=dali.types.RGB, adjust_orientation=False)
        outputs = [_resize(dali, image, size)]
        if size is not None:
            outputs.append(_resize(dali, _source(dali, "alpha", "UINT8", 3, "HWC"), size))
        pipe.set_outputs(*outputs)
    pipe.build()
    return pipe


def gpu_graph(batch_size: int, threads: int, device_id: int | None, size: tuple[int, int] | None, inflate: bool) -> Any:
    """Images (H, W, 3) and alphas (H, W, 1), resized where a size is given, mirrored and coloured, and the bytes of
    `planes`: all uint8, on the GPU of that number. Without a number CPU operators do the same, `inflate` excepted.

    Inputs, for each sample:

    rgb: an encoded image; alpha, planes: LZ4 blocks one behind another where `inflate` is set, and plain bytes else
    alpha_blocks, planes_blocks: (n,) int32, where `inflate` is set: the compressed sizes
    area: (1,) int32, h * w; shape: (3,) int32, (h, w, 1)
    flip: () int32; colour: (3, 4) float32"""
    dali = _dali()
    fn = dali.fn
    pipe = dali.Pipeline(batch_size, threads, device_id=device_id, prefetch_queue_depth=1)

    def stored(name: str) -> Any:
        data = _source(dali, name, "UINT8", 1)
        data = data if device_id is None else data.gpu()
        if not inflate:
            return data
        sizes = _source(dali, f"{name}_blocks", "INT32", 1)
        return fn.reshape(fn.decoders.inflate(data, shape=[BLOCK_BYTES], chunk_sizes=sizes), shape=[-1])

    with pipe:
        flip = _source(dali, "flip", "INT32", 0)
        rgb = _source(dali, "rgb", "UINT8", 1)
        how = {"device": "cpu"} if device_id is None else {"device": "mixed", "affine": False}
        image = fn.decoders.image(rgb, **how, output_type=dali.types.RGB, adjust_orientation=False)
        image = fn.flip(_resize(dali, image, size), horizontal=flip)
        image = fn.coord_transform(image, MT=_source(dali, "colour", "FLOAT", 2), dtype=dali.types.UINT8)
        alpha = fn.slice(stored("alpha"), start=[0], shape=_source(dali, "area", "INT32", 1), axes=[0])
        alpha = fn.reshape(alpha, shape=_source(dali, "shape", "INT32", 1), layout="HWC")
        alpha = fn.flip(_resize(dali, alpha, size), horizontal=flip)
        pipe.set_outputs(image, alpha, stored("planes"))
    pipe.build()
    return pipe
