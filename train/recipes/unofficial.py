"""The numbers of the unofficial PyTorch implementation of DAViD, after its two guides: README and training guide.

From the README: ViT-B/16 with resizer and decoder; 24 images on each of 4 GPUs or 16 on one; rate 2e-4, a tenth of it
for the backbone; fp16; a flip and colour jitter; scale-and-shift invariant depth, cosine normals, alpha by BCE, L1 and
Dice; 155 epochs of the 98,040 faces on four GPUs, 50 on one. From the training guide: batches of 6, rate 8e-4, 20
epochs of one zip of 5,000 samples, BerHu depth, softplus depth, tanh normals, gradient norm clipped to 1.

Chosen here, as the guides leave it open: AdamW's usual decay of 0.01; a warm-up of 500 steps; steps of decay by a
tenth at 60 and 85 % of the way ("progressive" there); gradient matching beside the depth loss, as in the paper, and no
direct depth loss, since relative depth has no scale that could be compared; images of 512 x 384 as they are, where the
guides squash them to a square, which bends the normals. Its errors are not kept: normals are X, Y, Z, and every rank
takes every step.

`unofficial-finetune` goes on from one of its files (`david train --from FILE.pth`) with a network of its own kind. Its
numbers are chosen here: a tenth of the README's rate, as usual where all of a network has been trained, for 20 epochs
of one zip.
"""

from david.model.config import configure
from david.pipeline.config import DataConfig
from david.train.config import ObjectiveConfig, OptimConfig
from david.train.recipe import Recipe


def decayed(rate: float, steps: int) -> OptimConfig:
    """Steps of decay at 60 and 85 % of the way."""
    milestones = (steps * 60 // 100, steps * 85 // 100)
    return OptimConfig(rate=rate, weight_decay=0.01, warmup=500, schedule="step", milestones=milestones, gamma=0.1)


def readme(name: str, batch_size: int, epochs: int) -> Recipe:
    """The README's run, for so many epochs of the faces."""
    steps = 98_040 * epochs // batch_size
    return Recipe(
        name=name,
        model=configure("david-base"),
        data=DataConfig(height=512, width=384),
        objective=ObjectiveConfig(depth_ssi_mse=0.0, depth_ssi_l1=1.0, alpha_laplacian=0.0),
        optim=decayed(2e-4, steps),
        batch_size=batch_size,
        steps=steps,
        precision="fp16",
    )


def unofficial() -> Recipe:
    """On four GPUs."""
    return readme("unofficial", batch_size=96, epochs=155)


def unofficial_one_gpu() -> Recipe:
    """On one GPU."""
    return readme("unofficial-one-gpu", batch_size=16, epochs=50)


def unofficial_berhu() -> Recipe:
    """The training guide's run."""
    steps = 5_000 * 20 // 6
    return Recipe(
        name="unofficial-berhu",
        model=configure("david-base", depth_activation="softplus", normals_activation="tanh"),
        data=DataConfig(height=512, width=384),
        objective=ObjectiveConfig(depth_ssi_mse=0.0, depth_berhu=1.0, alpha_laplacian=0.0),
        optim=decayed(8e-4, steps),
        batch_size=6,
        steps=steps,
        precision="fp16",
    )


def unofficial_finetune() -> Recipe:
    """From a file of the unofficial implementation's, in batches that a single GPU takes."""
    return Recipe(
        name="unofficial-finetune",
        model=configure("unofficial"),
        data=DataConfig(height=512, width=384),
        objective=ObjectiveConfig(depth_ssi_mse=0.0, depth_ssi_l1=1.0, alpha_laplacian=0.0),
        optim=OptimConfig(rate=2e-5, weight_decay=0.01, warmup=500),
        batch_size=16,
        steps=5_000 * 20 // 16,
        pretrained=False,
    )
