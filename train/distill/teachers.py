"""Teachers: networks that are asked and never taught, each the same file from a run's first step to its last.

B images.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from david.model import Network, readable
from david.model.heads.table import HEADS
from david.model.prediction import Prediction
from david.pack.errors import DavidError
from david.pack.files import sha256
from david.pipeline.sampling.philox import words
from david.train.distill.nearness import of_depth
from david.train.distill.tokens import with_tokens
from david.train.step.precision import computing_in, half_precision
from david.train.subject import of_path
from david.train.tasks.distill_config import DistillConfig
from david.train.tasks.task import Predict

PURPOSE = 5  # the part of the Philox counter that keeps these words apart from others


@dataclass
class Teacher:
    """Frozen, in evaluation mode, and no part of a checkpoint.

    name: for people; network: of our own kinds, None where it is an ONNX file; answer: what is called; precision: as
    recipes name it"""

    name: str
    network: Network | None
    answer: Predict
    precision: str

    def __call__(self, image: torch.Tensor) -> Prediction:
        """image: (B, 3, H, W) uint8, where the network is. What it says, without a gradient."""
        if self.network is None:
            return self.answer(image)
        with computing_in(half_precision(self.precision, image.device), image.device):
            return {name: one.detach() for name, one in self.answer(image).items()}

    def compile_with(self, compiler: Callable[..., Any]) -> None:
        if self.network is not None:
            self.answer = compiler(self.answer, f"the teacher {self.name} runs", vital=False)


def load(name: str, precision: str, tokens: bool, device: torch.device) -> Teacher:
    """The teacher FILE or FILE@KIND, on a device. tokens: whether its ViT's are asked for. Raises DavidError where it
    is none, or says nothing of depth."""
    path = Path(name)
    if path.suffix.lower() == ".onnx":
        from david.model.predict.onnx_file import OnnxEngine
        from david.model.predict.predictor import SIDE, Predictor
        from david.train.eval.answers import Answers

        engine = OnnxEngine(path, "cpu" if device.type == "cpu" else "auto", gpu=device.index or 0)
        answers = Answers(Predictor((engine,), side=engine.side or SIDE, name=path.name))
        of_depth([head.output for head in answers.heads], path.name)
        return Teacher(path.name, None, answers, "")
    subject = of_path(path)
    network = subject.network().eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
    of_depth([HEADS[head].output for head in network.config.heads], subject.name)
    return Teacher(subject.name, network, with_tokens(network) if tokens else network, precision)


def settled(config: DistillConfig) -> DistillConfig:
    """The configuration with what its teachers are told by: absolute paths and SHA-256.

    Raises DavidError where it says already what they are, and they are not."""
    names = tuple(str(Path(name).absolute()) for name in config.teachers)
    found = tuple(identity(name) for name in names)
    if config.sha256 and config.sha256 != found:
        kept, now = ", ".join(config.sha256), ", ".join(found) or "none"
        raise DavidError(
            f"objective.teachers: {', '.join(names) or 'none'}: expected SHA-256 {kept}, found {now}; put back what "
            "taught the run, or begin another with --set objective.sha256= and another --out"
        )
    return replace(config, teachers=names, sha256=found)


def identity(name: str) -> str:
    """The SHA-256 of a teacher's file, and behind it the kind that is told with the name."""
    path = Path(name)
    if path.suffix.lower() == ".onnx":
        readable.as_onnx(path)
        return sha256(path)
    file = of_path(path).source
    return sha256(file) + ("" if path.exists() else name.removeprefix(str(file)))


def drawn(seed: int, step: int, odds: tuple[int, ...]) -> int:
    """Which teacher a step has, the same on every rank: of odds 7,3 the first in seven of ten, by chance."""
    place = int(words(seed, step, 0, 0, PURPOSE)[0]) * sum(odds) >> 32
    return next(number for number in range(len(odds)) if place < sum(odds[: number + 1]))
