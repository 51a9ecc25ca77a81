"""Distance of two ViTs' tokens for the same patches.

    1 - 1/N sum_n <s_n, t_n> / (|s_n| |t_n|)

over pairs of tokens of one place: the feature alignment of He et al., "Distill Any Depth", 2025. The student's come
through a learnt projection to the teacher's width, see `distill/task.py`.

B images, N patches, D channels.
"""

import torch
import torch.nn.functional as F

from david.train.losses.masked import wide


def tokens(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """student, teacher: (B, N, D), of the same patches in the same order. Returns (B,) in [0, 2]."""
    return 1 - F.cosine_similarity(wide(student), wide(teacher), dim=2, eps=1e-6).mean(1)
