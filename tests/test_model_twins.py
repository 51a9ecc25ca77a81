"""The network's parts against slow twins that follow the papers' words."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from david.model import build
from david.model.heads.table import HEADS
from david.model.networks.decoder import Decoder
from david.model.networks.reassemble import Reassemble
from david.pack.lazy import load


def enlarge(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear, pixel by pixel: the value at a pixel's centre, clamped at the border."""
    height, width = x.shape[-2:]
    out = x.new_zeros(*x.shape[:2], *size)
    for i in range(size[0]):
        for j in range(size[1]):
            v = min(max((i + 0.5) * height / size[0] - 0.5, 0), height - 1)
            u = min(max((j + 0.5) * width / size[1] - 0.5, 0), width - 1)
            top, left = int(v), int(u)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = x[..., top, left] * (1 - (u - left)) + x[..., top, right] * (u - left)
            lower = x[..., bottom, left] * (1 - (u - left)) + x[..., bottom, right] * (u - left)
            out[..., i, j] = upper * (1 - (v - top)) + lower * (v - top)
    return out


def shaken(module: torch.nn.Module) -> Any:
    """With all parameters drawn, biases too: they begin at zero, where they would hide a mistake."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


def unit(block: Any, x: torch.Tensor) -> torch.Tensor:
    """DPT's residual unit: pre-activation, two 3x3."""
    return x + block.conv2(F.relu(block.conv1(F.relu(x))))


def fuse(block: Any, x: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
    x = enlarge(unit(block.refine, x), (fine.shape[2], fine.shape[3]))
    return block.mix(torch.cat([x, fine], dim=1))


@pytest.fixture(autouse=True)
def exact():
    """In float64, so that what differs is wrong and not rounded."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_reassemble_reads_the_class_token_into_each_patch_and_lays_patches_out_row_by_row():
    """DPT, section 3.1 and supplement A: concatenate, project, GELU; row-major patches; 4, 2, 1 and 1/2 times."""
    channels, grid, width = 6, (3, 2), 5
    reassemble = shaken(Reassemble(channels, grid, (4, 3, 2, 7), width))
    taps = [(torch.randn(2, 6, channels), torch.randn(2, 1, channels)) for _ in range(4)]
    for tap, (patches, cls), out in zip(reassemble.taps, taps, reassemble(taps), strict=True):
        image = torch.zeros(2, channels, *grid)
        for b in range(2):
            for row in range(grid[0]):
                for column in range(grid[1]):
                    both = torch.cat([patches[b, row * grid[1] + column], cls[b, 0]])
                    image[b, :, row, column] = F.gelu(tap.readout(both))
        torch.testing.assert_close(out, tap.widen(tap.scale(tap.project(image))))
    assert [tuple(out.shape[2:]) for out in reassemble(taps)] == [(12, 8), (6, 4), (3, 2), (2, 1)]


def test_decoder_adds_refines_enlarges_concatenates_and_mixes():
    """Deepest first; taps and the resizer's maps of sizes that divide nothing."""
    decoder = shaken(Decoder(4))
    taps = [torch.randn(2, 4, size, size) for size in (12, 6, 3, 2)]
    fine = [torch.randn(2, 4, *size) for size in ((13, 9), (7, 5), (4, 3), (2, 2))]
    x = fuse(decoder.fusions[3], taps[3], fine[3])
    for level in (2, 1, 0):
        lateral = enlarge(unit(decoder.laterals[level], taps[level]), (x.shape[2], x.shape[3]))
        x = fuse(decoder.fusions[level], x + lateral, fine[level])
    torch.testing.assert_close(decoder(taps, fine)[0], x)


ACTIVATIONS = {
    "linear": lambda x: x,
    "softplus": lambda x: x.exp().log1p(),
    "tanh": lambda x: 1 - 2 / ((2 * x).exp() + 1),
}


@pytest.mark.parametrize(("name", "ends"), [(name, end) for name, head in HEADS.items() for end in head.activations])
def test_head_goes_to_full_size_between_its_convolutions(name, ends):
    head = shaken(load(HEADS[name].module)(HEADS[name].channels, 6, (5, 4), ends))
    features = torch.randn(2, 6, 4, 3)
    x = F.relu(head.refine(enlarge(head.narrow(features), (8, 5))))
    raw = torch.einsum("oi,bihw->bohw", head.last.weight[:, :, 0, 0], x) + head.last.bias.view(-1, 1, 1)
    ended = ACTIVATIONS[ends](raw)
    expected = ended / ended.norm(dim=1, keepdim=True) if name == "normals" else ended
    torch.testing.assert_close(head(features, torch.Size((8, 5))).double(), expected, atol=1e-5, rtol=1e-5)


def test_backbone_reads_whole_blocks_without_the_final_norm():
    backbone = build("david-smoke", taps=(1, 2, 4, 5)).float().backbone
    image = torch.randn(1, 3, 128, 128, dtype=torch.float32)
    vit, x = backbone.vit, backbone.vit._pos_embed(backbone.vit.patch_embed(image))
    seen = []
    for block in vit.blocks:
        x = block(x)
        seen.append(x)
    assert len(seen) == 6
    for (patches, cls), block in zip(backbone(image), (1, 2, 4, 5), strict=True):
        assert torch.equal(cls, seen[block][:, :1])
        assert torch.equal(patches, seen[block][:, 1:])


def test_resizer_halves_rounding_up():
    resizer = build("david-smoke").float().resizer
    maps = resizer(torch.randn(1, 3, 37, 64, dtype=torch.float32))
    assert [tuple(m.shape[2:]) for m in maps] == [(19, 32), (10, 16), (5, 8), (3, 4)]
    assert all((m >= 0).all() for m in maps)
