"""Which pixels of a picture count where depth is measured in metres: range, crop, and what the network is shown.

H rows, W columns. Without torch.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from david.pack.errors import BadSample
from david.pack.shards.sample import Sample

EIGEN_NYU = slice(45, 471), slice(41, 601)  # rows, columns of 480 x 640
GARG = (0.40810811, 0.99189189), (0.03594771, 0.96405229)  # shares of the rows, and of the columns
KB_ROWS, KB_COLUMNS = 352, 1216  # of KITTI's pictures, as its own depth benchmark cuts them


@dataclass(frozen=True)
class Span:
    """least_m, most_m: true depth counts strictly between them, and predictions are clipped to them
    crop: pixels that count: `eigen`, the rows and columns of 480 x 640 that Eigen et al. (NeurIPS 2014) chose for NYU,
        or `garg`, the shares that Garg et al. (ECCV 2016) did for KITTI; both are cut off where a picture is smaller
    kb: cut pictures and truth to 352 x 1216, at the bottom and in the middle, before a network sees them"""

    least_m: float
    most_m: float
    crop: Literal["eigen", "garg"] | None = None
    kb: bool = False

    @property
    def range_m(self) -> tuple[float, float]:
        return self.least_m, self.most_m

    def counts(self, sample: Sample) -> np.ndarray:
        """(H, W) bool: the pixels of a sample that count."""
        with np.errstate(invalid="ignore"):
            within = (sample.depth_m > self.least_m) & (sample.depth_m < self.most_m)
        return sample.depth_valid & within & cropped(sample.depth_valid.shape, self.crop)

    def counted_m(self, sample: Sample) -> np.ndarray:
        """(pixels,) metres of those of a sample that count, as networks see it; none where it has no depth."""
        if "depth" not in sample.values:
            return np.empty(0, np.float32)
        shown = self.shown(sample)
        return shown.depth_m[self.counts(shown)]

    def shown(self, sample: Sample) -> Sample:
        """The sample as networks see it. Raises BadSample where it is smaller than what has to be cut out."""
        if not self.kb:
            return sample
        height, width = sample.rgb.shape[:2]
        if height < KB_ROWS or width < KB_COLUMNS:
            raise BadSample(f"sample {sample.key}", f"is {height} x {width}; KITTI is cut to {KB_ROWS} x {KB_COLUMNS}")
        left = (width - KB_COLUMNS) // 2
        part = slice(height - KB_ROWS, height), slice(left, left + KB_COLUMNS)
        values, masks = ({n: x[part] for n, x in table.items()} for table in (sample.values, sample.masks))
        return replace(sample, rgb=np.ascontiguousarray(sample.rgb[part]), values=values, masks=masks)


def cropped(shape: tuple[int, ...], crop: Literal["eigen", "garg"] | None) -> np.ndarray:
    """(H, W) bool, True inside the crop."""
    inside = np.zeros(shape, bool)
    if crop == "eigen":
        inside[EIGEN_NYU] = True
    elif crop == "garg":
        rows, columns = (
            slice(int(first * length), int(last * length)) for (first, last), length in zip(GARG, shape, strict=True)
        )
        inside[rows, columns] = True
    else:
        inside[:] = True
    return inside
