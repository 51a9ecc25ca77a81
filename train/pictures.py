"""Pictures of what the network says: a row for each sample with RGB, then target beside prediction of each head.

B images, H rows, W columns.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from david.pack import preview
from david.pack.files import write_whole
from david.pipeline.batch import Batch
from david.train.alignment import align
from david.train.losses.ssi_mse import LEAST_CORRELATION


@torch.inference_mode()
def draw(network: nn.Module, batch: Batch, path: Path) -> None:
    """Write the sheet of `batch` under the network as a PNG. The network is left in the mode that it was in.

    Predicted depth is shown after the loss's fit to its target, where a mirrored one stays mirrored; depth and normals
    where the target is valid: where they were asked for.
    """
    was_training = network.training
    network.eval()
    prediction = network(batch.image)
    network.train(was_training)

    columns: dict[str, list[np.ndarray]] = {"rgb": list(array(batch.image))}
    valid = array(batch.valid)[..., 0]
    if prediction.relative_depth is not None:
        aligned = align(prediction.relative_depth, batch.depth, batch.valid, LEAST_CORRELATION)
        for name, depth in (("depth", batch.depth), ("predicted depth", aligned)):
            columns[name] = [preview.colour_depth(d[..., 0], v) for d, v in zip(array(depth), valid, strict=True)]
    if prediction.normals is not None:
        for name, normals in (("normals", batch.normals), ("predicted normals", prediction.normals)):
            columns[name] = [preview.colour_normals(n, v) for n, v in zip(array(normals), valid, strict=True)]
    if prediction.alpha_logits is not None:
        soft = (prediction.alpha_logits.float().sigmoid() * 255).round().to(torch.uint8)
        for name, alpha in (("alpha", batch.alpha), ("predicted alpha", soft)):
            columns[name] = [preview.colour_alpha(a[..., 0]) for a in array(alpha)]
    sheet = preview.sheet([list(row) for row in zip(*columns.values(), strict=True)], list(columns))
    write_whole(path, cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes())


def array(values: torch.Tensor) -> np.ndarray:
    """(B, C, H, W) on any device to (B, H, W, C) on the host; float16 becomes float32."""
    values = values.float() if values.is_floating_point() else values
    return values.permute(0, 2, 3, 1).cpu().numpy()
