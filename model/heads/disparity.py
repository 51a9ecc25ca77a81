"""Relative disparity."""

from david.model.heads.depth import RelativeDepth


class Disparity(RelativeDepth):
    """1 / depth up to a positive scale and a shift for each image, above 0 by a softplus, growing with nearness; the
    last 1x1 in float32."""
