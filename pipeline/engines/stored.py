"""A batch's planes on a device, of samples of any sizes and tables of fields, and what becomes of them: its targets.

Legend: B samples, H rows, W columns of the batch, h, w of a sample.
"""

from collections import defaultdict

import numpy as np
import torch

from david.pack.shards.schema import CODINGS, Field
from david.pipeline.batch import Target
from david.pipeline.engines import images_on_device, planes_on_device
from david.pipeline.engines.engine import Prepared
from david.pipeline.engines.layout import LINEAR, RELATIVE, constants
from david.pipeline.reading.reader import RANGES
from david.pipeline.targets import Kind


class Stored:
    """data: (B, bytes) uint8, each sample's planes as its `rest.starts` tells; prepared: the samples; size: (H, W)

    within: (B, 1, H, W) bool, which pixels of the batch have one of their sample under them"""

    def __init__(self, data: torch.Tensor, prepared: list[Prepared], size: tuple[int, int], device: torch.device):
        self._data, self._prepared, self._size, self._device = data, prepared, size, device
        placements = [one.placement for one in prepared]
        where = torch.from_numpy(np.stack([one.where() for one in placements])).to(device)
        self._sizes = torch.tensor([one.source for one in placements], device=device)
        self._largest = tuple(max(one.source[side] for one in placements) for side in (0, 1))
        self._pixels, self.within = planes_on_device.under(where, self._sizes, *size)
        self._matrices = torch.from_numpy(np.stack([one.matrix for one in placements])).to(device)
        turns = [(one.cosine, one.sine, one.mirror) for one in placements]
        self._turns = torch.tensor(turns, dtype=torch.float32, device=device)
        self._alike: dict[tuple[int, int], list[int]] = defaultdict(list)  # samples a pixel -> slots
        for slot, one in enumerate(placements):
            self._alike[one.samples].append(slot)

    def targets(self, kinds: dict[str, Kind]) -> dict[str, Target]:
        """Every one of these fields, all invalid where a sample lacks it."""
        found = {name: self._of(name, kind) for name, kind in kinds.items()}
        for table in dict.fromkeys(one.rest.fields for one in self._prepared):
            bounded = self._each([one.rest.fields == table for one in self._prepared])
            for field in table:
                if field.within is not None:
                    value, valid = found[field.name]
                    found[field.name] = value, valid & (found[field.within][1] | ~bounded)
        return {name: Target(value.masked_fill(~valid, 0), valid) for name, (value, valid) in found.items()}

    def resampled(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, h, w, C) uint8, filled up to the largest, placed: (B, C, H, W) float32."""
        if len(self._alike) == 1:
            (samples,) = self._alike
            return images_on_device.resample(images, self._matrices, self._sizes, samples, *self._size)
        made = torch.empty((len(images), images.shape[3], *self._size), device=self._device)
        for samples, slots in self._alike.items():
            these = torch.tensor(slots, device=self._device)
            how = self._matrices[these], self._sizes[these], samples, *self._size
            made[these] = images_on_device.resample(images[these], *how)
        return made

    def _of(self, name: str, kind: Kind) -> tuple[torch.Tensor, torch.Tensor]:
        """A field's values, whatever they are where invalid, and where they mean something by themselves."""
        have = [next((one for one in sample.rest.fields if one.name == name), None) for sample in self._prepared]
        value = torch.zeros((len(have), kind.channels, *self._size), dtype=kind.dtype, device=self._device)
        valid = torch.zeros_like(self.within)
        for coding in sorted({field.coding for field in have if field is not None}):
            chosen = [field is not None and field.coding == coding for field in have]
            made, known = self._decoded(name, Field(name, coding))
            if all(chosen):
                return made, known & self.within
            these = self._each(chosen)
            value, valid = torch.where(these, made, value), torch.where(these, known & self.within, valid)
        return value, valid

    def _decoded(self, name: str, field: Field) -> tuple[torch.Tensor, torch.Tensor]:
        starts = torch.tensor([one.rest.starts.get(name, 0) for one in self._prepared], device=self._device)
        if CODINGS[field.coding].resample == "linear":
            plane = planes_on_device.images(self._data, starts, self._sizes, *self._largest)
            return images_on_device.rounded(self.resampled(plane)), torch.ones_like(self.within)
        step = self._sizes.prod(dim=1)
        first, *others = (
            planes_on_device.gather(self._data, starts + number * step, self._pixels, self.within)
            for number in range(field.planes)
        )
        if field.coding in (LINEAR, RELATIVE):
            told = [one.ranges.get(name, {}) for one in self._prepared]
            have = [one if all(word in one for word in RANGES[field.coding]) else UNIT for one in told]
            pairs = [constants(field.coding, one) for one in have]
            known = torch.tensor(pairs, dtype=torch.float32, device=self._device)
            join = planes_on_device.u16 if field.coding == LINEAR else planes_on_device.relative
            return join(first, others[0], known)
        if field.coding == "octahedral-12":
            return planes_on_device.octahedral(first, others[0], others[1], self._turns)
        return planes_on_device.f16(first, others[0])

    def _each(self, flags: list[bool]) -> torch.Tensor:
        """(B, 1, 1, 1) bool"""
        return torch.tensor(flags, device=self._device)[:, None, None, None]


UNIT = {"offset_m": 0.0, "scale_m": 1.0, "step_m": 1.0, "offset": 0.0, "scale": 1.0}  # of samples that tell no range
