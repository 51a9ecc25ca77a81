"""Enlarge twice, then a 3x3: computed at half size, in four phases.

    plain(x) = conv3x3(bilinear x2 (x)),  zero padding                      x: (B, C, h, w)

Both are linear, and what they make of a pixel at half size is four pixels, each a 3x3 of the map at half size. So one
3x3 from C to 4 O channels gives the four phases (i, j) of pixels (2 y + i, 2 x + j), with as many multiplications as
the plain form (4 O at a quarter of the pixels), and the C channels are never stored at full size (the polyphase form
of interpolation: Bellanger et al., "Digital filtering by polyphase network", 1976; with a learnt kernel: Shi et al.,
"Real-Time Single Image Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network", CVPR 2016).

Along one axis, with u, v, w the taps of the 3x3 and x_k the pixels at half size:

    even rows   3/4 u + 1/4 v  on x_-1      1/4 u + 3/4 v + 3/4 w  on x_0                    1/4 w  on x_1
    odd rows    1/4 u          on x_-1      3/4 u + 3/4 v + 1/4 w  on x_0      1/4 v + 3/4 w  on x_1

At a border the resize repeats the last pixel and the 3x3 sees zeros, which no single kernel says: the 3x3 at half size
sees zeros too, and the outermost pixels get what is missing, (v - u) / 4 in even and u / 4 in odd rows at the top; the
same mirrored at the bottom, the left and the right, and both at once in the corners.

B images, C and O channels, h rows, w columns at half size.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from david.model.resize import exact_on

# Of a phase: the shares of the kernel's three taps on the pixel before, on its own and after; then what is missing at
# the beginning and at the end.
INSIDE = [[[3, 1, 0], [1, 3, 3], [0, 0, 1]], [[1, 0, 0], [3, 3, 1], [0, 1, 3]]]  # quarters
AT_ENDS = [[[-1, 1, 0], [1, 0, 0]], [[0, 0, 1], [0, 1, -1]]]
# Inside, on the rows at the ends, on the columns, in the corners: how many for each channel, as high and as wide.
KERNELS = ((4, 3, 3), (8, 1, 3), (8, 3, 1), (16, 1, 1))


def shares() -> torch.Tensor:
    """(100, 9) float32: of the 3x3's taps, for the 36 of the four phases' kernels, 24 of the rows at the ends, 24 of
    the columns, 16 of the corners. A constant."""
    inside, at_ends = (torch.tensor(one) / 4.0 for one in (INSIDE, AT_ENDS))
    parts = (
        torch.einsum("ipu,jqv->ijpquv", inside, inside),
        torch.einsum("eiu,jqv->eijquv", at_ends, inside),
        torch.einsum("fjv,ipu->fijpuv", at_ends, inside),
        torch.einsum("eiu,fjv->feijuv", at_ends, at_ends),
    )
    return torch.cat([part.reshape(-1, 9) for part in parts])


LEAST_CHANNELS = 64  # from which it pays on a CPU


def pays(x: torch.Tensor, size: torch.Size | tuple[int, int]) -> bool:
    """Whether phases are the faster way from x, (B, C, h, w), to `size`: only to exactly twice its own.

    A GPU waits for memory, of which they take a third. A CPU computes both alike forward; forward and backward 128
    channels took it 94 ms instead of 161, and 8 channels 71 instead of 48: there the ends cost more than they save. An
    export keeps the plain form, whose Resize and Conv every runtime knows."""
    double = tuple(size) == (2 * x.shape[2], 2 * x.shape[3])
    able = x.device.type == "cuda" or (x.device.type == "cpu" and x.shape[1] >= LEAST_CHANNELS)
    return double and able and not torch.compiler.is_exporting()


def doubled_3x3(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """(B, C, h, w), channels-last, weight (O, C, 3, 3) and bias (O,) to (B, 4 O, h, w): the phase is the slower of the
    two that channels count, in the order (0, 0), (0, 1), (1, 0), (1, 1).

    shares: what `shares` gives, on x's device. The kernels are made of `weight` in its own precision, and rounded to
    x's once."""
    with exact_on(x.device):
        return _Phases.apply(x, weight, bias, shares)  # pyright: ignore[reportReturnType]


def side_by_side(phases: torch.Tensor) -> torch.Tensor:
    """(B, 4 O, h, w), channels-last, to (B, O, h, 4 w): a view with the four pixels next to each other, for what looks
    at each pixel by itself. So that runs before the pixels are moved to where they belong, when there are few
    channels left to move."""
    b, channels, h, w = phases.shape
    return phases.permute(0, 2, 3, 1).reshape(b, h, 4 * w, channels // 4).permute(0, 3, 1, 2)


def shuffled(x: torch.Tensor) -> torch.Tensor:
    """(B, C, h, 4 w), as `side_by_side` has them, to (B, C, 2 h, 2 w)."""
    b, c, h, w = x.shape
    return x.reshape(b, c, h, w // 4, 2, 2).transpose(3, 4).reshape(b, c, 2 * h, w // 2)


class _Phases(torch.autograd.Function):
    """The 3x3 at half size, and at the ends what is missing. By hand, since autograd copies the whole gradient for each
    slice that was added to, and kernels and their gradients several times."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, shares: Any) -> torch.Tensor:
        inside, rows, columns, corners = kernels = _kernels(weight, shares, x.dtype)
        outer, sides = _ends(x, 2), _ends(x, 3)
        corner = _ends(outer, 3)
        ctx.save_for_backward(x, outer, sides, corner, shares, *kernels)
        four = torch.empty(4, len(bias), dtype=x.dtype, device=x.device).copy_(bias)
        said = F.conv2d(x, inside, four.view(-1), padding=1)
        more = F.conv2d(outer, rows, padding=(0, 1), groups=2)
        _add_ends(more, F.conv2d(corner, corners, groups=4), 3)
        _add_ends(said, more, 2)
        _add_ends(said, F.conv2d(sides, columns, padding=(1, 0), groups=2), 3)
        return said

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        g, (x, outer, sides, corner, shares, inside, rows, columns, corners) = gradients[0], ctx.saved_tensors
        of_x, of_inside, of_bias = _back(g, x, inside, (1, 1), 1, bias=True)
        outer_g = _ends(g, 2)
        of_outer, of_rows, _ = _back(outer_g, outer, rows, (0, 1), 2)
        of_corner, of_corners, _ = _back(_ends(outer_g, 3), corner, corners, (0, 0), 4)
        _add_ends(of_outer, of_corner, 3)
        _add_ends(of_x, of_outer, 2)
        of_side, of_columns, _ = _back(_ends(g, 3), sides, columns, (1, 0), 2)
        _add_ends(of_x, of_side, 3)
        of_weight = _kernels_back((of_inside, of_rows, of_columns, of_corners), shares)
        return of_x, of_weight, of_bias.view(4, -1).sum(0, dtype=shares.dtype), None


def _kernels(weight: torch.Tensor, shares: torch.Tensor, dtype: torch.dtype) -> list[torch.Tensor]:
    """(O, C, 3, 3) to the kernels of `KERNELS`, (n O, C, height, width) each, channels-last."""
    o, c = weight.shape[:2]
    all_taps = torch.bmm(shares.expand(o, -1, -1), weight.permute(0, 2, 3, 1).reshape(o, 9, c))  # (O, 100, C)
    made = []
    for part, (n, height, width) in zip(_parts(all_taps), KERNELS, strict=True):
        here = torch.empty(n, o, height, width, c, dtype=dtype, device=weight.device).copy_(part.transpose(0, 1))
        made.append(here.view(n * o, height, width, c).permute(0, 3, 1, 2))
    return made


def _kernels_back(gradients: tuple[torch.Tensor, ...], shares: torch.Tensor) -> torch.Tensor:
    """The kernels' gradients to that of the weight they are made of, (O, C, 3, 3)."""
    o, c = len(gradients[0]) // KERNELS[0][0], gradients[0].shape[1]
    all_taps = torch.empty(o, len(shares), c, dtype=shares.dtype, device=shares.device)
    for part, gradient, (n, *_) in zip(_parts(all_taps), gradients, KERNELS, strict=True):
        part.copy_(gradient.unflatten(0, (n, o)).permute(1, 0, 3, 4, 2))
    return torch.bmm(shares.T.expand(o, -1, -1), all_taps).view(o, 3, 3, c).permute(0, 3, 1, 2)


def _parts(all_taps: torch.Tensor) -> list[torch.Tensor]:
    """(O, 100, C) to views of the kernels' own taps, (O, n, height, width, C) each."""
    sizes = [n * height * width for n, height, width in KERNELS]
    return [one.unflatten(1, size) for one, size in zip(all_taps.split(sizes, dim=1), KERNELS, strict=True)]


def _ends(x: torch.Tensor, axis: int) -> torch.Tensor:
    """The first and the last pixels along an axis, one behind the other as channels: (B, 2 C, ...)."""
    return torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, x.shape[axis] - 1, 1)], 1)


def _add_ends(x: torch.Tensor, more: torch.Tensor, axis: int) -> None:
    """To the first and to the last pixels along an axis, which may be the same."""
    more = more.unflatten(1, (2, -1)).squeeze(1 + axis)  # (B, 2, C, the other axis)
    apart = x.shape[axis] - 1
    if apart == 0:
        more, apart = more.sum(1, keepdim=True), 1
    ends = x[:, :, ::apart] if axis == 2 else x[..., ::apart]
    ends.add_(more.movedim(1, axis))


def _back(
    g: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, padding: tuple[int, int], groups: int, bias: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of a convolution's input, weight and bias."""
    return torch.ops.aten.convolution_backward(
        g, x, weight, [g.shape[1]] if bias else None, (1, 1), padding, (1, 1), False, (0, 0), groups, (True, True, bias)
    )
