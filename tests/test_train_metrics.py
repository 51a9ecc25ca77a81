"""The metrics against NumPy, image by image, and their mean over a split."""

import numpy as np
import pytest
import torch

from david.model.prediction import Prediction
from david.train.distributed import World
from david.train.eval.evaluate import evaluate
from david.train.metrics import alpha, depth, normals


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_depth_errors_are_those_of_numpy_after_a_least_squares_fit():
    valid = random(3, 1, 8, 9, seed=1) < 0.6
    depth_cm = 100 + 200 * random(3, 1, 8, 9)
    prediction = 0.01 * depth_cm + 2 * random(3, 1, 8, 9, seed=2)
    found = depth.depth(prediction, depth_cm, valid)
    for i in range(3):
        p, d = (x[i][valid[i]].double().numpy() for x in (prediction, depth_cm))
        aligned = np.polyval(np.polyfit(p, d, 1), p)
        assert found["depth_abs_rel"][i].item() == pytest.approx(np.mean(np.abs(aligned - d) / d), rel=1e-3)
        assert found["depth_rmse_cm"][i].item() == pytest.approx(np.sqrt(np.mean((aligned - d) ** 2)), rel=1e-3)
        ratio = np.maximum(aligned / d, d / aligned)
        assert found["depth_within_1.25"][i].item() == pytest.approx(np.mean(ratio < 1.25))
    assert 0 < found["depth_within_1.25"].min() < 1


def test_a_mirrored_depth_scores_as_a_flat_one():
    valid, depth_cm = torch.ones(1, 1, 8, 9, dtype=torch.bool), 100 + 30 * random(1, 1, 8, 9)
    mirrored, flat = depth.depth(-depth_cm, depth_cm, valid), depth.depth(0 * depth_cm, depth_cm, valid)
    assert mirrored["depth_rmse_cm"].item() == pytest.approx(flat["depth_rmse_cm"].item())


@pytest.mark.parametrize("degrees", [0.0, 0.01, 11.0, 45.0, 135.0, 180.0])
def test_angles_are_measured_from_end_to_end(degrees: float):
    radians = np.deg2rad(degrees)
    target = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 4, 5)
    turned = torch.tensor([np.sin(radians), 0.0, np.cos(radians)]).float().view(1, 3, 1, 1).expand(1, 3, 4, 5)
    found = normals.normals(turned * 3, target, torch.ones(1, 1, 4, 5, dtype=torch.bool))
    assert found["normals_mean_deg"].item() == pytest.approx(degrees, abs=1e-3)
    assert found["normals_median_deg"].item() == pytest.approx(degrees, abs=1e-3)
    assert found["normals_within_11.25"].item() == (degrees < 11.25)


def test_shares_and_medians_of_angles_are_those_of_numpy():
    valid = random(2, 1, 9, 7, seed=3) < 0.7
    target, prediction = random(2, 3, 9, 7) - 0.5, random(2, 3, 9, 7, seed=4) - 0.5
    prediction = target + 0.8 * prediction
    found = normals.normals(prediction, target, valid)
    for i in range(2):
        p, n = (x[i].double().numpy()[:, valid[i, 0].numpy()] for x in (prediction, target))
        cosine = (p * n).sum(0) / np.linalg.norm(p, axis=0) / np.linalg.norm(n, axis=0)
        angles = np.sort(np.degrees(np.arccos(cosine)))
        assert found["normals_mean_deg"][i].item() == pytest.approx(angles.mean(), rel=1e-5)
        assert found["normals_median_deg"][i].item() == pytest.approx(angles[(len(angles) - 1) // 2], rel=1e-5)
        for degrees in (11.25, 22.5, 30):
            share = found[f"normals_within_{degrees:g}"][i].item()
            assert share == pytest.approx(np.mean(angles < degrees)) and 0 < share < 1


def test_background_is_left_out_and_an_empty_image_measures_nothing():
    target, valid = random(2, 3, 4, 5) - 0.5, torch.ones(2, 1, 4, 5, dtype=torch.bool)
    valid[0, :, :2] = False
    valid[1] = False
    prediction = torch.where(valid, target, -target)
    found = normals.normals(prediction, target, valid)
    assert found["normals_mean_deg"][0] < 0.1 and found["normals_mean_deg"][1].isnan()


def test_alpha_errors():
    target = torch.tensor([[[[1.0, 1.0], [0.0, 0.25]]]])
    whole = torch.ones_like(target).bool()
    found = alpha.alpha(torch.tensor([[[[1.0, 0.0], [0.0, 0.75]]]]), target, whole)
    assert {name: round(value.item(), 6) for name, value in found.items()} == {
        "alpha_mae": 0.375,
        "alpha_mse": 0.3125,
        "alpha_sad": 0.0015,
        "alpha_sad_unknown": 0.0015,
        "alpha_iou": round(1 / 3, 6),
    }
    empty = torch.zeros(1, 1, 2, 2)
    assert alpha.alpha(empty, empty, whole)["alpha_iou"].item() == 1
    part = torch.tensor([[[[True, True], [True, False]]]])
    found = alpha.alpha(torch.tensor([[[[1.0, 0.0], [0.0, 0.75]]]]), target, part)
    assert found["alpha_mae"].item() == pytest.approx(1 / 3)
    assert all(value.isnan() for value in alpha.alpha(empty, empty, ~whole).values())


def test_the_unknown_band_is_a_trimap_made_pixel_by_pixel():
    """In the band lies each pixel that sees, within its reach, foreground and background, or a soft pixel."""
    target = torch.zeros(1, 1, 100, 30)
    target[:, :, 40:, 10:] = 1
    target[:, :, 60, 9] = 0.5
    prediction = random(1, 1, 100, 30)
    reach, (image, wrong) = 2, (x[0, 0].double().numpy() for x in (target, (prediction - target).abs()))
    sad, band = 0.0, 0
    for row in range(100):
        for column in range(30):
            around = image[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
            if around.max() > 0 and around.min() < 1:
                sad, band = sad + wrong[row, column] / 1000, band + 1
    assert alpha.unknown(target).sum() == band and 0 < band < 3000
    found = alpha.alpha(prediction, target, torch.ones_like(target).bool())
    assert found["alpha_sad_unknown"].item() == pytest.approx(sad, rel=1e-5)


class Says(torch.nn.Module):
    """Answers each image with its first channel as alpha."""

    def forward(self, image: torch.Tensor) -> Prediction:
        return Prediction(alpha_logits=torch.logit(image[:, :1].float() / 255, eps=1e-6))


def test_a_split_is_averaged_over_its_real_images_alone(shards):
    from david.pipeline.config import DataConfig
    from david.pipeline.loader import Loader

    found = {}
    for size in (1, 4):  # 4 does not divide the split: copies fill up the last batch
        with Loader(shards, "val", DataConfig(height=32, width=24), batch_size=size, seed=0, train=False) as loader:
            found[size] = evaluate(Says(), loader, World(0, 1, torch.device("cpu")))
            assert found[size]["samples"] == loader.samples
    assert found[1] == pytest.approx(found[4], rel=1e-6)
