"""A student learns what its teachers say: where a network, its teachers and a batch meet.

    shared context  both see the same square of the image
    local, global   the student sees the whole image, the teacher a window of it; both are compared in that window
    features        the tokens of both ViTs for the shared square, the student's through a learnt projection
    gradient        differences of both depths, each by its own median and spread, at several scales

He et al., "Distill Any Depth", 2025 (arXiv 2502.19204). One teacher is drawn for each step. Where there is none, the
shards say what one said of the whole image, and the shared square is cut out of that.

B images, T terms, H rows, W columns.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from david.model import Network
from david.model.configs.base import ModelConfig
from david.model.prediction import Prediction
from david.pack.errors import DavidError
from david.pipeline.batch import Batch, Target
from david.train.distill import crops, teachers
from david.train.distill.nearness import nearness
from david.train.distill.teachers import Teacher
from david.train.distill.tokens import TOKENS, count, with_tokens
from david.train.losses.distill import contexts
from david.train.losses.distill.hdn import hdn
from david.train.losses.distill.hold import hold
from david.train.losses.distill.normalised import globally, middle_and_spread, normalised
from david.train.losses.distill.tokens import tokens
from david.train.losses.gradient_matching import gradient_matching
from david.train.losses.l1 import l1
from david.train.losses.masked import wide
from david.train.losses.table import TERMS
from david.train.tasks.distill_config import FIELD, DistillConfig
from david.train.tasks.supervised import compare, has
from david.train.tasks.task import Predict, Task

WATCHED = ("median", "spread")  # of the student's depth; last of the terms, and without a weight
TRUTH = {"disparity": "disparity_ssi_l1", "depth": "depth_ssi_l1", "metric_depth": "metric_da2_silog"}  # by head


@dataclass(frozen=True)
class Said:
    """What there is to compare, grows with nearness. student, teacher: of the shared square, (B, 1, H, W); before: what
    the student said when it began; whole, local: of the teacher's window, the student's cut out of the whole; valid:
    where the teacher said something of the square; tokens: pairs, None where there are none"""

    student: torch.Tensor
    teacher: torch.Tensor
    valid: torch.Tensor
    before: torch.Tensor | None = None
    whole: torch.Tensor | None = None
    local: torch.Tensor | None = None
    tokens: tuple[torch.Tensor, torch.Tensor] | None = None


class Distill(Task):
    """The terms that have a weight, then median and spread of the student's depth, to be watched.

    began: the student's network as it was when its run began, where it is held to that; its state is a part of each
        checkpoint, as are `first`, median and spread in the first step, and the projections
    """

    first: torch.Tensor  # (2,)
    known: torch.Tensor  # () bool, whether `first` is
    listens = True

    def __init__(self, config: DistillConfig, model: ModelConfig):
        super().__init__({name: getattr(config, name) for name in config.terms} | dict.fromkeys(WATCHED, 0.0))
        self.config = config = config.alike()
        self.teachers: tuple[Teacher, ...] = ()  # until `join` tells where they compute
        self.projections = nn.ModuleDict()
        self.began: Network | None = None
        self.truth = TERMS[TRUTH[model.heads[0]]]
        self.seed, self.teacher = 0, 0
        self.register_buffer("first", torch.zeros(2))
        self.register_buffer("known", torch.zeros((), dtype=torch.bool))
        self.now = torch.zeros(2)
        self.judge = self.judged

    def join(self, network: Network) -> Predict | None:
        config, device = self.config, next(network.parameters()).device
        self.teachers = tuple(
            teachers.load(name, config.precision, config.features > 0, device) for name in config.teachers
        )
        if self.config.hold:
            self.began = copy.deepcopy(network).eval().requires_grad_(False)
        if not self.config.features:
            return None
        for number, teacher in enumerate(self.teachers):
            if teacher.network is not None:
                self.projections[str(number)] = projection(network, teacher, self.config.crop).to(device)
        if not self.projections:
            raise DavidError(
                "objective.features: no teacher is a network whose tokens can be compared; --set objective.features=0"
            )
        return with_tokens(network)

    def begin(self, seed: int, step: int) -> None:
        self.seed = seed
        self.teacher = teachers.drawn(seed, step, self.config.odds) if self.teachers else 0

    def compile_with(self, compiler: Callable[..., Any]) -> None:
        self.judge = compiler(self.judged, "the losses run", vital=False)
        for teacher in self.teachers:
            teacher.compile_with(compiler)

    def forward(self, network: Predict, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        config, size = self.config, (batch.image.shape[-2], batch.image.shape[-1])
        square = crops.shared(self.seed, batch.epochs, batch.ids, size, config.least)
        image = crops.cropped(batch.image, square, config.crop)
        asked = not self.teachers or config.truth
        cut = replace(batch, image=image, targets=crops.targets(batch, square, config.crop) if asked else {})
        said = network(image)
        student, teacher, whole, local = nearness(said), None, None, None
        if self.teachers:
            teacher = self.teachers[self.teacher]
            taught = teacher(image)
            target = Target(nearness(taught, teacher.name), torch.ones_like(student, dtype=torch.bool))
            pairs = self.pairs(said, taught)
            if config.local_global:
                whole, local = self.in_window(network, batch, teacher, size)
        else:
            target, pairs = cut.targets[FIELD], None
        before = nearness(self.began(image)) if self.began is not None else None
        found = Said(student, wide(target.value), target.valid, before, whole, local, pairs)
        losses = self.judge(found, said, cut)
        return losses, torch.stack([self.counts(name, cut, target, pairs) for name in self.terms])

    def in_window(
        self, network: Predict, batch: Batch, teacher: Teacher, size: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the student says of the whole, cut to a window, and what the teacher says of that window alone."""
        side, shrink = self.config.window, self.config.shrink
        square = crops.window(self.seed, batch.epochs, batch.ids, size, side, shrink)
        seen = crops.cropped(batch.image, square, side)
        local = crops.shrunk(nearness(teacher(seen), teacher.name), shrink)
        whole = nearness(network(crops.shrunk(batch.image, shrink)))
        return crops.cut(whole, square.smaller(shrink), side // shrink), local

    def pairs(self, said: Prediction, taught: Prediction) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Tokens of both in the teacher's width; None where there are none to compare."""
        if TOKENS not in said:
            return None
        drawn = str(self.teacher)
        idle = [one for name, one in self.projections.items() if name != drawn]
        # a step leaves no parameter without a gradient, be it 0
        nothing = sum((0 * parameter.sum() for one in idle for parameter in one.parameters()), 0.0)
        if drawn not in self.projections:
            mine = said[TOKENS].float()
            return mine + nothing, mine.detach()
        return self.projections[drawn](said[TOKENS].float()) + nothing, taught[TOKENS].float()

    def counts(
        self, name: str, batch: Batch, target: Target, pairs: tuple[torch.Tensor, torch.Tensor] | None
    ) -> torch.Tensor:
        """(B,) bool, the images of which a term says something."""
        if name == "features":
            return batch.real & (pairs is not None and str(self.teacher) in self.projections)
        if name == "truth":
            return batch.real & has(batch.targets["depth"])
        return batch.real if name in WATCHED or name == "local_global" else batch.real & has(target)

    def judged(self, found: Said, said: Prediction, batch: Batch) -> torch.Tensor:
        """(T, B), each term of what both said."""
        student, teacher, valid = found.student, found.teacher, found.valid
        everywhere = torch.ones_like(student, dtype=torch.bool)
        middle, spread = middle_and_spread(student.detach(), everywhere)
        losses: dict[str, torch.Tensor] = {"median": middle, "spread": spread}
        for name in self.terms:
            if name == "shared_context":
                losses[name] = self.apart(student, teacher, valid)
            elif name == "local_global":
                assert found.whole is not None and found.local is not None
                losses[name] = self.apart(found.whole, found.local, torch.ones_like(found.whole, dtype=torch.bool))
            elif name == "features":
                assert found.tokens is not None
                losses[name] = tokens(*found.tokens)
            elif name == "gradient":
                losses[name] = gradient_matching(normalised(student, valid), normalised(teacher, valid), valid)
            elif name == "hdn":
                losses[name] = hdn(student, teacher, valid, by=self.config.contexts)
            elif name == "hold":
                assert found.before is not None
                losses[name] = hold(student, found.before, everywhere)
            elif name == "truth":
                losses[name] = compare(said, batch, [self.truth])[0]
        return torch.stack([losses[name] for name in self.terms])

    def apart(self, student: torch.Tensor, teacher: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """(B,), by the recipe's normalisation."""
        if self.config.normalise == "none":
            return l1(student, teacher, valid)
        if self.config.normalise == "global":
            return globally(student, teacher, valid)
        parts = contexts.HYBRID if self.config.normalise == "hybrid" else contexts.LOCAL
        return hdn(student, teacher, valid, parts, self.config.contexts)

    def heard(self, means: torch.Tensor) -> None:
        now = means[-len(WATCHED) :].float()
        new = ~self.known & now.isfinite().all()
        self.first.copy_(torch.where(new, now, self.first))
        self.now = torch.where(now.isfinite(), now, self.first)  # a journal holds no nan; such a step is left out
        self.known.copy_(self.known | new)

    def extras(self) -> dict[str, torch.Tensor]:
        """Where median and spread of the student's depth have moved since the first step, in spreads of then; and which
        teacher a step had, where there are several."""
        middle, spread = self.first.unbind()
        spread = torch.where(spread > 0, spread, 1)
        moved = {"median_moved": (self.now[0] - middle) / spread, "spread_moved": self.now[1] / spread}
        drawn = {"teacher": torch.full_like(spread, self.teacher)} if len(self.teachers) > 1 else {}
        return moved | drawn

    @torch.inference_mode()
    def shown(self, prediction: Prediction, batch: Batch) -> dict[str, torch.Tensor]:
        if self.teachers:
            said = nearness(self.teachers[0](batch.image), self.teachers[0].name)
            target = Target(said, torch.ones_like(said, dtype=torch.bool))
        else:
            target = batch.targets[FIELD]
        student = nearness(prediction)
        return {
            who: torch.where(target.valid, normalised(one, target.valid), torch.nan)
            for who, one in (("teacher", target.value), ("student", student))
        }


def projection(student: Network, teacher: Teacher, side: int) -> nn.Linear:
    """From the width of the student's tokens to that of the teacher's, its weights drawn alike in every run. Raises
    DavidError where the tokens of both are not those of the same patches."""
    assert teacher.network is not None
    ours, theirs = count(student, side), count(teacher.network, side)
    if ours != theirs:
        raise DavidError(
            f"objective.features: of {side} x {side} pixels the student has {ours} tokens and {teacher.name} {theirs}: "
            "their patches do not match; take another student, or --set objective.features=0"
        )
    made = nn.Linear(student.backbone.channels, teacher.network.backbone.channels)
    drawing = torch.Generator().manual_seed(0)
    with torch.no_grad():
        made.weight.copy_(torch.randn(made.weight.shape, generator=drawing) * made.in_features**-0.5)
        made.bias.zero_()
    return made
