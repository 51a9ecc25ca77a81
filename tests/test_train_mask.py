"""Normals have a mask of their own: a pixel without a normal teaches, measures and shows nothing of normals."""

from pathlib import Path

import numpy as np
import pytest
import torch
from batches import bits, retarget
from safetensors.torch import save_file

from david.model.config import configure
from david.model.prediction import Prediction
from david.pack.look import preview
from david.pipeline.batch import Batch, Target
from david.train.config import ObjectiveConfig
from david.train.eval import pictures
from david.train.losses.table import TERMS
from david.train.metrics.metrics import metrics
from david.train.metrics.table import METRICS
from david.train.record import bundle, past
from david.train.tasks.supervised import Supervised, compare

SIZE = 24, 20


def batch_of(known: torch.Tensor) -> Batch:
    """Three images as the loader makes them, depth on about half of the pixels; normals where `known` besides, of the
    third nowhere."""
    g = torch.Generator().manual_seed(0)
    valid = torch.rand((3, 1, *SIZE), generator=g) < 0.5
    normals_valid = valid & known
    normals_valid[2] = False
    normals = torch.nn.functional.normalize(torch.randn((3, 3, *SIZE), generator=g), dim=1)
    image = torch.randint(0, 256, (3, 3, *SIZE), generator=g, dtype=torch.uint8)
    alpha = torch.randint(0, 256, (3, 1, *SIZE), generator=g, dtype=torch.uint8)
    return Batch(
        image=image,
        targets={
            "alpha": Target(alpha, torch.ones_like(valid)),
            "depth": Target((torch.rand((3, 1, *SIZE), generator=g) * valid).half(), valid),
            "normals": Target((normals * normals_valid).half(), normals_valid),
        },
        intrinsics=torch.eye(3).expand(3, 3, 3),
        depth_offset_m=torch.full((3,), 1.5),
        depth_scale_m=torch.full((3,), 0.125),
        ids=torch.arange(3),
        epochs=torch.zeros(3, dtype=torch.int64),
        real=torch.ones(3, dtype=torch.bool),
        sets=torch.zeros(3, dtype=torch.int64),
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
    every = ObjectiveConfig(normals_angular=1.0).terms(("depth", "normals", "alpha"))
    prediction = said()
    target = torch.where(batch.targets["normals"].valid, batch.targets["normals"].value, torch.tensor(odd).half())
    losses = compare(prediction, retarget(batch, "normals", target), [TERMS[name] for name in every])
    assert losses.isfinite().all()
    assert not losses[[place for place, name in enumerate(every) if TERMS[name].head == "normals"], 2].any()
    losses.sum().backward()
    gradient = prediction["normals"].grad
    assert gradient is not None and gradient.isfinite().all()
    there = batch.targets["normals"].valid.expand_as(gradient)
    assert not gradient[~there].any()
    assert gradient[there].abs().min() > 0
    depth_gradient = prediction["relative_depth"].grad
    assert depth_gradient is not None
    lost = batch.targets["depth"].valid & ~batch.targets["normals"].valid
    assert (depth_gradient[lost] != 0).all()  # their depth teaches as before


def test_a_field_that_no_image_of_a_batch_has_teaches_nothing(batch: Batch) -> None:
    """Exactly: its terms are 0, its head gets a gradient of 0, and learnt weights of the heads stay where they are."""
    nowhere = torch.zeros_like(batch.targets["depth"].valid)
    absent = retarget(batch, "normals", 0 * batch.targets["normals"].value, nowhere)
    task = Supervised(ObjectiveConfig(normals_angular=1.0, uncertainty=True), configure("david-smoke"))
    prediction = said()
    terms, images = task(lambda image: prediction, absent)
    task.total(terms.sum(1) / 3, images.sum(1) / 3).backward()
    of_normals = torch.tensor([TERMS[name].head == "normals" for name in task.terms])
    assert not terms[of_normals].any() and terms[~of_normals].all() and terms.isfinite().all()
    assert not images[of_normals].any() and images[~of_normals].all()
    gradient, log_variances = prediction["normals"].grad, task.log_variances
    assert gradient is not None and not gradient.any() and gradient.isfinite().all()
    assert log_variances is not None and log_variances.grad is not None
    assert [bool(one) for one in log_variances.grad] == [True, False, True]
    found = metrics({name: one.detach() for name, one in prediction.items()}, absent)
    assert all(value.isnan().all() == (METRICS[name].head == "normals") for name, value in found.items())


def test_normals_are_measured_where_there_are_some(batch: Batch) -> None:
    """Right wherever there is a normal, upside down elsewhere."""
    normals = batch.targets["normals"]
    right = Prediction(normals=torch.where(normals.valid, normals.value.float(), torch.tensor(-1.0)))
    found = metrics(right, batch)
    for name in ("normals_mean_deg", "normals_median_deg"):
        assert found[name][:2].max() < 0.1 and found[name][2].isnan()
    depth = metrics(Prediction(relative_depth=batch.targets["depth"].value.float()), batch)
    assert depth["depth_rmse_cm"].max() < 1e-3  # of the third too, which has no normal


@torch.inference_mode()
def test_what_has_no_normal_is_dark_in_every_picture(batch: Batch) -> None:
    (target, _, error) = dict(pictures.by_head(said(), batch))["normals"]
    for column in (target, error):
        for picture, there in zip(column.pictures, batch.targets["normals"].valid[:, 0].numpy(), strict=True):
            dark = (picture == preview.INVALID).all(-1)
            assert dark[~there].all()
            assert column is error or not dark[there].any()
    assert error.captions[2] == "nothing valid" and error.captions[0] != "nothing valid"
    assert past.sheet(batch).any()


def test_a_bundle_kept_by_any_version_is_read(batch: Batch, tmp_path: Path) -> None:
    def read(named: dict[str, torch.Tensor]) -> Batch:
        save_file({name: one.contiguous() for name, one in named.items()}, tmp_path / "batch.safetensors")
        return bundle._batch(tmp_path / "batch.safetensors")

    named = batch.tensors()
    assert bits(read(named)) == bits(batch)
    depth, normals = batch.targets["depth"], batch.targets["normals"]
    then = {"depth": depth.value, "valid": depth.valid, "normals": normals.value, "alpha": named["targets.alpha.value"]}
    then |= {name: named[name] for name in ("image", "intrinsics", "ids", "epochs", "real")}
    then |= {f"depth_{name}_cm": named[f"depth_{name}_m"] * 100 for name in ("offset", "scale")}
    assert bits(read(then | {"normals_valid": normals.valid})) == bits(batch)
    no_mask_yet = retarget(batch, "normals", valid=depth.valid)
    assert bits(read(then)) == bits(no_mask_yet)


def test_masks_travel_with_their_batch(batch: Batch) -> None:
    moved = batch.to("cpu").slice(1, 3)
    assert torch.equal(moved.targets["normals"].valid, batch.targets["normals"].valid[1:])
    assert np.array_equal(moved.targets["depth"].valid.numpy(), batch.targets["depth"].valid[1:].numpy())
