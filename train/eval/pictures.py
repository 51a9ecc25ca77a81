"""Pictures of what the network says: a row for each sample with RGB, then target, prediction and error of each head.

Relative depth is shown in cm after the fit to its target, metric depth in metres as it is, both in the target's
colours: a prediction that is flat or too deep looks so. Errors are black where there is none and brightest from some
size on.

B images, H rows, W columns.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from david.model.heads.table import HEADS
from david.model.prediction import Prediction
from david.pack.look import preview
from david.pipeline.batch import Batch, Target
from david.train.losses.alignment import LEAST_CORRELATION, align
from david.train.losses.views import metres
from david.train.metrics.disparity import to_metres
from david.train.metrics.metric_depth import SPAN_M, within
from david.train.metrics.normals import angles_deg
from david.train.step.precision import computing_in

Beside = Callable[[Prediction, Batch], Mapping[str, torch.Tensor]]


@dataclass(frozen=True)
class Column:
    """One kind of picture of B samples. pictures: (H, W, 3) uint8 each; captions: what stands under each."""

    label: str
    pictures: list[np.ndarray]
    captions: list[str]


@torch.inference_mode()
def draw(
    network: nn.Module, batch: Batch, path: Path, half: torch.dtype | None = None, beside: Beside | None = None
) -> np.ndarray:
    """Write the sheet of `batch` under the network as a PNG, and return it: (H, W, 3) uint8.

    half: what the network computes in, see `precision.py`; it is left in the mode that it was in; beside: more to show
    of a prediction, see `tasks.task.Task.shown`"""
    columns = [Column("rgb", list(array(batch.image)), [f"sample {sample}" for sample in batch.ids.tolist()])]
    prediction = predict(network, batch, half)
    columns += together(beside(prediction, batch) if beside else {})
    for _, found in by_head(prediction, batch):
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
    """For each head that the prediction has its name, and target, prediction and error as columns, in the order of
    `PICTURES`. A target is shown where it is valid: where it was asked for."""
    for head, picture in PICTURES.items():
        output = HEADS[head].output
        if output in prediction and picture.target in batch.targets:
            yield head, picture.columns(prediction[output], batch.targets[picture.target], batch)


def depth(output: torch.Tensor, target: Target, batch: Batch) -> list[Column]:
    """Predicted depth is shown after the loss's fit to its target, where a mirrored one stays mirrored."""
    aligned = align(output, target.value, target.valid, LEAST_CORRELATION)
    scale, offset = (100 * x.view(-1, 1, 1, 1) for x in (batch.depth_scale_m, batch.depth_offset_m))
    target_cm, fitted_cm = (array(each.float() * scale + offset)[..., 0] for each in (target.value, aligned))
    valid = array(target.valid)[..., 0]
    spans = [preview.depth_span(*each) for each in zip(target_cm, valid, strict=True)]
    ranges = [f"{near:.1f} to {far:.1f} cm" for near, far in spans]
    shown = [
        Column(label, [preview.colour_depth(*e) for e in zip(each, valid, spans, strict=True)], captions)
        for label, each, captions in (
            ("depth, near is warm", target_cm, ranges),
            ("predicted depth, fitted", fitted_cm, ["same colours"] * len(ranges)),
        )
    ]
    share = np.abs(fitted_cm - target_cm) / target_cm.clip(1e-6)
    return [*shown, errors(share, 0.05, valid, "error 0 to {:.0%} of depth", "mean {:.2%}")]


def metric_depth(output: torch.Tensor, target: Target, batch: Batch) -> list[Column]:
    """Metres as they are said, in the colours of the true ones."""
    true = metres(target, batch)
    return _in_metres(within(output, SPAN_M), true, "predicted metres")


def disparity(output: torch.Tensor, target: Target, batch: Batch) -> list[Column]:
    """Disparity as the metres that it stands for once it is fitted to the true ones."""
    true = metres(target, batch)
    return _in_metres(to_metres(output, true.value, true.valid), true, "predicted disparity, fitted")


def _in_metres(said: torch.Tensor, target: Target, label: str) -> list[Column]:
    """The prediction is shown all over: a laser's truth is of single pixels."""
    true, predicted, valid = (array(one)[..., 0] for one in (target.value, said, target.valid))
    spans = [preview.depth_span(*each) for each in zip(true, valid, strict=True)]
    ranges = [f"{near:.2f} to {far:.2f} m" for near, far in spans]
    shown = [
        Column(name, [preview.colour_depth(*e) for e in zip(*each, spans, strict=True)], captions)
        for name, each, captions in (
            ("depth, near is warm", zip(*map(preview.grown, true, valid), strict=True), ranges),
            (label, (predicted, np.ones_like(valid)), ["same colours"] * len(ranges)),
        )
    ]
    share = np.abs(predicted - true) / true.clip(1e-6)
    return [*shown, errors(share, 0.25, valid, "error 0 to {:.0%} of depth", "mean {:.1%}", points=True)]


def normals(output: torch.Tensor, target: Target, batch: Batch) -> list[Column]:
    valid = array(target.valid)[..., 0]
    shown = [
        Column(name, [preview.colour_normals(*e) for e in zip(array(n), valid, strict=True)], [""] * len(n))
        for name, n in (("normals", target.value), ("predicted normals", output))
    ]
    error = array(angles_deg(output, target.value))[..., 0]
    return [*shown, errors(error, 45.0, valid, "error 0 to {:g} degrees", "mean {:.1f} degrees")]


def alpha(output: torch.Tensor, target: Target, batch: Batch) -> list[Column]:
    soft, wanted = array(output.float().sigmoid())[..., 0], array(target.value / 255)[..., 0]
    shown = [
        Column(name, [preview.colour_alpha(each) for each in shares], [""] * len(shares))
        for name, shares in (("alpha, 0 to 1", wanted), ("predicted alpha", soft))
    ]
    return [*shown, errors(np.abs(soft - wanted), 1.0, array(target.valid)[..., 0], "error 0 to {:g}", "mean {:.3f}")]


@dataclass(frozen=True)
class Picture:
    """How a head is shown. target: the field of a batch that it is held against; columns: target, prediction and error,
    from (output, target, batch)"""

    target: str
    columns: Callable[[torch.Tensor, Target, Batch], list[Column]]


PICTURES: dict[str, Picture] = {  # by head; one without a row is not shown
    "depth": Picture("depth", depth),
    "normals": Picture("normals", normals),
    "alpha": Picture("alpha", alpha),
    "metric_depth": Picture("depth", metric_depth),
    "disparity": Picture("depth", disparity),
}


def together(maps: Mapping[str, torch.Tensor]) -> list[Column]:
    """Maps of one scale that grow with nearness, (B, 1, H, W), nan where nothing is known, in the colours of the first;
    of two or more what the last is off it by is in the captions."""
    values = {name: array(one)[..., 0] for name, one in maps.items()}
    if not values:
        return []
    first = next(iter(values.values()))
    spans = [preview.depth_span(-one, np.isfinite(one)) for one in first]
    columns = []
    for name, each in values.items():
        shown = [preview.colour_depth(-o, np.isfinite(o), span) for o, span in zip(each, spans, strict=True)]
        off = [np.nanmean(np.abs(a - b)) if np.isfinite(b).any() else np.nan for a, b in zip(each, first, strict=True)]
        columns.append(Column(name, shown, ["same colours" if each is first else f"off by {o:.3f}" for o in off]))
    return columns


def errors(error: np.ndarray, most: float, valid: np.ndarray, label: str, caption: str, points: bool = False) -> Column:
    """The error (B, H, W) as a column, with each image's mean over its valid pixels.

    most: what is shown as brightest; label, caption: take that, and the mean; points: single valid pixels are drawn as
    large as they show"""
    show = preview.grown if points else lambda share, there: (share, there)
    means = [float(one[there].mean()) if there.any() else None for one, there in zip(error, valid, strict=True)]
    return Column(
        label.format(most),
        [colour_error(*show(one / most, there)) for one, there in zip(error, valid, strict=True)],
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
