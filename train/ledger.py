"""What was trained on, step by step, as hashes that whoever knows the order can compute again."""

import hashlib
from typing import Any

import numpy as np


def entry(step: int, ids: np.ndarray, epochs: np.ndarray, real: np.ndarray) -> dict[str, Any]:
    """The ledger's line of one optimiser step.

    ids, epochs: (N,) int64 of the whole global batch, in its order over all ranks; real: (N,) bool. `sha256` is over
    the little-endian int64 pairs (epoch, id) of the real samples, so neither ranks nor padding change it.
    """
    pairs = np.stack([epochs[real], ids[real]], axis=1).astype("<i8")
    return {"step": step, "epoch": int(pairs[:, 0].min()), "samples": len(pairs), "sha256": _hash(pairs)}


def _hash(pairs: np.ndarray) -> str:
    return hashlib.sha256(pairs.tobytes()).hexdigest()
