"""What the pipeline hands to the trainer.

B images, H rows, W columns. Values stay compact on their way to the device (14 bytes a pixel); whoever computes with
them converts them there.
"""

from dataclasses import dataclass, fields

import torch


@dataclass(frozen=True)
class Batch:
    """One batch of samples, tensors all on one device.

    image: (B, 3, H, W) uint8, sRGB 0 .. 255, channels-last in memory; the network normalises it
    alpha: (B, 1, H, W) uint8, soft foreground 0 .. 255
    depth: (B, 1, H, W) float16, relative depth in [-1, 1], growing with distance; 0 where invalid
    valid: (B, 1, H, W) bool, where depth means something
    normals: (B, 3, H, W) float16, unit X (right), Y (up), Z (towards the camera); 0 where not `normals_valid`
    normals_valid: (B, 1, H, W) bool, where normals mean something: nowhere but where `valid` is True
    intrinsics: (B, 3, 3) float32 in pixels of this (augmented) image; NaN where the source gives none
    depth_offset_cm, depth_scale_cm: (B,) float32; depth in cm is `depth * scale + offset`
    ids: (B,) int64, the samples' positions in their split
    epochs: (B,) int64, the epoch each sample is seen in
    real: (B,) bool, False for the copies that fill up the last batch of an epoch; losses leave them out
    """

    image: torch.Tensor
    alpha: torch.Tensor
    depth: torch.Tensor
    valid: torch.Tensor
    normals: torch.Tensor
    normals_valid: torch.Tensor
    intrinsics: torch.Tensor
    depth_offset_cm: torch.Tensor
    depth_scale_cm: torch.Tensor
    ids: torch.Tensor
    epochs: torch.Tensor
    real: torch.Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        return Batch(*(getattr(self, f.name).to(device, non_blocking=non_blocking) for f in fields(self)))

    def slice(self, start: int, stop: int) -> "Batch":
        """Samples start .. stop - 1, as views."""
        return Batch(*(getattr(self, f.name)[start:stop] for f in fields(self)))
