"""Parameters shared out over ranks: FSDP2 (torch's `fully_shard`), for networks whose optimiser state is too large.

Each rank holds an n-th of every parameter, gradient and moment; the ViT's blocks are gathered one at a time where they
are needed (Rajbhandari et al., "ZeRO", SC 2020, stage 3; Zhao et al., "PyTorch FSDP", VLDB 2023). What leaves for
the disk is whole, so a checkpoint knows nothing of ranks.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from david.model.network import Network
from david.train.distributed import World


def share_out(network: Network, balance: nn.Module, world: World) -> None:
    """Share out, in place, the parameters of the network and of the weights of its tasks."""
    network.to(memory_format=torch.contiguous_format)  # parts of channels-last weights FSDP2 has not; images stay so
    mesh = init_device_mesh(world.device.type, (world.size,))
    for module in (*network.backbone.vit.blocks, network, balance):
        fully_shard(module, mesh=mesh)


@contextmanager
def gathered(network: nn.Module) -> Iterator[None]:
    """Meanwhile every rank has the parameters whole and may compute by itself. All ranks enter and leave together."""
    parts = [module for module in network.modules() if isinstance(module, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
            part.set_reshard_after_forward(part is not network, recurse=False)  # the whole: where its backward ends


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself, or all of one that is shared out: then all ranks ask for it together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def laid_out_as(model: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """A whole `value` with the strides and on the device of `model`, and shared out as it is."""
    if isinstance(model, DTensor):
        value = value.to(model.device)
        return distribute_tensor(value, model.device_mesh, model.placements, src_data_rank=None)
    return torch.empty_like(model).copy_(value)


def join(groups: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
    """On ranks that write nothing: be there while the one that does gathers these tensors, in the same order."""
    for tensors in groups.values():
        for tensor in tensors.values():
            whole(tensor)
