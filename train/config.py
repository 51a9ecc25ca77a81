"""What a recipe says about its optimiser; `tasks/config.py` has what it says about its losses.

Without torch: a list of recipes does not wait for it.
"""

from dataclasses import dataclass
from typing import Literal

from david.pack.errors import DavidError
from david.train.tasks.config import ObjectiveConfig

__all__ = ["ObjectiveConfig", "OptimConfig"]


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
    ema: decay of the moving average of the weights that is measured and pictured in place of the weights themselves,
        see `ema.py`; 0 for none
    ema_warmup: let that decay grow from 2 / 11, so that a short run's average forgets where it began
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
    ema: float = 0.0
    ema_warmup: bool = True

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
        for name in ("beta1", "beta2", "ema"):
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
