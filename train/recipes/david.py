"""The paper's two networks, multi-task (DAViD, Saleh et al., ICCV 2025); `single` makes the single-task ones.

From the paper: the networks, the images' size, the terms of the loss, SynthHuman's 300 k images (of which all count:
Base's depth error falls from .324 with 60 k of them over .305 with 150 k to .278), and what training took: 528 hours of
an A100 for the large multi-task network. Its optimiser, schedule, batch size, augmentation and weights of the terms
could not be read. Chosen here, after the published practice for dense prediction with a pretrained ViT:

- AdamW with the backbone at a tenth of the decoder's rate: 1e-5 and 1e-4 as DPT (Ranftl et al., ICCV 2021, section
  4.1); Depth Anything V2's and ZoeDepth's fine-tuning keep the same ratio
- weight decay 0.05 and a warm-up into a cosine, as MAE fine-tunes ViTs (He et al., CVPR 2022, appendix A)
- gradient norm clipped to 1
- a flip and mild colour jitter, see `david.pipeline.sampling.augment.AugmentConfig`
- batches of 96 for 100,000 steps, 32 epochs of SynthHuman
"""

from david.model.config import configure
from david.pipeline.config import DataConfig
from david.train.config import OptimConfig
from david.train.recipe import Recipe


def base() -> Recipe:
    """ViT-B/16 at 384, 512 x 384 images as SynthHuman has them."""
    return Recipe(
        name="david-base",
        model=configure("david-base"),
        data=DataConfig(height=512, width=384, prefetch=3),
        optim=OptimConfig(rate=1e-4, backbone_scale=0.1, warmup=2000),
        batch_size=96,
        steps=100_000,
        compile="default",
    )


def large() -> Recipe:
    """ViT-L/16 at 384, 512 x 384 images as SynthHuman has them."""
    return Recipe(
        name="david-large",
        model=configure("david-large"),
        data=DataConfig(height=512, width=384, prefetch=3),
        optim=OptimConfig(rate=1e-4, backbone_scale=0.1, warmup=2000),
        batch_size=96,
        steps=100_000,
        compile="default",
    )
