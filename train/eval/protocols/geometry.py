"""What iBims-1 measures beside the usual figures: edges, planes, and who stands on the right side of 3 m.

Koch et al., "Evaluation of CNN-based Single-Image Depth Estimation Methods", ECCV workshops 2018, sections 3.2 to 3.4;
constants are those of the authors' evaluator. It drops pixels without truth and pixels without prediction each by
themselves, so that what it compares need not be the same pixel; here one mask says which pixels count.

H rows, W columns. Without torch.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

FARTHEST_PX = 10.0  # edges farther apart count as so far
SIGMA_PX = 2**0.5  # of the blur before edges are looked for
LOW, HIGH = 0.1, 0.2  # slopes, by Sobel's filter on a depth of 0 .. 1: of edges' pixels, of one pixel in each edge
LEAST_SHARE = 0.05  # of the picture, that a plane has to cover
SIDES_M = 3.0  # the distance that splits near and far


class Plane(NamedTuple):
    """mask: (H, W) bool; normal: (3,), X right, Y away from the camera, Z up, as iBims has them"""

    mask: np.ndarray
    normal: np.ndarray


def boundaries(depth: np.ndarray, edges: np.ndarray) -> dict[str, float]:
    """Depth boundary error in pixels: how far predicted edges lie from true ones, and how far each side's lie from the
    other's. depth: (H, W) predicted; edges: (H, W) bool, true. NaN without true edges."""
    if not edges.any():
        return {"dbe_accuracy": np.nan, "dbe_completeness": np.nan}
    low, high = float(depth.min()), float(depth.max())
    said = canny((depth.astype(np.float32) - low) / ((high - low) or 1.0))
    to_true, to_said = away(edges), away(said)
    near = said & (to_true < FARTHEST_PX)
    if not near.any():
        return {"dbe_accuracy": FARTHEST_PX, "dbe_completeness": FARTHEST_PX}
    apart = np.minimum(to_true, FARTHEST_PX)[said].sum() + np.minimum(to_said, FARTHEST_PX)[edges].sum()
    return {
        "dbe_accuracy": float(to_true[near].mean()),
        "dbe_completeness": float(apart / (said.sum() + edges.sum())),
    }


def away(edges: np.ndarray) -> np.ndarray:
    """(H, W) float64: how far each pixel is from the nearest of (H, W) bool, in pixels; infinite where none is."""
    if not edges.any():
        return np.full(edges.shape, np.inf)
    found = cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return found.astype(np.float64)


def canny(image: np.ndarray) -> np.ndarray:
    """Canny's edges (PAMI 1986) of (H, W) float32 in 0 .. 1, as (H, W) bool.

    Blurred by what is inside the picture; a pixel's slope is the largest along its direction, between pixels by linear
    interpolation; weak ones count where they touch a strong one. Border pixels are none."""
    size = 2 * int(4 * SIGMA_PX + 0.5) + 1
    inside, values = (
        cv2.GaussianBlur(one, (size, size), SIGMA_PX, borderType=cv2.BORDER_CONSTANT)
        for one in (np.ones(image.shape), image.astype(np.float64))
    )
    smooth: np.ndarray = np.asarray(values) / np.asarray(inside)
    dx, dy = (
        np.asarray(cv2.Sobel(smooth, cv2.CV_64F, *order, ksize=3, borderType=cv2.BORDER_REFLECT))
        for order in ((1, 0), (0, 1))
    )
    weak = _crests(dx, dy)
    count, found = cv2.connectedComponents(weak.astype(np.uint8), connectivity=8)
    labels = np.asarray(found, np.intp)
    strong = np.zeros(count, bool)
    strong[labels[weak & (np.hypot(dx, dy) >= HIGH)]] = True
    strong[0] = False
    return strong[labels]


def _crests(dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """(H, W) bool: inner pixels whose slope is at least `LOW` and that of neither neighbour along its direction."""
    slope = np.hypot(dx, dy)
    height, width = slope.shape
    crest = np.zeros(slope.shape, bool)
    rows, columns = np.nonzero(slope[1:-1, 1:-1] >= LOW)
    rows, columns = rows + 1, columns + 1
    if not height > 2 or not width > 2 or not len(rows):
        return crest
    gx, gy, here = dx[rows, columns], dy[rows, columns], slope[rows, columns]
    steps_x, steps_y = np.sign(gx).astype(int), np.sign(gy).astype(int)
    flat = np.abs(gx) >= np.abs(gy)  # nearer to a row than to a column
    share = np.where(flat, np.abs(gy), np.abs(gx)) / np.maximum(np.abs(gx), np.abs(gy))
    kept = np.ones(len(rows), bool)
    for side in (1, -1):
        straight = slope[rows + side * np.where(flat, 0, steps_y), columns + side * np.where(flat, steps_x, 0)]
        aslant = slope[rows + side * steps_y, columns + side * steps_x]
        kept &= here >= share * aslant + (1 - share) * straight
    crest[rows, columns] = kept
    return crest


def planes(
    depth: np.ndarray, true: np.ndarray, valid: np.ndarray, found: Sequence[Plane], intrinsics: np.ndarray
) -> dict[str, float]:
    """Planarity error: how far, in cm, points that should lie in a plane do from the one through them, and by how many
    degrees that is turned; means over the planes that are large enough where depth is valid, NaN without one, and how
    many these are.

    depth, true: (H, W) metres; valid: (H, W) bool; intrinsics: (3, 3) in pixels, the image's corner at 0. Predicted
    depth is first scaled so that its median on the plane is the true one."""
    seen = [(valid & one.mask, one.normal) for one in found]
    large = [one for one in seen if one[0].sum() >= LEAST_SHARE * depth.size]
    errors = [one for there, normal in large if (one := _plane(depth, true, there, normal, intrinsics)) is not None]
    flat, turned = np.mean(errors, axis=0) if errors else (np.nan, np.nan)
    return {"pe_planarity_cm": float(flat), "pe_orientation_deg": float(turned), "pe_planes": float(len(errors))}


def _plane(
    depth: np.ndarray, true: np.ndarray, there: np.ndarray, normal: np.ndarray, intrinsics: np.ndarray
) -> tuple[float, float] | None:
    """Centimetres and degrees of one plane; None where fewer than three points tell of it."""
    if there.sum() < 3:
        return None
    scaled = depth[there] * (np.median(true[there]) / np.median(depth[there]))
    rows, columns = np.nonzero(there)
    x = (columns + 0.5 - intrinsics[0, 2]) * scaled / intrinsics[0, 0]
    z = -(rows + 0.5 - intrinsics[1, 2]) * scaled / intrinsics[1, 1]
    points = np.stack([x, scaled, z], axis=1)
    points = points - points.mean(axis=0)
    _, axes = np.linalg.eigh(points.T @ points)
    across = axes[:, 0]  # of the least spread
    told = np.asarray(normal, np.float64)
    turned = np.arctan2(np.linalg.norm(np.cross(told, across)), abs(told @ across))
    return float(100 * np.std(points @ across)), float(np.degrees(turned))


def sides(depth: np.ndarray, true: np.ndarray, valid: np.ndarray) -> dict[str, float]:
    """Directed depth error: the shares of pixels that stand on the right side of 3 m, wrongly before it (`near`), and
    wrongly behind (`far`), NaN where nothing is valid, and how many pixels are. (H, W) metres and bool."""
    if not valid.any():
        return dict.fromkeys(("dde_right", "dde_near", "dde_far"), np.nan) | {"dde_pixels": 0.0}
    said, told = depth[valid] <= SIDES_M, true[valid] <= SIDES_M
    return {
        "dde_right": float((said == told).mean()),
        "dde_near": float((said & ~told).mean()),
        "dde_far": float((~said & told).mean()),
        "dde_pixels": float(said.size),
    }
