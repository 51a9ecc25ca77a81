"""AdamW with a rate for each kind of parameter; `schedule.py` says how rates change with the step."""

from dataclasses import replace

import torch
from torch import nn

from david.train.config import OptimConfig

BACKBONE = "backbone."  # what the names of the backbone's parameters begin with


def is_decayed(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: not to norms and biases (one dimension), nor to tokens and position embeddings."""
    return parameter.ndim > 1 and not name.endswith(("pos_embed", "cls_token", "reg_token"))


def rate_scales(network: nn.Module, config: OptimConfig) -> dict[str, float]:
    """Each parameter's rate as a share of `config.rate`, by name."""
    scales = {
        name: config.backbone_scale if name.startswith(BACKBONE) else 1.0 for name, _ in network.named_parameters()
    }
    if config.layer_decay == 1:
        return scales
    from david.model.layers import layer_ids  # only here: it brings timm, two seconds that a list of recipes can spare

    layers = layer_ids(network)
    return {name: scale * config.layer_decay ** (max(layers.values()) - layers[name]) for name, scale in scales.items()}


def groups(network: nn.Module, config: OptimConfig) -> list[dict]:
    """The optimiser's parameter groups; `full_rate` is what the schedule's factor multiplies."""
    scales = rate_scales(network, config)
    members: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            members.setdefault((scales[name], is_decayed(name, parameter)), []).append(parameter)
    return [
        {
            "params": parameters,
            "full_rate": config.rate * scale,
            "weight_decay": config.weight_decay if decayed else 0.0,
        }
        for (scale, decayed), parameters in members.items()
    ]


def adamw(network: nn.Module, config: OptimConfig, task: nn.Module | None = None) -> torch.optim.AdamW:
    """Fused: one kernel for all parameters, and a step that `found_inf` turns into none without asking the host.

    task: has parameters too, perhaps; they learn at the full rate, whatever its layers"""
    own = groups(task, replace(config, layer_decay=1.0)) if task is not None else []
    every = [*groups(network, config), *own]
    return torch.optim.AdamW(every, lr=config.rate, betas=(config.beta1, config.beta2), fused=True)


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = group["full_rate"] * factor
