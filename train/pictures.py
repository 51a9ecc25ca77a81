"""Pictures of what the network says: a row for each sample with RGB, then target, prediction and error of each head.

B images, H rows, W columns.
"""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from david.model.prediction import Prediction
from david.pack import preview
from david.pipeline.batch import Batch
from david.train.alignment import align
from david.train.eval.metrics import angles_deg
from david.train.losses.ssi_mse import LEAST_CORRELATION

Columns = dict[str, list[np.ndarray]]  # head of a column -> a picture (H, W, 3) uint8 for each of B images
BRIGHT = {"depth": (0.1, "10 %"), "normals": (45.0, "45 degrees"), "alpha": (1.0, "1")}  # errors shown as brightest


@torch.inference_mode()
def draw(network: nn.Module, batch: Batch, path: Path) -> np.ndarray:
    """Write the sheet of `batch` under the network as a PNG, and return it: (H, W, 3) uint8.

    The network is left in the mode that it was in."""
    columns = {"rgb": list(array(batch.image))}
    for _, found in by_head(predict(network, batch), batch):
        columns |= found
    sheet = preview.sheet(list(zip(*columns.values(), strict=True)), list(columns))
    preview.write_png(path, sheet)
    return sheet


@torch.inference_mode()
def predict(network: nn.Module, batch: Batch) -> Prediction:
    """What the network says in evaluation mode; it is left in the mode that it was in."""
    was_training = network.training
    network.eval()
    prediction = network(batch.image)
    network.train(was_training)
    return prediction


def by_head(prediction: Prediction, batch: Batch) -> Iterator[tuple[str, Columns]]:
    """For each head that the prediction has its name, and target, prediction and error as pictures.

    Predicted depth is shown after the loss's fit to its target, where a mirrored one stays mirrored; depth and normals
    where the target is valid: where they were asked for.
    """
    valid = array(batch.valid)[..., 0]
    if prediction.relative_depth is not None:
        aligned = align(prediction.relative_depth, batch.depth, batch.valid, LEAST_CORRELATION)
        scale, offset = (x.view(-1, 1, 1, 1) for x in (batch.depth_scale_cm, batch.depth_offset_cm))
        target_cm = (batch.depth.float() * scale + offset).clamp(min=1e-6)
        yield (
            "depth",
            {
                "depth": [preview.colour_depth(*each) for each in zip(array(batch.depth)[..., 0], valid, strict=True)],
                "predicted depth": [preview.colour_depth(*e) for e in zip(array(aligned)[..., 0], valid, strict=True)],
                **errors("depth", (aligned - batch.depth.float()).abs() * scale / target_cm, valid),
            },
        )
    if prediction.normals is not None:
        pairs = (("normals", batch.normals), ("predicted normals", prediction.normals))
        columns = {name: [preview.colour_normals(*e) for e in zip(array(n), valid, strict=True)] for name, n in pairs}
        yield "normals", columns | errors("normals", angles_deg(prediction.normals, batch.normals), valid)
    if prediction.alpha_logits is not None:
        soft, target = prediction.alpha_logits.float().sigmoid(), batch.alpha / 255
        columns = {
            name: [preview.colour_alpha(a[..., 0]) for a in array(alpha)]
            for name, alpha in (("alpha", target), ("predicted alpha", soft))
        }
        yield "alpha", columns | errors("alpha", (soft - target).abs(), np.ones_like(valid))


def errors(head: str, error: torch.Tensor, valid: np.ndarray) -> Columns:
    """The error (B, 1, H, W) as a column: black is none, the brightest is what `BRIGHT` says, or more."""
    most, told = BRIGHT[head]
    return {f"error 0 to {told}": [colour_error(e[..., 0] / most, v) for e, v in zip(array(error), valid, strict=True)]}


def colour_error(share: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(H, W) 0 .. 1 and (H, W) bool to (H, W, 3) uint8; invalid is as in the other pictures."""
    level = np.round(np.nan_to_num(share, nan=1.0).clip(0, 1) * 255).astype(np.uint8)
    return np.where(valid[..., None], cv2.applyColorMap(level, cv2.COLORMAP_INFERNO)[..., ::-1], preview.INVALID)


def array(values: torch.Tensor) -> np.ndarray:
    """(B, C, H, W) on any device to (B, H, W, C) on the host; float16 becomes float32."""
    values = values.float() if values.is_floating_point() else values
    return values.permute(0, 2, 3, 1).cpu().numpy()
