"""The benchmarks by name: whose layout each has, and which figures are taken, and how. Without torch.

Of all: a picture goes in whole, padded to a square (or as the predictor's fit says), and what is said of it is measured
at the picture's own size. Depth: scale and shift of each image by least squares, in closed form, in depth space, over
the pixels of the person that have a depth; the scale not below 0, so that a mirrored depth counts as a flat one.
Normals: angles on the pixels of the person that have a normal. Alpha: all pixels; a SAD is a sum of absolute errors
over the pixels of an image, in thousands. Every figure is one of each image first, and then the mean over images.

Depth in metres: the range, the crop and what is cut before are those of `Span`; predictions come back bilinearly with
`align_corners`, as the papers' codes do it, and are clipped to the range. What is only relative is fitted to each image
first: disparity in 1 / metres, depth in metres.

A new one is a row here, with a source in `pack/sources/table.py`, and what others reached in `published.py`.
"""

from dataclasses import dataclass
from typing import Literal

from david.pack.errors import DavidError
from david.train.eval.protocols import figures as rows
from david.train.eval.protocols.figures import ABS_REL, ANGLES, MAE, MSE, RMSE_DM, RMSE_M, SAD, SAD_T, Figure
from david.train.eval.protocols.spans import Span


@dataclass(frozen=True)
class Protocol:
    """One row. source: of the truth, as `david pack --source` has it; figures: field of a prediction -> its figures, in
    the order of the table

    band: what the alphas' unknown band is: of the set's trimaps, or an ellipse's reach around soft edges; None: none
    images: how many the benchmark has, None where its list is not published; notes: what a reader of its figures has to
    know, as sentences

    span: where depth counts that is measured in metres; others: sources that it may lie in too, where they recognise
    it; split: which part of what lies there, where the source tells parts; geometry: whether edges, planes and sides
    are measured too"""

    source: str
    figures: dict[str, tuple[Figure, ...]]
    band: Literal["trimap", "ellipse"] | None = None
    images: int | None = None
    notes: tuple[str, ...] = ()
    span: Span | None = None
    others: tuple[str, ...] = ()
    split: str | None = None
    geometry: bool = False


_GEOMETRY_M = {"relative_depth": (RMSE_M, ABS_REL), "normals": ANGLES}
_GEOMETRY_DM = {"relative_depth": (RMSE_DM, ABS_REL), "normals": ANGLES}
_MATTE = {"alpha": (SAD, SAD_T, MSE, MAE)}
_RENDERED = "Truth is rendered by whoever measures: renderer, cameras and frames are not part of the benchmark."
_GOLIATH = (
    "Which frames of Goliath were measured is not published: figures can be near the published ones, not the same "
    "benchmark.",
    "That the published RMSE is in decimetres is inferred, not said: AbsRel agrees where RMSE is a tenth in metres.",
)

_METRES = {"metric_depth_m": rows.METRES}
_FITTED = "Rows that are fitted know each image's scale and shift from its truth; metric rows don't."
_NYU = Span(1e-3, 10.0, "eigen")
_KITTI = Span(1e-3, 80.0, "garg", kb=True)

BENCHMARKS: dict[str, Protocol] = {
    "p3m-500-np": Protocol("p3m-500-np", _MATTE, "trimap", 500),
    "p3m-500-p": Protocol("p3m-500-p", _MATTE, "trimap", 500),
    "ppm-100": Protocol(
        "ppm-100",
        _MATTE,
        "ellipse",
        100,
        ("PPM-100 has no trimaps: SAD-T is of a band that an ellipse of 30 pixels makes, and nobody's published one.",),
    ),
    "photomatte85": Protocol(
        "photomatte85",
        {"alpha": (SAD, MSE, MAE)},
        None,
        85,
        ("The backgrounds of PhotoMatte85 are not published, and these images lie on grey: not comparable.",),
    ),
    "rendered": Protocol("rendered", _GEOMETRY_M),
    "hi4d": Protocol("rendered", _GEOMETRY_M, None, 1195, (_RENDERED,)),
    "thuman2": Protocol("rendered", _GEOMETRY_M, None, None, (_RENDERED,)),
    "goliath": Protocol("rendered", _GEOMETRY_DM, None, None, _GOLIATH),
    "goliath-face": Protocol("rendered", _GEOMETRY_DM, None, None, _GOLIATH),
    "goliath-upper": Protocol("rendered", _GEOMETRY_DM, None, None, _GOLIATH),
    "goliath-full": Protocol("rendered", _GEOMETRY_DM, None, None, _GOLIATH),
    "nyu": Protocol("nyu", _METRES, None, 654, (_FITTED,), _NYU, ("nyu_labeled",), "test"),
    "sunrgbd": Protocol("sunrgbd", _METRES, None, 5050, (_FITTED,), Span(1e-3, 8.0, "eigen"), (), "test"),
    "ibims": Protocol(
        "ibims",
        {"metric_depth_m": (*rows.METRES, *rows.EDGES, *rows.PLANES, *rows.SIDES)},
        None,
        100,
        (
            _FITTED,
            "The authors' evaluator drops holes of truth and of prediction separately; here one mask does.",
            "DBE, PE and DDE are of all pixels that have a depth, without crop and range; PE over pixels is over all "
            "planes, which is the authors' figure.",
        ),
        Span(1e-3, 10.0, "eigen"),
        geometry=True,
    ),
    "kitti": Protocol("kitti", _METRES, None, 652, (_FITTED,), _KITTI, (), "test"),
    "da2k": Protocol("da2k", {"nearness": rows.PAIRS}),
}


def named(name: str) -> Protocol:
    """Raises DavidError where there is no such benchmark."""
    if name not in BENCHMARKS:
        raise DavidError(f"--benchmark is `{name}`, but can only be {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
