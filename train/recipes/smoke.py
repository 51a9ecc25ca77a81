"""A first look: a network small enough to learn on a CPU in two minutes, from nothing, on a few hundred samples."""

from david.model.config import configure
from david.pipeline.config import DataConfig
from david.pipeline.sampling.augment import AugmentConfig
from david.train.config import ObjectiveConfig, OptimConfig
from david.train.recipe import Recipe


def smoke() -> Recipe:
    """david-smoke at 128 x 96 pixels, its ViT at 96 x 96. All of it is chosen, by trial on data from `david synth`, for
    speed to a picture that a person recognises: no pretrained weights, so one rate for all of the network, a high one,
    and a short memory of the gradient's variance; more weight on depth and normals, which alpha, the easiest, drowns.
    """
    return Recipe(
        name="smoke",
        model=configure("david-smoke", backbone_size=96),
        data=DataConfig(height=128, width=96, augment=AugmentConfig(), threads=1),
        objective=ObjectiveConfig(depth_ssi_mse=3.0, depth_gradient_matching=0.5, normals_cosine=3.0),
        optim=OptimConfig(rate=4e-3, backbone_scale=1.0, weight_decay=0.01, beta2=0.98, warmup=40),
        batch_size=16,
        parallel="auto",
        steps=220,
        pretrained=False,
        log_every=1,
        picture_every=100,
        evaluate_every=0,
        checkpoint_every=100,
    )
