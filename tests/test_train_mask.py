"""Normals have a mask of their own: a pixel without a normal teaches, measures and shows nothing of normals."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from david.model.prediction import Prediction
from david.pack.look import preview
from david.pipeline.batch import Batch
from david.train.config import ObjectiveConfig, terms
from david.train.eval import pictures
from david.train.metrics.metrics import metrics
from david.train.record import bundle, past
from david.train.tasks.objective import TERMS, objective

SIZE = 24, 20


def batch_of(known: torch.Tensor) -> Batch:
    """Three images as the loader makes them, depth on about half of the pixels; normals where `known` besides, of the
    third nowhere."""
    g = torch.Generator().manual_seed(0)
    valid = torch.rand((3, 1, *SIZE), generator=g) < 0.5
    normals_valid = valid & known
    normals_valid[2] = False
    normals = torch.nn.functional.normalize(torch.randn((3, 3, *SIZE), generator=g), dim=1)
    return Batch(
        image=torch.randint(0, 256, (3, 3, *SIZE), generator=g, dtype=torch.uint8),
        alpha=torch.randint(0, 256, (3, 1, *SIZE), generator=g, dtype=torch.uint8),
        depth=(torch.rand((3, 1, *SIZE), generator=g) * valid).half(),
        valid=valid,
        normals=(normals * normals_valid).half(),
        normals_valid=normals_valid,
        intrinsics=torch.eye(3).expand(3, 3, 3),
        depth_offset_cm=torch.full((3,), 150.0),
        depth_scale_cm=torch.full((3,), 12.0),
        ids=torch.arange(3),
        epochs=torch.zeros(3, dtype=torch.int64),
        real=torch.ones(3, dtype=torch.bool),
    )


@pytest.fixture
def batch() -> Batch:
    return batch_of(torch.rand((3, 1, *SIZE), generator=torch.Generator().manual_seed(1)) < 0.8)


def said(seed: int = 2) -> Prediction:
    g = torch.Generator().manual_seed(seed)
    depth, alpha = (torch.randn((3, 1, *SIZE), generator=g, requires_grad=True) for _ in range(2))
    normals = torch.randn((3, 3, *SIZE), generator=g, requires_grad=True)
    return Prediction(relative_depth=depth, normals=normals, alpha_logits=alpha)


@pytest.mark.parametrize("odd", [0.0, 2.0])
def test_normals_teach_nothing_where_there_is_none(batch: Batch, odd: float) -> None:
    """Whatever finite stands in the batch there; the loader writes 0."""
    every = terms(("depth", "normals", "alpha"), ObjectiveConfig(normals_angular=1.0))
    prediction = said()
    target = torch.where(batch.normals_valid, batch.normals, torch.tensor(odd).half())
    losses = objective(prediction, replace(batch, normals=target), every)
    assert losses.isfinite().all()
    assert not losses[[place for place, name in enumerate(every) if name.startswith("normals")], 2].any()
    losses.sum().backward()
    gradient = prediction["normals"].grad
    assert gradient is not None and gradient.isfinite().all()
    there = batch.normals_valid.expand_as(gradient)
    assert not gradient[~there].any()
    assert gradient[there].abs().min() > 0
    depth_gradient = prediction["relative_depth"].grad
    assert depth_gradient is not None
    lost = batch.valid & ~batch.normals_valid
    assert (depth_gradient[lost] != 0).all()  # their depth teaches as before


def test_nothing_else_changes_where_every_depth_has_a_normal() -> None:
    whole = batch_of(torch.ones((3, 1, *SIZE), dtype=torch.bool))
    whole = replace(whole, valid=whole.valid & whole.normals_valid)
    for name, (view, _) in TERMS.items():
        _, _, valid = view(said(), whole)
        expected = torch.ones_like(whole.valid) if name.startswith("alpha") else whole.valid
        assert torch.equal(valid, expected)


def test_normals_are_measured_where_there_are_some(batch: Batch) -> None:
    """Right wherever there is a normal, upside down elsewhere."""
    right = Prediction(normals=torch.where(batch.normals_valid, batch.normals.float(), torch.tensor(-1.0)))
    found = metrics(right, batch)
    for name in ("normals_mean_deg", "normals_median_deg"):
        assert found[name][:2].max() < 0.1 and found[name][2].isnan()
    depth = metrics(Prediction(relative_depth=batch.depth.float()), batch)
    assert depth["depth_rmse_cm"].max() < 1e-3  # of the third too, which has no normal


@torch.inference_mode()
def test_what_has_no_normal_is_dark_in_every_picture(batch: Batch) -> None:
    (target, _, error) = dict(pictures.by_head(said(), batch))["normals"]
    for column in (target, error):
        for picture, there in zip(column.pictures, batch.normals_valid[:, 0].numpy(), strict=True):
            dark = (picture == preview.INVALID).all(-1)
            assert dark[~there].all()
            assert column is error or not dark[there].any()
    assert error.captions[2] == "nothing valid" and error.captions[0] != "nothing valid"
    assert past.sheet(batch).any()


def test_a_bundle_kept_before_normals_had_a_mask_is_read(batch: Batch, tmp_path: Path) -> None:
    named = {one.name: getattr(batch, one.name).contiguous() for one in fields(batch)}
    save_file(named, tmp_path / "now.safetensors")
    assert torch.equal(bundle._batch(tmp_path / "now.safetensors").normals_valid, batch.normals_valid)
    del named["normals_valid"]
    save_file(named, tmp_path / "then.safetensors")
    assert torch.equal(bundle._batch(tmp_path / "then.safetensors").normals_valid, batch.valid)


def test_masks_travel_with_their_batch(batch: Batch) -> None:
    moved = batch.to("cpu").slice(1, 3)
    assert torch.equal(moved.normals_valid, batch.normals_valid[1:])
    assert np.array_equal(moved.valid.numpy(), batch.valid[1:].numpy())
