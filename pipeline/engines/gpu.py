"""Batches made on a GPU: DALI decodes images and inflates LZ4 planes there, PyTorch does all that follows; Zstandard
planes are inflated on CPU threads.

The same code runs with CPU operators, slower than `cpu.py`: so all but NVIDIA's decoders can be tested without a GPU.

Legend: B samples, H rows, W columns of the batch, h, w of a sample.
"""

import re
from collections import deque
from typing import Any, NamedTuple

import numpy as np
import torch

from david.pack.errors import BadSample, DavidError
from david.pack.shards import codecs
from david.pack.shards.schema import PLANES
from david.pipeline.batch import Batch
from david.pipeline.engines import decode, images_on_device, planes, planes_on_device
from david.pipeline.engines.engine import Engine, Prepared, Work, left, numbers
from david.pipeline.reading import members
from david.pipeline.reading.reader import Encoded, Reader
from david.pipeline.sampling.geometry import place
from david.pipeline.stages import Stages


class Decoding(NamedTuple):
    """A sample on its way through DALI. size: (h, w); inputs: of DALI's graph, by name"""

    size: tuple[int, int]
    inputs: dict[str, np.ndarray]


class GpuEngine(Engine):
    """See `Engine`. batch_size: B; device: CUDA, with its index, or the CPU"""

    IN_FLIGHT = decode.AHEAD + 1  # one is read while DALI decodes the others

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
        self._on_device = device.type == "cuda" and reader.compression == "lz4"
        self._graph: Any = decode.graph(batch_size, threads, device.index, self._on_device)
        super().__init__(reader, size, resize, threads, stages)
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._decoding: deque[tuple[Work, list[Prepared]]] = deque()

    @property
    def in_flight(self) -> int:
        return len(self._working) + len(self._decoding)

    def _lend(self) -> dict[str, torch.Tensor]:
        return {}

    def _prepare(self, work: Work, slot: int) -> Prepared:
        with self.stages.time("read"):
            encoded = self.reader.read(work.ids[slot])
        self._fits(encoded)
        size = encoded.height, encoded.width
        with self.stages.time("inflate"):
            stored = self._compressed(encoded) if self._on_device else self._inflated(encoded)
        inputs = {"rgb": np.frombuffer(encoded.rgb, np.uint8), **stored}
        return left(encoded, place(work.draws, slot, *size, *self.size), Decoding(size, inputs))

    def _inflated(self, encoded: Encoded) -> dict[str, np.ndarray]:
        alpha = np.empty((encoded.height, encoded.width), np.uint8)
        stored = np.empty((planes.COUNT, *alpha.shape), np.uint8)
        members.inflate(encoded.planes, self.reader.compression, alpha, stored, encoded.where)
        return {"alpha": alpha.ravel(), "planes": stored.ravel()}

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

    def collect(self) -> Batch:
        while self._working and len(self._decoding) < decode.AHEAD:
            self._decode(self._working.popleft())
        work, prepared = self._decoding.popleft()
        with self.stages.time("decode"):
            try:
                outputs = self._graph.share_outputs()
            except RuntimeError as error:
                raise _named(prepared, error) from error
        with self.stages.time("augment"):
            batch = self._finish(work, prepared, *outputs)
        self._graph.release_outputs()
        return batch

    def close(self) -> None:
        super().close()
        del self._graph

    def _decode(self, work: Work) -> None:
        with self.stages.time("prepare"):
            prepared = work.prepared()
        for name in prepared[0].rest.inputs:
            self._graph.feed_input(name, [one.rest.inputs[name] for one in prepared])
        self._graph.schedule_run()
        self._decoding.append((work, prepared))

    def _finish(self, work: Work, prepared: list[Prepared], image: Any, alpha: Any, stored: Any) -> Batch:
        sizes = [one.rest.size for one in prepared]
        with torch.cuda.stream(self._stream):
            if len(set(sizes)) == 1:
                parts = [self._placed(prepared, image.as_tensor(), alpha.as_tensor(), stored.as_tensor())]
            else:
                parts = [
                    self._placed([one], image[slot], alpha[slot], stored[slot]) for slot, one in enumerate(prepared)
                ]
            images, alphas, warped = (torch.cat(field) for field in zip(*parts, strict=True))
            turns = [(one.placement.cosine, one.placement.sine, one.placement.mirror) for one in prepared]
            joined = planes_on_device.join(warped, torch.tensor(turns, device=self._device))
            depth, valid, normals, normals_valid = joined
            colours = torch.from_numpy(work.draws.colour).to(self._device)
            fields = {
                "image": images_on_device.paint(images, colours),
                "targets.alpha.value": images_on_device.rounded(alphas),
                "targets.alpha.valid": torch.ones_like(valid),
                "targets.depth.value": depth,
                "targets.depth.valid": valid,
                "targets.normals.value": normals,
                "targets.normals.valid": normals_valid,
            }
            images_on_device.wear(fields["image"], work.draws)
            known = numbers(work.places, prepared, self.reader)
            fields |= {name: value.to(self._device) for name, value in known.items()}
        if self._stream is not None:
            self._stream.synchronize()  # from here on any stream may read the batch, and DALI may use its memory again
        return Batch.of(fields)

    def _placed(self, prepared: list[Prepared], image: Any, alpha: Any, stored: Any) -> tuple[torch.Tensor, ...]:
        """DALI's tensors of samples of one size to images (b, 3, H, W) and alphas (b, 1, H, W), float32, and planes
        (b, 5, H, W) uint8."""
        h, w = prepared[0].rest.size
        count, placements = len(prepared), [one.placement for one in prepared]
        matrices = torch.from_numpy(np.stack([one.matrix for one in placements])).to(self._device)
        where = torch.from_numpy(np.stack([one.where() for one in placements])).to(self._device)
        rgb = self._copy(image).view(count, -1)
        if rgb.shape[1] != h * w * 3:
            raise BadSample(prepared[0].where, f"its image has not the {h} x {w} pixels of its other fields")
        alphas = self._copy(alpha).view(count, -1)[:, : h * w].view(count, h, w, 1)
        how = matrices, placements[0].samples, *self.size
        images, alphas = (images_on_device.place(part, *how) for part in (rgb.view(count, h, w, 3), alphas))
        split = planes_on_device.split(self._copy(stored).view(count, -1), h, w, padded=self._on_device)
        return images, alphas, planes_on_device.warp(split, where, *self.size)

    def _copy(self, stored: Any) -> torch.Tensor:
        """DALI's tensor in memory of our own."""
        from nvidia.dali.plugin.pytorch.torch_utils import feed_ndarray

        own = torch.empty(stored.shape(), dtype=torch.uint8, device=self._device)
        return feed_ndarray(stored, own, cuda_stream=self._stream)


def _named(prepared: list[Prepared], error: RuntimeError) -> DavidError:
    """DALI's error, with the sample that it is about."""
    found = re.search(r"sample #(\d+)", str(error))
    for slot, one in enumerate(prepared):
        try:
            codecs.decode_rgb(one.rest.inputs["rgb"].tobytes())
            readable = True
        except DavidError:
            readable = False
        if not readable or (found and int(found[1]) == slot):
            return BadSample(one.where, "its image can't be decoded; `david verify` finds the damaged shards")
    return DavidError(f"DALI failed on a batch that begins with {prepared[0].where}: {error}")
