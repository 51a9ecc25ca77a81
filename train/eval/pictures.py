"""Pictures of what the network says: a row for each sample with RGB, then target, prediction and error of each head.

Depth is shown in cm after the fit to its target, both in the target's colours: a prediction that is flat or too deep
looks so. Errors are black where there is none and brightest from what `MOST` says on.

B images, H rows, W columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from david.model.prediction import Prediction
from david.pack.look import preview
from david.pipeline.batch import Batch
from david.train.losses.alignment import align
from david.train.losses.ssi_mse import LEAST_CORRELATION
from david.train.metrics.metrics import angles_deg
from david.train.step.precision import computing_in

MOST = {"depth": 0.05, "normals": 45.0, "alpha": 1.0}  # errors shown as brightest


@dataclass(frozen=True)
class Column:
    """One kind of picture of B samples. pictures: (H, W, 3) uint8 each; captions: what stands under each."""

    label: str
    pictures: list[np.ndarray]
    captions: list[str]


@torch.inference_mode()
def draw(network: nn.Module, batch: Batch, path: Path, half: torch.dtype | None = None) -> np.ndarray:
    """Write the sheet of `batch` under the network as a PNG, and return it: (H, W, 3) uint8.

    half: what the network computes in, see `precision.py`; it is left in the mode that it was in"""
    columns = [Column("rgb", list(array(batch.image)), [f"sample {sample}" for sample in batch.ids.tolist()])]
    for _, found in by_head(predict(network, batch, half), batch):
        columns += found
    sheet = preview.sheet(
        rows=list(zip(*(column.pictures for column in columns), strict=True)),
        labels=[column.label for column in columns],
        captions=list(zip(*(column.captions for column in columns), strict=True)),
    )
    preview.write_png(path, sheet)
    return sheet


@torch.inference_mode()
def predict(network: nn.Module, batch: Batch, half: torch.dtype | None = None) -> Prediction:
    """What the network says in evaluation mode; it is left in the mode that it was in."""
    was_training = network.training
    network.eval()
    with computing_in(half, batch.image.device):
        prediction = network(batch.image)
    network.train(was_training)
    return prediction


def by_head(prediction: Prediction, batch: Batch) -> Iterator[tuple[str, list[Column]]]:
    """For each head that the prediction has its name, and target, prediction and error as columns.

    Predicted depth is shown after the loss's fit to its target, where a mirrored one stays mirrored; depth and normals
    each where its target is valid: where it was asked for.
    """
    depth, normals, alpha = (batch.targets[name] for name in ("depth", "normals", "alpha"))
    valid, normals_valid = (array(mask)[..., 0] for mask in (depth.valid, normals.valid))
    if "relative_depth" in prediction:
        aligned = align(prediction["relative_depth"], depth.value, depth.valid, LEAST_CORRELATION)
        scale, offset = (100 * x.view(-1, 1, 1, 1) for x in (batch.depth_scale_m, batch.depth_offset_m))
        target_cm, fitted_cm = (each.float() * scale + offset for each in (depth.value, aligned))
        yield "depth", depth_columns(array(target_cm)[..., 0], array(fitted_cm)[..., 0], valid)
    if "normals" in prediction:
        pairs = (("normals", normals.value), ("predicted normals", prediction["normals"]))
        shown = [
            Column(name, [preview.colour_normals(*e) for e in zip(array(n), normals_valid, strict=True)], [""] * len(n))
            for name, n in pairs
        ]
        error = array(angles_deg(prediction["normals"], normals.value))[..., 0]
        told = "error 0 to {:g} degrees", "mean {:.1f} degrees"
        yield "normals", [*shown, errors("normals", error, normals_valid, *told)]
    if "alpha_logits" in prediction:
        soft, target = array(prediction["alpha_logits"].float().sigmoid())[..., 0], array(alpha.value / 255)[..., 0]
        shown = [
            Column(name, [preview.colour_alpha(each) for each in shares], [""] * len(valid))
            for name, shares in (("alpha, 0 to 1", target), ("predicted alpha", soft))
        ]
        error = np.abs(soft - target)
        yield "alpha", [*shown, errors("alpha", error, np.ones_like(valid), "error 0 to {:g}", "mean {:.3f}")]


def depth_columns(target_cm: np.ndarray, fitted_cm: np.ndarray, valid: np.ndarray) -> list[Column]:
    """Depth and its prediction in the same colours: those of the target's range. (B, H, W) each."""
    spans = [preview.depth_span(*each) for each in zip(target_cm, valid, strict=True)]
    ranges = [f"{near:.1f} to {far:.1f} cm" for near, far in spans]
    shown = [
        Column(label, [preview.colour_depth(*e) for e in zip(depth, valid, spans, strict=True)], captions)
        for label, depth, captions in (
            ("depth, near is warm", target_cm, ranges),
            ("predicted depth, fitted", fitted_cm, ["same colours"] * len(ranges)),
        )
    ]
    share = np.abs(fitted_cm - target_cm) / target_cm.clip(1e-6)
    return [*shown, errors("depth", share, valid, "error 0 to {:.0%} of depth", "mean {:.2%}")]


def errors(head: str, error: np.ndarray, valid: np.ndarray, label: str, caption: str) -> Column:
    """The error (B, H, W) as a column, with each image's mean over its valid pixels.

    label, caption: take the error that is brightest, and the mean"""
    means = [float(one[there].mean()) if there.any() else None for one, there in zip(error, valid, strict=True)]
    return Column(
        label.format(MOST[head]),
        [colour_error(one / MOST[head], there) for one, there in zip(error, valid, strict=True)],
        ["nothing valid" if mean is None else caption.format(mean) for mean in means],
    )


def colour_error(share: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(H, W) 0 .. 1 and (H, W) bool to (H, W, 3) uint8; invalid is as in the other pictures."""
    level = np.round(np.nan_to_num(share, nan=1.0).clip(0, 1) * 255).astype(np.uint8)
    return np.where(valid[..., None], cv2.applyColorMap(level, cv2.COLORMAP_INFERNO)[..., ::-1], preview.INVALID)


def array(values: torch.Tensor) -> np.ndarray:
    """(B, C, H, W) on any device to (B, H, W, C) on the host; float16 becomes float32."""
    values = values.float() if values.is_floating_point() else values
    return values.permute(0, 2, 3, 1).cpu().numpy()
