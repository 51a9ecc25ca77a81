"""The terms of a loss by name: what each compares, and how. Without torch.

A new one is a file here and a row in `TERMS`; its name is then a weight of a recipe's `objective`.
"""

from dataclasses import dataclass

from david.pack.lazy import Lazy

PAIRS = "pairs"  # of points that people compared, see `pipeline.batch.Batch`
RANKING = "david.train.losses.ranking:ranking"
AS_SAID = "david.train.losses.views:as_said"
FITTED = "david.train.losses.views:fitted"  # after the scale and the shift that carry it onto its target
NEARNESS = "david.train.losses.views:nearness"  # -log metres
PROBABILITY = "david.train.losses.views:probability"  # the sigmoid of what are logits
AS_STORED = "david.train.losses.views:as_stored"
METRES = "david.train.losses.views:metres"  # depth in metres, float32
DISPARITY = "david.train.losses.views:disparity"  # 1 / metres, in shares of an image's largest


@dataclass(frozen=True)
class Term:
    """One row.

    head: whose output is compared; target: the field of a batch that it is compared with, or `PAIRS`
    loss: (prediction, target, valid) to (B,), see `losses`
    view: what the output becomes before, see `views`; terms of one head and view share what it takes
    weight: where a recipe says nothing of it; 0 leaves a term out
    truth: what the target becomes before, see `views`; made once for all terms of one target that ask for it
    """

    head: str
    target: str
    loss: Lazy
    view: Lazy = AS_SAID
    weight: float = 0.0
    truth: Lazy = AS_STORED


# Those with a weight are the paper's (DAViD, section 4); its weights could not be read. Chosen here: 1 each, also for
# gradient matching: MiDaS weighs it with 0.5 beside a data term that is divided by 2 M, not by M as ours is (Ranftl et
# al., TPAMI 2022, eq. 3, 11 and 12), which is one to one. For the five levels of the pyramid a fifth (Lin et al.,
# "Robust High-Resolution Video Matting", WACV 2022, divides by their number). Metric depth has ZoeDepth's terms and
# Depth Anything V2's in the proportion of the recipe `da2-zoe-guide`; disparity MiDaS's.
METRIC, DISPARATE = ("metric_depth", "depth"), ("disparity", "depth")
TERMS: dict[str, Term] = {
    "depth_ssi_mse": Term("depth", "depth", "david.train.losses.mse:mse", FITTED, weight=1.0),
    "depth_ssi_l1": Term("depth", "depth", "david.train.losses.l1:l1", FITTED),
    "depth_berhu": Term("depth", "depth", "david.train.losses.berhu:berhu", FITTED),
    "depth_gradient_matching": Term(
        "depth", "depth", "david.train.losses.gradient_matching:gradient_matching", FITTED, weight=1.0
    ),
    "normals_cosine": Term("normals", "normals", "david.train.losses.cosine:cosine", weight=1.0),
    "normals_angular": Term("normals", "normals", "david.train.losses.angular:angular"),
    "alpha_bce": Term("alpha", "alpha", "david.train.losses.bce:bce", weight=1.0),
    "alpha_l1": Term("alpha", "alpha", "david.train.losses.l1:l1", PROBABILITY, weight=1.0),
    "alpha_dice": Term("alpha", "alpha", "david.train.losses.dice:dice", PROBABILITY, weight=1.0),
    "alpha_laplacian": Term("alpha", "alpha", "david.train.losses.laplacian:laplacian", PROBABILITY, weight=0.2),
    "metric_zoe_silog": Term(*METRIC, "david.train.losses.zoe_silog:zoe_silog", weight=1.0, truth=METRES),
    "metric_zoe_gradient": Term(*METRIC, "david.train.losses.zoe_gradient:zoe_gradient", weight=0.5, truth=METRES),
    "metric_da2_silog": Term(*METRIC, "david.train.losses.da2_silog:da2_silog", weight=0.5, truth=METRES),
    "disparity_ssi_l1": Term(*DISPARATE, "david.train.losses.l1:l1", FITTED, 1.0, DISPARITY),
    "disparity_gradient_matching": Term(
        *DISPARATE, "david.train.losses.gradient_matching:gradient_matching", FITTED, 1.0, DISPARITY
    ),
    "metric_ranking": Term("metric_depth", PAIRS, RANKING, NEARNESS),
    "disparity_ranking": Term("disparity", PAIRS, RANKING),
}
