"""Cosine distance of surface normals.

    1/M sum_i 1 - <n_i, m_i> / (|n_i| |m_i|)      over the M valid pixels

The normals loss of DAViD (Saleh et al., ICCV 2025, section 4). Lengths are divided out of both sides, so
float16 targets count as directions.
"""

import torch
import torch.nn.functional as F

from david.train.losses.masked import mean, wide


def cosine(prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """prediction, target: (B, 3, H, W) directions; valid: (B, 1, H, W) bool. Returns (B,) in [0, 2]."""
    similarity = F.cosine_similarity(wide(prediction), wide(target), dim=1, eps=1e-6)
    return mean(1 - similarity.unsqueeze(1), valid)
