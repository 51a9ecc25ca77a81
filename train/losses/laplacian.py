"""L1 distance of Laplacian pyramids: errors along soft edges count at every scale.

    sum_k 2^k 1/M_k sum_i |L^k(p)_i - L^k(a)_i|      k = 0 .. 4

L^k are the band-pass images of a Gaussian pyramid (Burt and Adelson, "The Laplacian Pyramid as a Compact Image Code",
1983), weighted as in Hou and Liu, "Context-Aware Image Matting", ICCV 2019, eq. 3. Halving uses the binomial filter
[1 3 3 1] / 8 and doubling its transpose, which is bilinear interpolation, so that levels stay centred on each other.
The pyramid is linear: the difference is taken first, and set to 0 where invalid. An image too small for a level ends
there.
"""

import torch
import torch.nn.functional as F

from david.model.kept import kept, zero
from david.train.losses.masked import mean, wide, within

LEVELS = 5


def laplacian(prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """prediction, target: (B, 1, H, W) in [0, 1]; valid: (B, 1, H, W) bool. Returns (B,)."""
    x = within(wide(prediction) - wide(target), valid)
    if all(rows % 2 == columns % 2 == 0 for rows, columns in sizes(*x.shape[-2:])):
        return _Even.apply(x, valid)  # pyright: ignore[reportReturnType]
    loss = x.new_zeros(len(x))
    for k, (rows, columns) in enumerate(sizes(*x.shape[-2:])):
        smaller = halve(x)
        band = x - F.interpolate(smaller, size=(rows, columns), mode="bilinear", align_corners=False)
        loss = loss + 2**k * mean(band.abs(), valid)
        x, valid = smaller, valid[..., : 2 * (rows // 2) : 2, : 2 * (columns // 2) : 2]
    return loss


def sizes(rows: int, columns: int) -> list[tuple[int, int]]:
    """Of the levels that there are."""
    found = []
    while len(found) < LEVELS and min(rows, columns) > 1:
        found.append((rows, columns))
        rows, columns = rows // 2, columns // 2
    return found


def halve(x: torch.Tensor) -> torch.Tensor:
    """(B, 1, H, W) to (B, 1, H // 2, W // 2), edges repeated.

    Of even sides an antialiased resize to half is that filter, one operation; its edges are its own, so it gets more of
    them than are kept. A graph takes slices, which become one kernel with what comes before and after."""
    if not (x.shape[-2] % 2 or x.shape[-1] % 2 or torch.compiler.is_compiling()):
        x = F.pad(x, (2, 2, 2, 2), mode="replicate")
        size = x.shape[-2] // 2, x.shape[-1] // 2
        return F.interpolate(x, size=size, mode="bilinear", antialias=True)[..., 1:-1, 1:-1]
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    x = torch.add(x[..., :-3:2] + x[..., 3::2], x[..., 1:-2:2] + x[..., 2:-1:2], alpha=3)
    return torch.add(x[..., :-3:2, :] + x[..., 3::2, :], x[..., 1:-2:2, :] + x[..., 2:-1:2, :], alpha=3) / 64


def double(x: torch.Tensor) -> torch.Tensor:
    """(B, 1, H, W) to (B, 1, 2 H, 2 W)."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _factors(levels: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """(levels, 1): 2^k"""
    return 2.0 ** torch.arange(levels, device=device, dtype=dtype)[:, None]


class _Even(torch.autograd.Function):
    """The pyramid where each level has even sides, whose gradient is a pyramid too.

    Halving D and doubling U are each other's transposes but for a factor, edges and all: D = U' / 4. Through
    b = x - U D x a gradient s of b and one t of D x come back as s + U (t - 4 D s) / 4. Each level's is kept divided by
    4^k, which leaves s + U (t - D s); and s is a sign times a number of the image's, which comes out of D.
    """

    @staticmethod
    def forward(ctx, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        sums, pixels, signs = [], [], []
        for _ in sizes(*x.shape[-2:]):
            smaller = halve(x)
            band = within(x - double(smaller), valid)
            sums.append(torch.linalg.vector_norm(band, 1, (1, 2, 3)))
            pixels.append(valid.sum((1, 2, 3)))
            signs.append(band.sign_())
            x, valid = smaller, valid[..., ::2, ::2]
        factors, counts = kept(_factors, len(sums), like=x), torch.stack(pixels).clamp(min=1)
        ctx.save_for_backward(factors * counts, *signs)
        return (torch.stack(sums) * factors / counts).sum(0)

    @staticmethod
    def backward(ctx, *gradients: torch.Tensor):
        (gradient,) = gradients
        parts, *signs = ctx.saved_tensors
        slopes = (gradient / parts).view(len(signs), -1, 1, 1, 1)
        found = zero(slopes)
        for sign, slope in reversed(list(zip(signs, slopes, strict=True))):
            found = torch.addcmul(double(torch.addcmul(found, halve(sign), slope, value=-1)), sign, slope)
        return found, None
