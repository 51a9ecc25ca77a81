"""Philox4x32-10: random words as a function of a counter and a key.

Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011, section 3.3. All chance of this
room comes from here, so that any word can be had at any time, in any order, on any machine, without a state.
"""

import numpy as np

ROUNDS = 10
_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = 0x9E3779B9, 0xBB67AE85
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox4x32(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Four random words for each counter: (..., 4) of values below 2**32, and a key of two, to (..., 4) uint32."""
    c0, c1, c2, c3 = np.moveaxis(np.asarray(counter, np.uint64), -1, 0)
    k0, k1 = key
    for _ in range(ROUNDS):
        product_0, product_1 = c0 * _MULTIPLIER_0, c2 * _MULTIPLIER_1
        c0, c1 = (product_1 >> _HALF) ^ c1 ^ np.uint64(k0), product_1 & _LOW
        c2, c3 = (product_0 >> _HALF) ^ c3 ^ np.uint64(k1), product_0 & _LOW
        k0, k1 = (k0 + _WEYL_0) & 0xFFFFFFFF, (k1 + _WEYL_1) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def words(seed: int, *counter: int | np.ndarray) -> np.ndarray:
    """Four random words at each of the four-part counters, whose parts broadcast: (..., 4) uint32.

    seed: 0 .. 2**64 - 1, the key; counter: four parts, each below 2**32."""
    parts = np.broadcast_arrays(*(np.asarray(part, np.uint64) for part in counter))
    return philox4x32(np.stack(parts, axis=-1), (seed & 0xFFFFFFFF, seed >> 32))
