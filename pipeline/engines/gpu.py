"""Batches made on a GPU: DALI decodes images and inflates LZ4 planes there, PyTorch does all that follows; Zstandard
planes are inflated on CPU threads.

The same code runs with CPU operators, slower than `cpu.py`: so all but NVIDIA's decoders can be tested without a GPU.

Legend: B samples, H rows, W columns of the batch, h, w of a sample.
"""

import re
from collections import deque
from itertools import accumulate
from typing import Any, NamedTuple

import lz4.block
import numpy as np
import torch

from david.pack.errors import BadSample, DavidError
from david.pack.shards import codecs
from david.pack.shards.schema import BLOCK_BYTES, Fields
from david.pipeline.batch import TARGETS, Batch
from david.pipeline.engines import dali_graph, images, images_on_device
from david.pipeline.engines.engine import Engine, Prepared, Work, left, numbers
from david.pipeline.engines.stored import Stored
from david.pipeline.reading import members
from david.pipeline.reading.reader import Encoded, Reader
from david.pipeline.sampling.placement import Fit
from david.pipeline.stages import Stages

MOST_BLOCK_BYTES = BLOCK_BYTES + BLOCK_BYTES // 255 + 16  # of a compressed block: LZ4's own bound
NO_PLANES = lz4.block.compress(bytes(BLOCK_BYTES), store_size=False)  # what DALI inflates where a sample has none


class Decoding(NamedTuple):
    """A sample on its way through DALI. size: (h, w); inputs: of DALI's graph, by name

    fields: those that it has; starts: where each begins among its inflated bytes"""

    size: tuple[int, int]
    inputs: dict[str, np.ndarray]
    fields: Fields
    starts: dict[str, int]


class GpuEngine(Engine):
    """See `Engine`. batch_size: B; device: CUDA, with its index, or the CPU"""

    IN_FLIGHT = dali_graph.AHEAD + 1  # one is read while DALI decodes the others

    def __init__(
        self,
        reader: Reader,
        size: tuple[int, int],
        fit: Fit,
        batch_size: int,
        threads: int,
        device: torch.device,
        stages: Stages,
    ):
        compressions = {one.compression for one in reader.sets.manifests}
        self._on_device = device.type == "cuda" and compressions == {"lz4"}
        self._graph: Any = dali_graph.graph(batch_size, threads, device.index, self._on_device)
        super().__init__(reader, size, fit, threads, stages)
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._decoding: deque[tuple[Work, list[Prepared]]] = deque()
        self._made: deque[list[torch.Tensor]] = deque()  # of batches not handed over

    @property
    def in_flight(self) -> int:
        return len(self._working) + len(self._decoding)

    def _lend(self) -> dict[str, torch.Tensor]:
        return {}

    def _prepare(self, work: Work, slot: int) -> Prepared:
        with self.stages.time("read"):
            encoded = self.reader.read(work.ids[slot])
        placement, size = self._place(work, slot, encoded), (encoded.height, encoded.width)
        with self.stages.time("inflate"):
            inputs, starts = self._compressed(encoded) if self._on_device else self._inflated(encoded)
        inputs["rgb"] = np.frombuffer(encoded.rgb, np.uint8)
        if images.size_of(encoded.rgb) not in (None, size):  # before memory is taken for it
            raise _other_size(encoded.where, size)
        return left(encoded, placement, Decoding(size, inputs, encoded.fields, starts))

    def _inflated(self, encoded: Encoded) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        ends = list(accumulate((field.planes for field in encoded.fields), initial=0))
        stored = np.zeros((max(ends[-1], 1), encoded.height, encoded.width), np.uint8)
        outs = {field.name: stored[end : end + field.planes] for field, end in zip(encoded.fields, ends, strict=False)}
        members.inflate(encoded.planes, encoded.compression, outs, encoded.where)
        plane = encoded.height * encoded.width
        return {"planes": stored.ravel()}, {name: end * plane for name, end in zip(outs, ends, strict=False)}

    def _compressed(self, encoded: Encoded) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        sizes, data, starts, end = [], [], {}, 0
        for field in encoded.fields:
            member = encoded.planes[field.name]
            try:
                known = codecs.block_sizes(member, field.planes, encoded.height, encoded.width)
            except DavidError as error:
                raise BadSample(encoded.where, f"{field.name}: {error}") from error
            if len(known) and not 0 < int(known.min()) <= int(known.max()) <= MOST_BLOCK_BYTES:
                odd = int(known.min()) or int(known.max())
                raise BadSample(encoded.where, f"{field.name}: a block of {odd} bytes; pack the set again")
            sizes.append(known.astype(np.int32))
            data.append(np.frombuffer(member, np.uint8, offset=4 * len(known)))
            starts[field.name], end = end, end + len(known) * BLOCK_BYTES
        if not data:
            sizes, data = [np.array([len(NO_PLANES)], np.int32)], [np.frombuffer(NO_PLANES, np.uint8)]
        return {"planes": np.concatenate(data), "blocks": np.concatenate(sizes)}, starts

    def collect(self) -> Batch:
        while self._working and len(self._decoding) < dali_graph.AHEAD:
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
        if self._stream is not None:
            self._made.append(list(batch.tensors().values()))
        return batch

    def handed_over(self) -> None:
        if self._stream is not None:  # all was over there; the allocator still has to know who reads it now
            stream = torch.cuda.current_stream(self._device)
            for one in self._made.popleft():
                one.record_stream(stream)

    def close(self) -> None:
        super().close()
        self._made.clear()
        self._graph = None
        dali_graph.release_memory()

    def _decode(self, work: Work) -> None:
        with self.stages.time("prepare"):
            prepared = work.prepared()
        for name in prepared[0].rest.inputs:
            self._graph.feed_input(name, [one.rest.inputs[name] for one in prepared])
        self._graph.schedule_run()
        self._decoding.append((work, prepared))

    def _finish(self, work: Work, prepared: list[Prepared], image: Any, planes: Any, shapes: Any) -> Batch:
        for one, shape in zip(prepared, shapes, strict=True):
            if tuple(np.array(shape)[:2].tolist()) != one.rest.size:
                raise _other_size(one.where, one.rest.size)
        with torch.cuda.stream(self._stream):
            stored = Stored(self._copy(planes), prepared, self.size, self._device)
            fields = {}
            for name, target in stored.targets(self.targets).items():
                fields |= {f"{TARGETS}{name}.value": target.value, f"{TARGETS}{name}.valid": target.valid}
            colours = torch.from_numpy(work.draws.colour).to(self._device)
            fields["image"] = images_on_device.paint(stored.resampled(self._copy(image)), colours)
            images_on_device.degrade(fields["image"], work.draws)
            if self.fit == "contain":
                fields["image"] *= stored.within
            known = numbers(work.picks, prepared, self.reader)
            fields |= {name: value.to(self._device) for name, value in known.items()}
        if self._stream is not None:
            self._stream.synchronize()  # from here on any stream may read the batch, and DALI may use its memory again
        return Batch.of(fields)

    def _copy(self, stored: Any) -> torch.Tensor:
        """DALI's tensors, all of one shape, in memory of our own."""
        from nvidia.dali.plugin.pytorch.torch_utils import feed_ndarray

        tensor = stored.as_tensor()
        own = torch.empty(tensor.shape(), dtype=torch.uint8, device=self._device)
        return feed_ndarray(tensor, own, cuda_stream=self._stream)


def _other_size(where: str, size: tuple[int, int]) -> BadSample:
    return BadSample(where, f"its image has not the {size[0]} x {size[1]} pixels of its other fields")


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
