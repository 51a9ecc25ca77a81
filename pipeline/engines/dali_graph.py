"""DALI's graph: encoded bytes go in, images and planes come out on the device; no chance and no order of its own.

Legend: h rows, w columns of a sample; n blocks of 65,536 bytes.
"""

from typing import Any

from david.pack.errors import DavidError
from david.pack.shards.schema import BLOCK_BYTES

AHEAD = 2  # batches that DALI is given before the first is taken; its own queue would ask for as many at the start
HARDWARE_LOAD = 1.0  # of images for the chip's own decoder, whose pixels are others than its cores'; it is faster too


def _dali() -> Any:
    try:
        import nvidia.dali
        import nvidia.dali.fn
        import nvidia.dali.types
    except ImportError as error:
        raise DavidError(
            f"data.decode=gpu decodes by NVIDIA DALI, which can't be imported here ({error}); "
            "on Linux install it (pip install nvidia-dali-cuda130), or let the CPU decode: --set data.decode=cpu"
        ) from error
    return nvidia.dali


def release_memory() -> None:
    """Give back what DALI keeps of pipelines that are gone: its memory is not torch's, which would lack it."""
    _dali().backend.ReleaseUnusedMemory()


def graph(batch_size: int, threads: int, device_id: int | None, inflate: bool) -> Any:
    """Images (h, w, 3) and the bytes of planes, all uint8 and each filled up to the batch's largest, on the GPU of that
    number; and on the CPU the images' shapes before that. Without a number CPU operators do the same, `inflate`
    excepted.

    Inputs, for each sample:

    rgb: an encoded image; planes: LZ4 blocks one behind another where `inflate` is set, and plain bytes else
    blocks: (n,) int32, where `inflate` is set: the compressed sizes"""
    dali = _dali()
    fn = dali.fn
    pipe = dali.Pipeline(batch_size, threads, device_id=device_id, prefetch_queue_depth=1)

    def source(name: str, dtype: Any) -> Any:
        return fn.external_source(name=name, dtype=dtype, ndim=1)

    with pipe:
        on_gpu = {"device": "mixed", "affine": False, "hw_decoder_load": HARDWARE_LOAD}
        how = {"device": "cpu"} if device_id is None else on_gpu
        rgb = source("rgb", dali.types.UINT8)
        image = fn.decoders.image(rgb, **how, output_type=dali.types.RGB, adjust_orientation=False)
        planes = source("planes", dali.types.UINT8)
        planes = planes if device_id is None else planes.gpu()
        if inflate:
            sizes = source("blocks", dali.types.INT32)
            planes = fn.reshape(fn.decoders.inflate(planes, shape=[BLOCK_BYTES], chunk_sizes=sizes), shape=[-1])
        told = fn.peek_image_shape(rgb, adjust_orientation=False)
        pipe.set_outputs(fn.pad(image, axes=(0, 1)), fn.pad(planes), told)
    try:
        pipe.build()
    except RuntimeError as error:
        told = str(error).strip().splitlines()[0]
        raise DavidError(f"data.decode=gpu: DALI can't decode here ({told}); take --set data.decode=cpu") from error
    return pipe
