"""Which of torch's kernels computes the ViT's attention on a GPU: named by the recipe, or found by trying each once.

Which is the fastest differs between cards, and with the number of tokens: so it is measured, at the size at hand,
forward and backward. A CPU has no choice worth a measurement, and torch makes it.

B images of a rank's micro-batch, K heads, N tokens, D channels of a head.
"""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from david.model.networks.network import Network
from david.pack.errors import DavidError
from david.train.distributed import World
from david.train.recipe import Recipe
from david.train.step.precision import half_precision, name_of

KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
TURNS = 5  # of which the fastest counts; one before them, to warm up


@dataclass(frozen=True)
class Size:
    """(B, K, N, D) of the queries, keys and values; dtype: what they are computed in"""

    shape: tuple[int, int, int, int]
    dtype: torch.dtype


def only(kernel: SDPBackend | None) -> AbstractContextManager:
    """Meanwhile attention is computed by this kernel alone; by torch's own choice where that is None."""
    return nullcontext() if kernel is None else sdpa_kernel(kernel)


def require(recipe: Recipe, device: torch.device) -> None:
    """Raise DavidError where the recipe names a kernel and the device is a CPU."""
    if recipe.attention != "auto" and device.type != "cuda":
        raise DavidError(
            f"recipe: attention is {recipe.attention}, a kernel of GPUs, and this is a {device.type}; leave it out, or "
            "give --set attention=auto"
        )


def settled(
    recipe: Recipe,
    network: Network,
    world: World,
    tell: Callable[[str], None],
    time_ms: "Callable[[SDPBackend, Size, torch.device], float] | None" = None,
) -> SDPBackend | None:
    """The kernel that the recipe's `attention` means here, the same on every rank; None on a CPU.

    tell: hears what was measured, in a sentence; time_ms: see `measured_ms`, in whose place it stands. Raises
    DavidError where the recipe names a kernel and the device is a CPU, or none of them can compute this size."""
    require(recipe, world.device)
    if world.device.type != "cuda":
        return None
    if recipe.attention != "auto":
        return KERNELS[recipe.attention]
    size = size_of(recipe, network, world)
    spent = []
    for kernel in KERNELS.values():
        try:
            spent.append((time_ms or measured_ms)(kernel, size, world.device))
        except RuntimeError:  # it has no kernel for this size or this card, or not the memory
            spent.append(math.inf)
    mine = torch.tensor(spent, dtype=torch.float64, device=world.device)
    slowest = world.gather(mine).amax(0).tolist()
    ms = dict(zip(KERNELS, slowest, strict=True))
    fastest = min(ms, key=lambda name: ms[name])
    if ms[fastest] == math.inf:
        raise DavidError(
            f"attention: none of {', '.join(KERNELS)} can compute {told(size)} here; take a smaller micro_batch"
        )
    each = ", ".join(f"{name} {one:.2f} ms" if one < math.inf else f"{name} can't" for name, one in ms.items())
    tell(f"attention: {fastest}, the fastest here for {told(size)}, forward and backward: {each}")
    return KERNELS[fastest]


def told(size: Size) -> str:
    images, heads, tokens, channels = size.shape
    return f"{images} images of {tokens} tokens, {heads} heads of {channels} in {name_of(half(size.dtype))}"


def half(dtype: torch.dtype) -> torch.dtype | None:
    return None if dtype == torch.float32 else dtype


def size_of(recipe: Recipe, network: Network, world: World) -> Size:
    """What a rank's step computes at once."""
    vit = network.backbone.vit
    share = math.ceil(recipe.batch_size / world.size)
    heads = vit.blocks[0].attn.num_heads
    dtype = half_precision(recipe.precision, world.device) or torch.float32
    tokens = network.backbone.tokens(recipe.data.height, recipe.data.width)
    return Size((min(recipe.micro_batch or share, share), heads, tokens, vit.embed_dim // heads), dtype)


def measured_ms(kernel: SDPBackend, size: Size, device: torch.device) -> float:
    """Milliseconds of one attention, forward and backward, on a GPU. Raises RuntimeError where the kernel can't."""
    q, k, v = (torch.randn(size.shape, dtype=size.dtype, device=device, requires_grad=True) for _ in range(3))
    best = math.inf
    with sdpa_kernel(kernel):
        for turn in range(1 + TURNS):
            torch.cuda.synchronize(device)
            begin = time.perf_counter()
            F.scaled_dot_product_attention(q, k, v).sum().backward()
            torch.cuda.synchronize(device)
            if turn:
                best = min(best, 1e3 * (time.perf_counter() - begin))
    return best
