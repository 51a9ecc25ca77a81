"""The losses in their plainest form: an operation for each sign of the formula, autograd for the gradient, a fit for
each term. What `david.train.losses` computes in fewer passes is held to these.

B images, C channels, H rows, W columns.
"""

import torch
import torch.nn.functional as F

LEAST_CORRELATION, TINY = 0.1, 1e-12


def total(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    return torch.where(valid, values, 0).flatten(1).sum(1)


def mean(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    return total(values, valid) / valid.flatten(1).sum(1).clamp(min=1)


def align(p: torch.Tensor, d: torch.Tensor, valid: torch.Tensor, least_correlation: float = 0.0) -> torch.Tensor:
    p_mean, d_mean = (mean(x, valid).view(-1, 1, 1, 1) for x in (p, d))
    pc, dc = p - p_mean, d - d_mean
    p_var, d_var, covariance = (mean(x, valid).view(-1, 1, 1, 1) for x in (pc * pc, dc * dc, pc * dc))
    least = least_correlation * (p_var * d_var + TINY * TINY).sqrt()
    scale = torch.maximum(covariance, least) / (p_var + TINY)
    return scale * p + (d_mean - scale * p_mean)


def fitted(loss):
    return lambda p, d, valid: loss(align(p, d, valid, LEAST_CORRELATION), d, valid)


def of_probability(loss):
    return lambda logits, a, valid: loss(logits.sigmoid(), a, valid)


def mse(p: torch.Tensor, d: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    return mean((p - d) * (p - d), valid)


def l1(p: torch.Tensor, d: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    return mean((p - d).abs(), valid)


def berhu(p: torch.Tensor, d: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    size = (p - d).abs()
    c = (0.2 * torch.where(valid, size.detach(), 0).amax((1, 2, 3), keepdim=True)).clamp(min=1e-6)
    return mean(torch.where(size <= c, size, (size * size + c * c) / (2 * c)), valid)


def gradient_matching(p: torch.Tensor, d: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    residual = p - d
    loss = residual.new_zeros(len(residual))
    for k in range(4):
        r, v = residual[..., :: 2**k, :: 2**k], valid[..., :: 2**k, :: 2**k]
        loss = loss + mean((r[..., 1:] - r[..., :-1]).abs(), v[..., 1:] & v[..., :-1])
        loss = loss + mean((r[..., 1:, :] - r[..., :-1, :]).abs(), v[..., 1:, :] & v[..., :-1, :])
    return loss


def cosine(p: torch.Tensor, n: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    return mean(1 - F.cosine_similarity(p, n, dim=1, eps=1e-6).unsqueeze(1), valid)


def angular(p: torch.Tensor, n: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    a, b = (F.normalize(x, dim=1, eps=1e-6) for x in (p, n))
    apart, together = (torch.linalg.vector_norm(x, dim=1, keepdim=True) for x in (a - b, a + b))
    return mean(2 * torch.atan2(apart, together), valid)


def bce(logits: torch.Tensor, a: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    return mean(F.binary_cross_entropy_with_logits(logits, a, reduction="none"), valid)


def dice(p: torch.Tensor, a: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    return 1 - (2 * total(p * a, valid) + 1) / (total(p * p, valid) + total(a * a, valid) + 1)


def halve(x: torch.Tensor) -> torch.Tensor:
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    x = (x[..., :-3:2] + 3 * x[..., 1:-2:2] + 3 * x[..., 2:-1:2] + x[..., 3::2]) / 8
    return (x[..., :-3:2, :] + 3 * x[..., 1:-2:2, :] + 3 * x[..., 2:-1:2, :] + x[..., 3::2, :]) / 8


def laplacian(p: torch.Tensor, a: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    x = torch.where(valid, p - a, 0)
    loss = x.new_zeros(len(x))
    for k in range(5):
        if min(x.shape[-2:]) < 2:
            break
        smaller = halve(x)
        band = x - F.interpolate(smaller, size=x.shape[-2:], mode="bilinear", align_corners=False)
        loss = loss + 2**k * mean(band.abs(), valid)
        x, valid = smaller, valid[..., : 2 * smaller.shape[-2] : 2, : 2 * smaller.shape[-1] : 2]
    return loss


PLAIN = {  # by the names of `losses.table.TERMS`; each takes the head's output, the target and where it is valid
    "depth_ssi_mse": fitted(mse),
    "depth_ssi_l1": fitted(l1),
    "depth_berhu": fitted(berhu),
    "depth_gradient_matching": fitted(gradient_matching),
    "normals_cosine": cosine,
    "normals_angular": angular,
    "alpha_bce": bce,
    "alpha_l1": of_probability(l1),
    "alpha_dice": of_probability(dice),
    "alpha_laplacian": of_probability(laplacian),
}
