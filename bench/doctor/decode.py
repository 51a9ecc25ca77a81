"""A batch on each device, against the slow twin of the pipeline (`pipeline/reference.py`)."""

import time
from typing import Any

from david.bench.doctor import devices
from david.bench.doctor.check import Asked, Said
from david.bench.doctor.drawn import drawn
from david.pack.errors import DavidError

BATCH, HEIGHT, WIDTH, SEED, STEP = 4, 96, 72, 5, 1
SMOOTH = ("image", "targets.alpha.value")  # what is resampled, and so rounded
OFF_BY = {"cpu": 2, "gpu": 8}  # steps of 255 of an image by who decodes it: resized and coloured; by nvJPEG too


def on_cpu(asked: Asked) -> Said:
    return Said(f"a batch is the slow twin's, {_compared('cpu', 'cpu'):.1f} s to the first")


def on_gpu(asked: Asked) -> Said:
    """Both ways to a batch on a GPU."""
    if not devices.present(asked):
        return devices.not_needed(asked)
    told = [f"decoded by the {by.upper()} {_compared('cuda', by):.1f} s to the first" for by in OFF_BY]
    return Said(f"batches are the slow twin's: {', '.join(told)}")


def _compared(device: str, by: Any) -> float:
    """Seconds to the first batch. by: who decodes. Raises DavidError where it is not the twin's."""
    from david.pipeline import reference
    from david.pipeline.config import DataConfig
    from david.pipeline.loader import Loader

    how: dict[str, Any] = {"batch_size": BATCH, "seed": SEED}
    with drawn() as shards:
        config = DataConfig(height=HEIGHT, width=WIDTH, threads=2, prefetch=1, decode=by)
        begin = time.perf_counter()
        with Loader(shards, "train", config, device=device, start=STEP, **how) as loader:
            batch = next(loader).to("cpu")
        first_s = time.perf_counter() - begin
        twin = reference.batch(shards, "train", config, step=STEP, **how)
    require_same(batch.tensors(), twin.tensors(), OFF_BY[by])
    return first_s


def require_same(made: dict[str, Any], expected: dict[str, Any], off_by: int) -> None:
    """Raise DavidError where a batch differs from its twin: the smooth fields by more than rounding, others at all."""
    for name, one in expected.items():
        if name in SMOOTH:
            apart = int((made[name].int() - one.int()).abs().max())
            if apart > off_by:
                raise DavidError(f"{name} differs from the slow twin's by {apart} of 255, where {off_by} is rounding")
        elif not made[name].equal(one) and not _both_nan(made[name], one):
            share = float((made[name] != one).float().mean())
            raise DavidError(f"{name} differs from the slow twin's in {share:.2%} of its values")


def _both_nan(a: Any, b: Any) -> bool:
    return a.is_floating_point() and a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())
