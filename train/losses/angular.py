"""Angle between surface normals.

    1/M sum_i 2 atan2(|n_i - m_i|, |n_i + m_i|)      n, m of unit length, M valid pixels

The angle itself, whose pull does not fade as it closes as the cosine's does. arccos would lose half of its digits near
0, where its gradient is infinite, and atan2 of cross and dot product has no gradient where a vector is zero; this form
is exact everywhere (Kahan, "How Futile are Mindless Assessments of Roundoff in Floating-Point Computation?", 2006,
section 12).
"""

import torch
import torch.nn.functional as F

from david.train.losses.masked import mean, wide


def angular(prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """prediction, target: (B, 3, H, W) directions; valid: (B, 1, H, W) bool. Returns (B,) in radians, 0 to pi.

    A direction of length 0 stands at a right angle to all others."""
    n, m = (F.normalize(wide(x), dim=1, eps=1e-6) for x in (prediction, target))
    apart, together = (torch.linalg.vector_norm(x, dim=1, keepdim=True) for x in (n - m, n + m))
    return mean(2 * torch.atan2(apart, together), valid)
