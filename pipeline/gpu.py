"""Batches made on a GPU: images, LZ4 planes and all that follows on the device; Zstandard planes on CPU threads.

The same code runs with CPU operators, slower than `cpu.py`: so all but NVIDIA's decoders can be tested without a GPU.

Legend: B samples, H rows, W columns of the batch, h, w of a sample.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from david.pack import codecs
from david.pack.errors import BadSample, DavidError
from david.pack.schema import PLANES
from david.pipeline import decode, planes, planes_on_device
from david.pipeline.engine import Engine, Work
from david.pipeline.reader import Encoded, Reader
from david.pipeline.stages import Stages


class GpuEngine(Engine):
    """See `Engine`. batch_size: B; device: CUDA, with its index, or the CPU"""

    def __init__(
        self,
        reader: Reader,
        size: tuple[int, int],
        resize: bool,
        batch_size: int,
        threads: int,
        device: torch.device,
        stages: Stages,
    ):
        self._on_device = device.type == "cuda" and reader.manifest.compression == "lz4"
        graph = decode.gpu_graph(batch_size, threads, device.index, size if resize else None, self._on_device)
        super().__init__(reader, size, resize, threads, graph, stages)
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def _lend(self) -> dict[str, torch.Tensor]:
        return {}

    def _prepare(self, work: Work, encoded: Encoded, slot: int) -> dict[str, np.ndarray]:
        height, width = encoded.height, encoded.width
        with self.stages.time("inflate"):
            stored = self._compressed(encoded) if self._on_device else self._inflated(encoded)
        return {
            "rgb": np.frombuffer(encoded.rgb, np.uint8),
            "area": np.array([height * width], np.int32),
            "shape": np.array([height, width, 1], np.int32),
            "flip": np.array(work.draws.flip[slot], np.int32),
            "colour": work.draws.colour[slot],
            **stored,
        }

    def _inflated(self, encoded: Encoded) -> dict[str, np.ndarray]:
        inflated = np.empty((planes.COUNT, encoded.height, encoded.width), np.uint8)
        planes.inflate(encoded, self.reader.manifest.compression, inflated)
        return {"alpha": inflated[0].ravel(), "planes": inflated[1:].ravel()}

    def _compressed(self, encoded: Encoded) -> dict[str, np.ndarray]:
        sizes, data = {}, {}
        for name, count in PLANES.items():
            member = encoded.planes[name]
            try:
                sizes[name] = codecs.block_sizes(member, count, encoded.height, encoded.width).astype(np.int32)
            except DavidError as error:
                raise BadSample(encoded.where, f"{name}: {error}") from error
            data[name] = np.frombuffer(member, np.uint8, offset=4 * len(sizes[name]))
        return {
            "alpha": data["alpha"],
            "alpha_blocks": sizes["alpha"],
            "planes": np.concatenate([data["depth"], data["normals"]]),
            "planes_blocks": np.concatenate([sizes["depth"], sizes["normals"]]),
        }

    def _finish(self, work: Work, outputs: Sequence[Any]) -> dict[str, torch.Tensor]:
        image, alpha, stored = outputs
        sizes = [(sample.encoded.height, sample.encoded.width) for sample in work.prepared]
        with torch.cuda.stream(self._stream):
            flip = torch.from_numpy(work.draws.flip).to(self._device)
            if len(set(sizes)) == 1:
                warped = self._planes(stored.as_tensor(), sizes[0], flip)
            else:
                parts = zip(range(len(sizes)), sizes, flip.split(1), strict=True)
                warped = torch.cat([self._planes(stored[slot], size, mirrored) for slot, size, mirrored in parts])
            depth, valid, normals = planes_on_device.join(warped, flip)
            fields = {
                "image": self._copy(image.as_tensor()).permute(0, 3, 1, 2),
                "alpha": self._copy(alpha.as_tensor()).permute(0, 3, 1, 2).contiguous(),
                "depth": depth,
                "valid": valid,
                "normals": normals,
            }
        if self._stream is not None:
            self._stream.synchronize()  # from here on any stream may read the batch, and DALI may use its memory again
        return fields

    def _planes(self, stored: Any, size: tuple[int, int], flip: torch.Tensor) -> torch.Tensor:
        """DALI's tensor of bytes of samples of one size to (b, 5, H, W), b the length of `flip`."""
        data = self._copy(stored).view(len(flip), -1)
        return planes_on_device.warp(planes_on_device.split(data, *size, padded=self._on_device), *self.size, flip)

    def _copy(self, stored: Any) -> torch.Tensor:
        """DALI's tensor in memory of our own."""
        from nvidia.dali.plugin.pytorch.torch_utils import feed_ndarray

        own = torch.empty(stored.shape(), dtype=torch.uint8, device=self._device)
        return feed_ndarray(stored, own, cuda_stream=self._stream)
