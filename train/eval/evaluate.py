"""A split's metrics: each sample once, whatever the ranks."""

from collections.abc import Iterable

import torch
from torch import nn

from david.pipeline.batch import Batch
from david.train.distributed import World
from david.train.eval.metrics import metrics


@torch.inference_mode()
def evaluate(network: nn.Module, batches: Iterable[Batch], world: World) -> dict[str, float]:
    """The mean over images of each metric, on every rank the same; `samples` is their number.

    batches: this rank's, as many as any other rank's; samples that are not real count nothing. The network is left in
    the mode that it was in.
    """
    was_training = network.training
    network.eval()
    sums: dict[str, torch.Tensor] = {}  # of the values and of their number, (2,) float64
    for batch in batches:
        found = metrics(network(batch.image), batch) | {"samples": torch.ones(len(batch), device=batch.real.device)}
        for name, values in found.items():
            counted = batch.real & ~values.isnan()
            pair = torch.stack([torch.where(counted, values, 0).double().sum(), counted.double().sum()])
            sums[name] = sums[name] + pair if name in sums else pair
    network.train(was_training)
    totals = dict(zip(sums, world.sum(torch.stack(list(sums.values()))).tolist(), strict=True))
    counted_samples: dict[str, float] = {"samples": int(totals.pop("samples")[0])}
    return counted_samples | {name: value / count for name, (value, count) in totals.items() if count}
