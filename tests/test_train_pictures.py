"""Pictures of predictions: target and prediction share their colours, so what is wrong looks wrong."""

from pathlib import Path

import cv2
import numpy as np
import torch
from batches import retarget
from torch import nn

from david.model.prediction import Prediction
from david.pack.look import preview
from david.pipeline.batch import Batch
from david.pipeline.config import DataConfig
from david.pipeline.loader import Loader
from david.train.eval import pictures


def batch_of(shards: Path) -> Batch:
    with Loader(shards, "val", DataConfig(), batch_size=2, seed=0, train=False) as loader:
        return next(loader)


def depth_of(batch: Batch, predicted: torch.Tensor) -> list[pictures.Column]:
    return dict(pictures.by_head(Prediction(relative_depth=predicted), batch))["depth"]


def test_a_flat_prediction_looks_flat_and_a_right_one_like_its_target(shards: Path) -> None:
    batch = batch_of(shards)
    valid = batch.targets["depth"].valid[:, 0].numpy()
    target, right, error = depth_of(batch, batch.targets["depth"].value.float() * 3 - 7)
    for shown, wanted, there in zip(right.pictures, target.pictures, valid, strict=True):
        assert (np.abs(shown.astype(int) - wanted)[there] <= 8).all()
    assert all(float(caption.removeprefix("mean ").rstrip("%")) < 0.01 for caption in error.captions)
    noise = torch.rand(batch.targets["depth"].value.shape, generator=torch.Generator().manual_seed(0))
    for wrong in (torch.zeros_like(noise), noise * 1e-3):  # before, each was stretched over all colours
        _, shown, error = depth_of(batch, wrong)
        for picture, wanted, there in zip(shown.pictures, target.pictures, valid, strict=True):
            assert picture[there].std(axis=0).max() < 0.5 * wanted[there].std(axis=0).max()
        assert all(float(caption.removeprefix("mean ").rstrip("%")) > 0.5 for caption in error.captions)


def test_labels_and_captions_say_ranges_and_units(shards: Path) -> None:
    batch = batch_of(shards)
    target, right, error = depth_of(batch, batch.targets["depth"].value.float())
    assert [column.label for column in (target, right, error)] == [
        *("depth, near is warm", "predicted depth, fitted", "error 0 to 5% of depth")
    ]
    scale, offset = (100 * one.view(-1, 1, 1, 1) for one in (batch.depth_scale_m, batch.depth_offset_m))
    cm = batch.targets["depth"].value.float() * scale + offset
    near, far = preview.depth_span(cm[0, 0].numpy(), batch.targets["depth"].valid[0, 0].numpy())
    assert target.captions[0] == f"{near:.1f} to {far:.1f} cm"
    nothing = retarget(batch, "depth", valid=torch.zeros_like(batch.targets["depth"].valid))
    assert depth_of(nothing, batch.targets["depth"].value.float())[2].captions == ["nothing valid"] * 2


def test_a_sheet_is_drawn_of_what_is_not_a_number_too(shards: Path, tmp_path: Path) -> None:
    batch = batch_of(shards)

    class Lost(nn.Module):
        def forward(self, image: torch.Tensor) -> Prediction:
            nan = torch.full((len(image), 1, *image.shape[-2:]), torch.nan)
            return Prediction(relative_depth=nan, normals=nan.expand(-1, 3, -1, -1), alpha_logits=nan)

    sheet = pictures.draw(Lost(), batch, tmp_path / "lost.png")
    written = cv2.imread(str(tmp_path / "lost.png"))
    assert written is not None and written.shape == sheet.shape
