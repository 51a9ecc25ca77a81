"""What the pipeline hands to the trainer.

B images, C channels, H rows, W columns. Values stay compact on their way to the device (15 bytes a pixel); whoever
computes with them converts them there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields

import torch

TARGETS = "targets."  # what the names of targets' tensors begin with, in `Batch.tensors`


@dataclass(frozen=True)
class Target:
    """One field of a batch: what a network should say.

    value: (B, C, H, W), 0 where invalid; valid: (B, 1, H, W) bool, where the value means something"""

    value: torch.Tensor
    valid: torch.Tensor


@dataclass(frozen=True)
class Batch:
    """One batch of samples, tensors all on one device.

    image: (B, 3, H, W) uint8, sRGB 0 .. 255, channels-last in memory; the network normalises it
    targets: by field, in the order of the shards' tables. What a sample's set lacks is all invalid, so that every batch
        of a loader has the same targets:
        alpha: (B, 1, H, W) uint8, soft foreground 0 .. 255
        depth: (B, 1, H, W) float16, relative depth in [-1, 1], growing with distance
        normals: (B, 3, H, W) float16, unit X (right), Y (up), Z (towards the camera)
        teacher_depth: (B, 1, H, W) float32, what a network said, without a unit, growing with nearness
    intrinsics: (B, 3, 3) float32 in pixels of this (augmented) image; NaN where the source gives none
    depth_offset_m, depth_scale_m: (B,) float32; depth in metres is `value * scale + offset`
    ids: (B,) int64, the samples' positions in their split
    epochs: (B,) int64, the epoch each sample is seen in
    real: (B,) bool, False for the copies that fill up the last batch of an epoch; losses leave them out
    sets: (B,) int64, which of the loader's shard sets each sample comes from
    pairs: (B, P, 2, 2) float32, of each pair of points that people compared (DA-2K) column and row in this (augmented)
        image of the nearer one and of the other, the image's corner at 0; NaN beyond a sample's own, P the most of any
    """

    image: torch.Tensor
    targets: dict[str, Target]
    intrinsics: torch.Tensor
    depth_offset_m: torch.Tensor
    depth_scale_m: torch.Tensor
    ids: torch.Tensor
    epochs: torch.Tensor
    real: torch.Tensor
    sets: torch.Tensor
    pairs: torch.Tensor = field(default_factory=lambda: torch.empty(0, 0, 2, 2))

    def __len__(self) -> int:
        return len(self.ids)

    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors by name; those of targets are `targets.NAME.value` and `targets.NAME.valid`."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "targets"}
        for name, target in self.targets.items():
            found |= {f"{TARGETS}{name}.value": target.value, f"{TARGETS}{name}.valid": target.valid}
        return found

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor]) -> "Batch":
        """The batch whose `tensors` these are. Raises TypeError or KeyError where one is missing."""
        names = [name.removeprefix(TARGETS).removesuffix(".value") for name in tensors if name.endswith(".value")]
        targets = {name: Target(tensors[f"{TARGETS}{name}.value"], tensors[f"{TARGETS}{name}.valid"]) for name in names}
        return cls(targets=targets, **{name: one for name, one in tensors.items() if not name.startswith(TARGETS)})

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        """The batch with every tensor changed alike."""
        return Batch.of({name: change(one) for name, one in self.tensors().items()})

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        return self.each(lambda one: one.to(device, non_blocking=non_blocking))

    def slice(self, start: int, stop: int) -> "Batch":
        """Samples start .. stop - 1, as views."""
        return self.each(lambda one: one[start:stop])
