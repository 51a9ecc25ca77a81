"""The two real samples go the whole way: zip files' members in, a network that fits them out."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from david.pack import Sample, read
from david.pack.work import build, plan
from david.train import loop, recipes
from david.train.journal import read as read_journal
from david.train.recipe import override
from david.train.subject import of_run


def test_a_network_overfits_the_real_samples_in_100_steps(samples_dir: Path, tmp_path: Path) -> None:
    build.build(samples_dir, tmp_path / "shards", plan.PackOptions(val_fraction=0), workers=1)
    assert [sample.key for sample in read(tmp_path / "shards")] == ["0000428", "0002192"]
    still = [f"data.augment.{name}=0" for name in ("flip", "brightness", "contrast", "saturation", "hue")]
    calm = ["optim.rate=2e-3", "optim.warmup=20", "optim.beta2=0.999"]  # two samples bear less than the recipe's batch
    recipe = override(
        recipes.recipe("smoke"), ["data.height=64", "data.width=48", "batch_size=2", *still, *calm, "parallel=ddp"]
    )
    recipe = replace(recipe, steps=100, picture_every=0, checkpoint_every=0)
    finished = loop.train(recipe, tmp_path / "shards", tmp_path / "run", device="cpu", speaks=False)
    assert finished.step == 100
    records = list(read_journal(tmp_path / "run" / "journal.jsonl"))
    first, last = records[0], records[-1]
    assert last["loss"] < 0.25 * first["loss"]
    # normals begin facing the camera, which is right for much of a face
    for term, share in (("depth_ssi_mse", 0.2), ("normals_cosine", 0.5), ("alpha_bce", 0.2)):
        assert last[term] < share * first[term], term
    assert_each_is_taken_for_itself(list(read(tmp_path / "shards")), of_run(tmp_path / "run", "newest").network())


def assert_each_is_taken_for_itself(samples: list[Sample], network: nn.Module) -> None:
    """What the network says of a picture lies near that sample's own fields, read and made smaller by another way than
    training's: a network learns the other sample's fields, moved or mirrored ones just as well."""
    network.eval()
    for sample in samples:
        with torch.inference_mode():
            said = network(torch.from_numpy(smaller(sample.rgb, cv2.INTER_AREA)).permute(2, 0, 1).unsqueeze(0))
        alpha, normals = said["alpha_logits"].sigmoid()[0, 0].numpy(), said["normals"][0].permute(1, 2, 0).numpy()
        valid = smaller(sample.normals_valid.astype(np.uint8), cv2.INTER_NEAREST) > 0
        truth = smaller(sample.normals, cv2.INTER_NEAREST)[valid]
        lengths = np.linalg.norm(normals[valid], axis=-1) * np.linalg.norm(truth, axis=-1)
        assert 1 - ((normals[valid] * truth).sum(-1) / lengths).mean() < 0.3, sample.key
        assert np.abs(alpha - smaller(sample.alpha, cv2.INTER_AREA) / 255).mean() < 0.03, sample.key


def smaller(image: np.ndarray, how: int) -> np.ndarray:
    return cv2.resize(image, (48, 64), interpolation=how)
