"""AdamW with a rate for each kind of parameter, and the schedule as a pure function of the step."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from david.pack.errors import DavidError

BACKBONE = "backbone."  # what the names of the backbone's parameters begin with


@dataclass(frozen=True)
class OptimConfig:
    """AdamW (Loshchilov and Hutter, ICLR 2019) and its schedule.

    rate: peak learning rate of everything but the backbone
    backbone_scale: the backbone's rate as a share of `rate`; a tenth is usual when a pretrained ViT gets a new decoder
        (Depth Anything V2's and ZoeDepth's training code)
    weight_decay: on weights of two and more dimensions; norms, biases, tokens and position embeddings go without
    warmup: steps of linear growth from 0 to the full rate
    final: where the cosine ends, as a share of the full rate
    clip: largest norm of the whole gradient
    """

    rate: float = 1e-4
    backbone_scale: float = 0.1
    weight_decay: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.999
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: int = 1000
    final: float = 0.01
    clip: float = 1.0

    def __post_init__(self) -> None:
        for name in ("rate", "clip"):
            if not getattr(self, name) > 0:
                raise DavidError(f"recipe: optim.{name} is {getattr(self, name)}; it must be above 0")
        for name in ("backbone_scale", "weight_decay", "warmup", "final"):
            if getattr(self, name) < 0:
                raise DavidError(f"recipe: optim.{name} is {getattr(self, name)}; it must be 0 or more")


def cosine(progress: float, final: float) -> float:
    """From 1 at progress 0 to `final` at 1 (Loshchilov and Hutter, "SGDR", ICLR 2017, eq. 5)."""
    return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2


def constant(progress: float, final: float) -> float:
    return 1.0


SCHEDULES = {"cosine": cosine, "constant": constant}


def rate_factor(step: int, steps: int, config: OptimConfig) -> float:
    """What every rate is multiplied with at `step` (1 is the first) of a schedule of `steps`; past its end, `final`."""
    if step < config.warmup:
        return step / config.warmup
    progress = (step - config.warmup) / max(1, steps - config.warmup)
    return SCHEDULES[config.schedule](min(1.0, progress), config.final)


def is_decayed(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: not to norms and biases (one dimension), nor to tokens and position embeddings."""
    return parameter.ndim > 1 and not name.endswith(("pos_embed", "cls_token", "reg_token"))


def groups(network: nn.Module, config: OptimConfig) -> list[dict]:
    """The optimiser's parameter groups; `full_rate` is what the schedule's factor multiplies."""
    members: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            members.setdefault((name.startswith(BACKBONE), is_decayed(name, parameter)), []).append(parameter)
    return [
        {
            "params": parameters,
            "full_rate": config.rate * (config.backbone_scale if in_backbone else 1.0),
            "weight_decay": config.weight_decay if decayed else 0.0,
        }
        for (in_backbone, decayed), parameters in members.items()
    ]


def adamw(network: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """Fused: one kernel for all parameters, and a step that `found_inf` turns into none without asking the host."""
    return torch.optim.AdamW(groups(network, config), lr=config.rate, betas=(config.beta1, config.beta2), fused=True)


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = group["full_rate"] * factor
