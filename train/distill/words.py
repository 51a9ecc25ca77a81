"""Philox4x32-10 in torch, where the counters are on the device: the words of `pipeline/sampling/philox.py`.

A step asks the device for nothing, and so can't know which samples it has. B samples.
"""

import torch

from david.pipeline.sampling.philox import ROUNDS

MULTIPLIERS, WEYL = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)
MASK = 0xFFFFFFFF


def words(seed: int, first: torch.Tensor, second: int, third: torch.Tensor, fourth: int) -> torch.Tensor:
    """Four random words for each counter. first, third: (B,) int64 below 2**32; second, fourth: likewise, the same for
    all. Returns (4, B) int64 of values below 2**32."""
    c0, c1, c2, c3 = first, torch.full_like(first, second), third, torch.full_like(first, fourth)
    k0, k1 = seed & MASK, seed >> 32
    for _ in range(ROUNDS):
        (high_0, low_0), (high_1, low_1) = product(c0, MULTIPLIERS[0]), product(c2, MULTIPLIERS[1])
        c0, c1, c2, c3 = high_1 ^ c1 ^ k0, low_1, high_0 ^ c3 ^ k1, low_0
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return torch.stack([c0, c1, c2, c3])


def product(x: torch.Tensor, factor: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The upper and the lower half of 64 bits, by halves of x, as int64 has a sign."""
    low = (x & 0xFFFF) * factor
    middle = (x >> 16) * factor + (low >> 16)
    return middle >> 16, (middle & 0xFFFF) << 16 | low & 0xFFFF


def below(word: torch.Tensor, count: int) -> torch.Tensor:
    """A word as a whole number 0 .. count - 1, all as likely but for 2**-32 of `count`."""
    return word * count >> 32
