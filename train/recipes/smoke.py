"""A first look: a network small enough to learn on a CPU in two minutes, from nothing, on a few hundred samples."""

from david.model.config import configure
from david.pipeline.config import AugmentConfig, DataConfig
from david.train.optim import OptimConfig
from david.train.recipe import Recipe


def smoke() -> Recipe:
    """david-smoke at 128 x 96 pixels. All of it is chosen, by trial on data from `david synth`, for speed to a picture
    that a person recognises: no pretrained weights, so one rate for all of the network, and a high one."""
    return Recipe(
        name="smoke",
        model=configure("david-smoke"),
        data=DataConfig(height=128, width=96, augment=AugmentConfig(), threads=1),
        optim=OptimConfig(rate=2e-3, backbone_scale=1.0, warmup=20, weight_decay=0.01),
        batch_size=8,
        summation="exact",
        steps=400,
        pretrained=False,
        log_every=1,
        picture_every=100,
        evaluate_every=0,
        checkpoint_every=100,
    )
