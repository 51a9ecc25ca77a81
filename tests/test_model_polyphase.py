"""Resizing and the heads' end in fewer bytes: the same numbers and gradients as the plain forms."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from david.model.heads.alpha import AlphaLogits
from david.model.heads.dense import DenseHead
from david.model.heads.normals import SHORTEST, UnitNormals, unit
from david.model.polyphase import LEAST_CHANNELS, doubled_3x3, pays, shares, shuffled, side_by_side
from david.model.resize import _halved, _Resize, resize, spread_back
from tests.smallest import network

LAST = torch.channels_last
few = settings(max_examples=25, deadline=None, derandomize=True)


def near(a: torch.Tensor, b: torch.Tensor, share: float = 1e-5) -> bool:
    """Within a share of the largest."""
    return a.shape == b.shape and bool((a - b).abs().max() <= share * b.abs().max().clamp(min=1e-3))


def plain(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return F.conv2d(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False), weight, bias, padding=1)


def phases(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return shuffled(side_by_side(doubled_3x3(x, weight, bias, shares().to(weight.dtype))))


def some(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype).requires_grad_()


@few
@given(st.integers(1, 2), st.integers(1, 6), st.integers(1, 5), st.integers(1, 11), st.integers(1, 11), st.booleans())
def test_four_phases_are_the_plain_form(b: int, c: int, o: int, h: int, w: int, last: bool) -> None:
    torch.manual_seed(b + 7 * h + 97 * w)
    x, weight, bias = some(b, c, h, w), some(o, c, 3, 3), some(o)
    x = x.detach().contiguous(memory_format=LAST if last else torch.contiguous_format).requires_grad_()
    expected, found = plain(x, weight, bias), phases(x, weight, bias)
    gradient = torch.randn_like(expected)
    assert near(found, expected)
    for a, e in zip(*(torch.autograd.grad(y, (x, weight, bias), gradient) for y in (found, expected)), strict=True):
        assert near(a, e)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 1)])
def test_the_gradient_of_four_phases_is_that_of_differences(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    given_ = some(1, 2, *size, dtype=torch.float64), some(2, 2, 3, 3, dtype=torch.float64), some(2, dtype=torch.float64)
    assert torch.autograd.gradcheck(phases, given_)


@few
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 20), st.integers(1, 20), st.booleans())
def test_what_a_resize_gathers_is_what_torch_adds(h: int, w: int, high: int, wide: int, last: bool) -> None:
    torch.manual_seed(h + 10 * w + 100 * high)
    for size in ((high, wide), (2 * h, 2 * w), (h, wide)):
        x = some(2, 3, h, w)
        expected = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        found = _Resize.apply(x, size)
        assert isinstance(found, torch.Tensor) and found.equal(expected)
        gradient = torch.randn_like(expected).contiguous(memory_format=LAST if last else torch.contiguous_format)
        wanted = torch.autograd.grad(expected, x, gradient)[0]
        assert near(torch.autograd.grad(found, x, gradient)[0], wanted)
        if size == (2 * h, 2 * w):
            assert near(_halved(_halved(gradient, 2), 3), wanted)  # as compiled


def test_the_gradient_of_a_resize_is_that_of_differences() -> None:
    x = some(1, 2, 3, 2, dtype=torch.float64)
    for size in ((6, 4), (4, 5), (1, 1)):
        assert torch.autograd.gradcheck(lambda x, size=size: _Resize.apply(x, size), x)


def test_a_resize_keeps_its_precision_under_autocast() -> None:
    x = torch.randn(1, 4, 3, 3, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert resize(x, (6, 6)).dtype == _Resize.apply(x, (6, 6)).dtype == torch.bfloat16  # pyright: ignore
    assert spread_back(torch.randn(1, 4, 6, 6, dtype=torch.bfloat16), (3, 3)).dtype == torch.bfloat16


def as_before(head: DenseHead, features: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return head.say(head.refine(F.interpolate(head.narrow(features), size=size, mode="bilinear")).relu())


@pytest.mark.parametrize("kind", [AlphaLogits, UnitNormals])
@pytest.mark.parametrize("size", [(10, 8), (9, 8), (2, 2)])
def test_a_head_says_what_it_said(kind: type[DenseHead], size: tuple[int, int]) -> None:
    """At twice the map's size, where it goes by phases, and at odd sizes, where it does not."""
    torch.manual_seed(1)
    head = kind(3 if kind is UnitNormals else 1, 6, (LEAST_CHANNELS, 4)).to(memory_format=LAST)
    assert pays(torch.ones(1, LEAST_CHANNELS, 5, 4), size) == (size == (10, 8))
    features = torch.randn(2, 6, -(-size[0] // 2), -(-size[1] // 2)).contiguous(memory_format=LAST).requires_grad_()
    found, expected = head(features, torch.Size(size)), as_before(head, features, size)
    assert near(found, expected) and found.dtype == torch.float32
    gradient = torch.randn_like(expected)
    ways = (torch.autograd.grad(y, (features, *head.parameters()), gradient) for y in (found, expected))
    assert all(near(a, e) for a, e in zip(*ways, strict=True))
    assert set(head.state_dict()) == {
        f"{name}.{kind}" for name in ("narrow", "refine", "last") for kind in ("weight", "bias")
    }
    with torch.autocast("cpu", torch.bfloat16):
        assert near(head(features, torch.Size(size)), expected, 0.1)


def test_unit_vectors_are_torchs_and_so_are_their_gradients():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64, generator=g)
    x[0, :, 0] *= 1e-6  # shorter than what is divided by
    x[0, :, 1] = 0
    pull = torch.randn(x.shape, dtype=torch.float64, generator=g)
    found, wanted = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours, torchs = unit(found), torch.nn.functional.normalize(wanted, dim=1, eps=SHORTEST)
    torch.testing.assert_close(ours, torchs, rtol=1e-12, atol=0)
    for one in (ours, torchs):
        (one * pull).sum().backward()
    torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-12, atol=1e-9)


def test_a_compiled_resize_scatters_nothing() -> None:
    """In the graph that torch.compile is given to make kernels of: no accumulating `index_put`, which torch's own
    backward becomes."""
    from torch._dynamo.backends.common import aot_autograd

    seen: list[str] = []

    def look(graph: torch.fx.GraphModule, inputs: object) -> object:
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    x = some(1, 4, 3, 5)
    compiled = torch.compile(lambda x: resize(x, (6, 10)) * 2, backend=aot_autograd(fw_compiler=look, bw_compiler=look))
    gradient = torch.randn(1, 4, 6, 10)
    found = torch.autograd.grad(compiled(x), x, gradient)[0]
    assert near(found, torch.autograd.grad(resize(x, (6, 10)) * 2, x, gradient)[0])
    assert seen and not any("index_put" in name or "upsample_bilinear2d_backward" in name for name in seen)


def test_maps_stay_channels_last_all_the_way() -> None:
    """What each layer behind the ViT is given and gives: another layout would be copied, by each convolution."""
    odd: list[str] = []

    def look(name: str, tensors: tuple[object, ...]) -> None:
        maps = [one for one in tensors if isinstance(one, torch.Tensor) and one.ndim == 4]
        odd.extend(name for one in maps if not one.is_contiguous(memory_format=LAST))

    net = copy.deepcopy(network()).to(memory_format=LAST)
    for name, module in net.named_modules():
        if name and not name.startswith("backbone") and not isinstance(module, DenseHead):
            module.register_forward_hook(lambda _, given_, out, name=name: look(name, (*given_, out)))
    image = torch.zeros(2, 3, 48, 32, dtype=torch.uint8).contiguous(memory_format=LAST)
    net(image)
    with torch.autocast("cpu", torch.bfloat16):
        net(image)
    assert not odd
