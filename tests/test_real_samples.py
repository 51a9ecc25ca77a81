"""The two real samples go the whole way: zip files' members in, a network that fits them out."""

from dataclasses import replace
from pathlib import Path

from david.pack import read
from david.pack.work import build, plan
from david.train import loop, recipes
from david.train.journal import read as read_journal
from david.train.recipe import override


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
