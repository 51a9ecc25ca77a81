"""Depth in metres: Depth Anything V2's networks with its own metric head or ZoeDepth's, trained as their authors do,
and as a guide does that joins the two.

Steps are counted here, where the authors count epochs: steps = epochs x samples / batch, by the size of the set that
each was trained on, so `--steps N` is what another set asks for (of M samples: epochs x M / batch). Several sets are
`--shards` repeated, `--set data.weights=3,1` mixes them by numbers. `--from FILE` begins with weights: an official
file, a run, a checkpoint. The encoder is trained at a share of the rate (`--set optim.backbone_scale=0.1`) or not at
all (`--set optim.frozen_backbone=true`).

What the guide leaves open is chosen here: sides of 392, the next multiple of the ViT's 14 pixels above its 384; the
adapter's inside, see `model/networks/adapter.py`. ZoeDepth and the guide weigh a batch's images by their pixels; here
each image counts alike, see `losses/zoe_silog.py`.
"""

from david.model.config import configure
from david.pipeline.config import DataConfig
from david.pipeline.sampling.augment import AugmentConfig
from david.train.config import ObjectiveConfig, OptimConfig
from david.train.recipe import Recipe

NYU, SUN_RGBD = 24_231, 5_285  # samples to train on
HYPERSIM, VKITTI2 = 60_000, 20_000  # as Depth Anything V2's paper counts them
UNCLIPPED = 1e9  # a norm that no gradient has
GUIDE = ObjectiveConfig(metric_zoe_silog=1.0, metric_zoe_gradient=0.5, metric_da2_silog=0.5)
ZOE = ObjectiveConfig(metric_zoe_silog=1.0, metric_zoe_gradient=0.0, metric_da2_silog=0.0)
DA2 = ObjectiveConfig(metric_zoe_silog=0.0, metric_zoe_gradient=0.0, metric_da2_silog=1.0)
FLIP = AugmentConfig(flip=0.5, brightness=0, contrast=0, saturation=0, hue=0)


def steps(epochs: int, samples: int, batch_size: int) -> int:
    """Of whole batches."""
    return epochs * (samples // batch_size)


def guide() -> Recipe:
    """The guide's defaults: its arguments are fields here. --encoder, --n-bins, --bin-centers-type, --n-attractors,
    --attractor-type, --min-depth, --max-depth: `model`; --train-encoder, --encoder-lr-factor 10: `optim`'s
    frozen_backbone=false, backbone_scale=0.1; the losses' weights: `objective`. 50 epochs of NYU and SUN RGB-D, a tenth
    of the rate every 15; no augmentation but a flip is told of."""
    of_an_epoch = steps(1, NYU + SUN_RGBD, 4)
    return Recipe(
        name="da2-zoe-guide",
        model=configure("da2-zoe-vitl", pyramid="adapter"),
        data=DataConfig(height=392, width=392, augment=FLIP),
        objective=GUIDE,
        optim=OptimConfig(
            rate=1e-4,
            backbone_scale=0.1,
            frozen_backbone=True,
            weight_decay=1e-4,
            schedule="step",
            warmup=0,
            every=15 * of_an_epoch,
            gamma=0.1,
            clip=1.0,
        ),
        batch_size=4,
        steps=50 * of_an_epoch,
        pretrained=False,
    )


def depth_anything(name: str, max_depth: float, samples: int) -> Recipe:
    """Depth Anything V2's metric training: crops of 518 x 518 pixels and flips; AdamW, the encoder at 5e-6 and the head
    at ten times that, decay 0.01, the rate falling to 0 with power 0.9, nothing clipped; 120 epochs in batches of 32, 4
    on each of 8 GPUs. It begins with the encoder of a relative network: `--backbone-weights FILE`."""
    return Recipe(
        name=name,
        model=configure("da2-vitl-metric", max_depth=max_depth),
        data=DataConfig(height=518, width=518, augment=FLIP),
        objective=DA2,
        optim=OptimConfig(
            rate=5e-5,
            backbone_scale=0.1,
            weight_decay=0.01,
            schedule="polynomial",
            power=0.9,
            warmup=0,
            final=0.0,
            clip=UNCLIPPED,
        ),
        batch_size=32,
        steps=steps(120, samples, 32),
        pretrained=False,
    )


def indoor() -> Recipe:
    """Of Hypersim, to 20 m."""
    return depth_anything("da2-metric-indoor", 20.0, HYPERSIM)


def outdoor() -> Recipe:
    """Of Virtual KITTI 2, to 80 m."""
    return depth_anything("da2-metric-outdoor", 80.0, VKITTI2)


def zoedepth() -> Recipe:
    """ZoeDepth's training on NYU: 392 x 518 pixels as the public combination with Depth Anything has them; AdamW at
    1.61e-4 and a tenth of it for the encoder, decay 0.01, one cycle whose rise takes 0.7 of the way from the full rate
    itself (div 1) and that ends at a ten thousandth; 5 epochs in batches of 16, gradients clipped to 0.1. Brightness
    and saturation jitter about as far as its gamma, brightness and colours; that it shifts images too is left out."""
    count = steps(5, NYU, 16)
    return Recipe(
        name="zoedepth-nyu",
        model=configure("da2-zoe-vitl"),
        data=DataConfig(height=392, width=518, augment=AugmentConfig(0.5, 0.25, 0, 0.1, 0)),
        objective=ZOE,
        optim=OptimConfig(
            rate=1.61e-4,
            backbone_scale=0.1,
            weight_decay=0.01,
            schedule="one_cycle",
            warmup=count * 7 // 10,
            start=1.0,
            final=1e-4,
            clip=0.1,
        ),
        batch_size=16,
        steps=count,
        pretrained=False,
    )


def smoke() -> Recipe:
    """A toy: small enough to learn metres on a CPU in a few hundred steps, from nothing, with the guide's losses. All
    of it is chosen, by trial on drawn rooms: no pretrained weights, so one rate for all of the network, a high one.
    Depth Anything V2's own head, since a step with ZoeDepth's takes twice as long and teaches as much; `parallel=ddp`,
    since what would be exact on any number of ranks takes one image at a time."""
    return Recipe(
        name="metric-smoke",
        model=configure("da2-smoke-metric", max_depth=10.0),
        data=DataConfig(height=56, width=70, augment=FLIP, threads=1),
        objective=GUIDE,
        optim=OptimConfig(rate=3e-3, backbone_scale=1.0, weight_decay=0.01, beta2=0.98, warmup=20),
        batch_size=8,
        steps=500,
        pretrained=False,
        log_every=1,
        picture_every=0,
        evaluate_every=0,
        checkpoint_every=250,
    )
