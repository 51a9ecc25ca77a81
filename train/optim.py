"""AdamW with a rate for each kind of parameter; `schedule.py` says how rates change with the step."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from david.pack.errors import DavidError

BACKBONE = "backbone."  # what the names of the backbone's parameters begin with


@dataclass(frozen=True)
class OptimConfig:
    """AdamW (Loshchilov and Hutter, ICLR 2019), its schedule, and the average of its weights.

    rate: peak learning rate of everything but the backbone
    backbone_scale: the backbone's rate as a share of `rate`; a tenth is usual when a pretrained ViT gets a new decoder
        (Depth Anything V2's and ZoeDepth's training code)
    layer_decay: the rate falls by this factor with each layer of the ViT towards the image, its last block having one
        factor (ELECTRA, Clark et al., ICLR 2020; BEiT, Bao et al., ICLR 2022); 1 for none
    frozen_backbone: leave the backbone as it is: no gradient, no decay, evaluation mode
    weight_decay: on weights of two and more dimensions; norms, biases, tokens and position embeddings go without
    schedule: see `schedule.py`; cosine, polynomial and one_cycle end with the recipe's `steps`
    warmup: steps of growth to the full rate: linear from 0; for one_cycle its rise, a cosine from `start`
    final: where cosine, polynomial and one_cycle end, as a share of the full rate
    milestones, every, gamma: of schedule=step: the rate is multiplied by gamma after each of these steps, or every
        so many; give one of the two
    power: of schedule=polynomial
    start: where one_cycle begins, as a share of the full rate
    clip: largest norm of the whole gradient
    average: decay of the moving average of the weights that is measured and pictured in place of the weights
        themselves, see `average.py`; 0 for none
    average_warmup: let that decay grow from 2 / 11, so that a short run's average forgets where it began
    """

    rate: float = 1e-4
    backbone_scale: float = 0.1
    layer_decay: float = 1.0
    frozen_backbone: bool = False
    weight_decay: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.999
    schedule: Literal["cosine", "constant", "step", "polynomial", "one_cycle"] = "cosine"
    warmup: int = 1000
    final: float = 0.01
    milestones: tuple[int, ...] = ()
    every: int | None = None
    gamma: float = 0.1
    power: float = 1.0
    start: float = 0.04
    clip: float = 1.0
    average: float = 0.0
    average_warmup: bool = True

    def __post_init__(self) -> None:
        def refuse(name: str, expected: str) -> DavidError:
            return DavidError(f"recipe: optim.{name} is {getattr(self, name)}; it must be {expected}")

        for name in ("rate", "clip", "gamma", "power"):
            if not getattr(self, name) > 0:
                raise refuse(name, "above 0")
        for name in ("backbone_scale", "weight_decay", "warmup", "final"):
            if not getattr(self, name) >= 0:
                raise refuse(name, "0 or more")
        if not 0 < self.layer_decay <= 1:
            raise refuse("layer_decay", "above 0 and at most 1")
        for name in ("beta1", "beta2", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise refuse(name, "0 or more and below 1")
        if not 0 <= self.start <= 1:
            raise refuse("start", "from 0 to 1")
        if self.schedule == "one_cycle" and self.warmup < 2:
            raise refuse("warmup", "2 or more with schedule=one_cycle, whose rise it is")
        by_step = bool(self.milestones) + (self.every is not None)
        if by_step != (self.schedule == "step"):
            found = {"milestones": self.milestones, "every": self.every}
            raise DavidError(
                f"recipe: optim.schedule is {self.schedule} with {found}; schedule=step takes one of the two, the "
                "others none"
            )
        if self.every is not None and self.every < 1:
            raise refuse("every", "1 or more, or none")
        if list(self.milestones) != sorted(set(self.milestones)) or (self.milestones and self.milestones[0] < 1):
            raise refuse("milestones", "rising step numbers")


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


def adamw(network: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """Fused: one kernel for all parameters, and a step that `found_inf` turns into none without asking the host."""
    return torch.optim.AdamW(groups(network, config), lr=config.rate, betas=(config.beta1, config.beta2), fused=True)


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = group["full_rate"] * factor
