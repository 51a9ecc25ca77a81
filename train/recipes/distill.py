"""Distillation: the numbers of Distill-Any-Depth's paper, of a guide that re-implements it, and of a first look.

    david train --recipe distill-any-depth --shards IMAGES --set objective.teachers=depth_anything_v2_vitl.pth@da2-vitl

The teachers are files that a user gives, see `tasks/distill_config.py`. What the paper and the guide leave open is
chosen here, and said where it is.
"""

from david.model.config import configure
from david.pipeline.config import DataConfig
from david.pipeline.sampling.augment import AugmentConfig
from david.train.config import OptimConfig
from david.train.recipe import Recipe
from david.train.recipes.metric import NYU, steps
from david.train.tasks.distill_config import DistillConfig

FLIP = AugmentConfig(flip=0.5, brightness=0, contrast=0, saturation=0, hue=0)


def any_depth() -> Recipe:
    """The paper's (He et al., 2025): a DINOv2 with a new decoder, taught by two networks that are drawn 7 : 3; squares
    of 644 pixels up to the shorter side, seen at 560; L_sc + 0.5 L_lg + 1.0 L_feat + 2.0 L_grad, depth normalised by
    segments of its range; 20,000 steps in batches of 8, the decoder at 5e-5.

    Chosen here: images of 1120 x 1680, the shape of SA-1B's, whole windows of 560 and half of which a student sees in
    560 x 840; a tenth of the rate for the encoder, a constant rate after 500 steps, decay 0.01, mirrored images."""
    return Recipe(
        name="distill-any-depth",
        model=configure("da2-vitl"),
        data=DataConfig(height=1120, width=1680, augment=FLIP),
        objective=DistillConfig(odds=(7, 3)),
        optim=OptimConfig(rate=5e-5, backbone_scale=0.1, weight_decay=0.01, schedule="constant", warmup=500),
        batch_size=8,
        steps=20_000,
    )


def guide() -> Recipe:
    """The guide's: ViT-L to ViT-B at 392 pixels, 0.5 scale-invariant, 0.5 local-global, 1.0 features, 0.2 gradient and
    0.8 hierarchical; batches of 16 for 100 epochs of NYU, 1e-4 falling along a cosine to 0, decay 1e-5, no warm-up.

    Its losses are not copied: `docs/distillation.md` tells which were wrong, and what stands in their place. Chosen
    here: one rate for all, gradients clipped to 1, squares of 308 pixels and more, windows of 224, as it tells none."""
    return Recipe(
        name="distill-guide",
        model=configure("da2-vitb"),
        data=DataConfig(height=392, width=392, augment=FLIP),
        objective=DistillConfig(
            normalise="global",
            least=308,
            crop=392,
            window=224,
            shrink=1,
            shared_context=0.5,
            local_global=0.5,
            features=1.0,
            gradient=0.2,
            hdn=0.8,
        ),
        optim=OptimConfig(rate=1e-4, backbone_scale=1.0, weight_decay=1e-5, warmup=0, final=0.0),
        batch_size=16,
        steps=steps(100, NYU, 16),
    )


def smoke() -> Recipe:
    """A toy, chosen here: the paper's losses between networks that are small enough for a CPU, on images of 112 pixels,
    such as a teacher that `metric-smoke` trained. The gradient weighs a tenth of the paper's: on a square of a tenth of
    its side the same depth changes ten times as much from a pixel to the next. With the paper's 2 a student whose
    weights are new goes flat, the quickest way to few differences, and stays so."""
    return Recipe(
        name="distill-smoke",
        model=configure("da2-smoke"),
        data=DataConfig(height=112, width=112, augment=FLIP, threads=1),
        objective=DistillConfig(least=70, crop=56, window=56, shrink=2, gradient=0.2),
        optim=OptimConfig(rate=3e-3, backbone_scale=1.0, weight_decay=0.01, beta2=0.98, warmup=20),
        batch_size=8,
        steps=300,
        pretrained=False,
        log_every=1,
        picture_every=0,
        evaluate_every=0,
        checkpoint_every=100,
    )
