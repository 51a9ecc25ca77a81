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
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, distribute_tensor

from david.model.networks.network import Network
from david.train.distributed import World, whole
from david.train.step.compiled import Compiler
from david.train.tasks.task import Task


def share_out(network: Network, task: Task, world: World, half: torch.dtype | None) -> tuple[FSDPModule, FSDPModule]:
    """Share out, in place, the parameters of the network and of its task; those two come back.

    half: what the network computes in under autocast, None for float32. The attention and the perceptron of each of the
    ViT's blocks, most of all there is to send, are then gathered in it, as autocast would make the same of them; norms
    and the rest stay float32, as autocast leaves them. Gradients are summed in float32."""
    network.to(memory_format=torch.contiguous_format)  # parts of channels-last weights FSDP2 has not; images stay so
    mesh = init_device_mesh(world.device.type, (world.size,))
    blocks = list(network.backbone.vit.blocks)
    if half is not None:
        gathered_in = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32, cast_forward_inputs=False)
        for part in (part for block in blocks for part in block.children() if multiplies(part)):
            fully_shard(part, mesh=mesh, mp_policy=gathered_in)
    for block in blocks:
        fully_shard(block, mesh=mesh)
    shared = fully_shard(network, mesh=mesh), fully_shard(task, mesh=mesh)
    register_fsdp_forward_method(task, "total")  # computes with its parameters too
    return shared


def compile_parts(network: Network, compiler: Compiler) -> None:
    """Let what is gathered by itself, and each part of the network that is gathered with the whole, be a graph by
    itself: the hooks that gather are no part of a graph."""
    if not compiler.on:
        return
    for block in network.backbone.vit.blocks:
        inner = [part for part in block.children() if issubclass(type(part), FSDPModule)]
        for part in inner or [block]:
            part.forward = compiler(part.forward)
    for part in network.children():
        if part is not network.backbone:
            for each in part.children() if isinstance(part, nn.ModuleDict) else [part]:
                each.forward = compiler(each.forward)


def multiplies(module: nn.Module) -> bool:
    """Whether it is called as one and has a matrix in it. A list of modules is not called, and FSDP2 refuses it."""
    return not isinstance(module, nn.ModuleList) and any(isinstance(inner, nn.Linear) for inner in module.modules())


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
