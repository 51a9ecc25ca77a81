"""Metric depth."""

from david.model.heads.depth import RelativeDepth


class MetricDepth(RelativeDepth):
    """Metres along the optical axis, above 0 by a softplus, growing with distance; the last 1x1 in float32."""
