"""Who is measured, as the command line names them: runs, weights, ONNX files, and a constant answer beside several.

Found without torch: a name that leads nowhere is told at once.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from david.model import readable
from david.pack.errors import DavidError
from david.pipeline.config import DataConfig
from david.train.subject import Subject, of_path, of_run

if TYPE_CHECKING:
    from torch import nn

AS_EXPORTED = "as exported"  # what an ONNX file computes in; neither it nor onnxruntime says more


class Measured(Protocol):
    """What can be measured, see `train.subject.Subject`. precision: a recipe's, or what else there is to say of it;
    samples reach it as `data` says"""

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> Path | None: ...
    @property
    def data(self) -> DataConfig: ...
    @property
    def precision(self) -> str: ...
    def network(self) -> "nn.Module":
        """Image to prediction."""
        ...


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file in the official contract: whole images reach it padded to squares, whatever their size."""

    name: str
    folder: Path
    source: Path
    device: str = "auto"
    data: DataConfig = field(default_factory=DataConfig)
    precision: str = AS_EXPORTED

    def network(self) -> "nn.Module":
        from david.model.predict.onnx_file import OnnxEngine
        from david.model.predict.predictor import SIDE, Predictor
        from david.train.eval.answers import Answers

        engine = OnnxEngine(self.source, self.device)
        return Answers(Predictor((engine,), side=engine.side or SIDE, name=self.name))


@dataclass(frozen=True)
class Flat:
    """The constant answer, by which the others' figures are judged."""

    name: str = "a constant answer"
    source: Path | None = None
    data: DataConfig = field(default_factory=DataConfig)
    precision: str = "fp32"

    def network(self) -> "nn.Module":
        from david.train.eval.answers import Constant

        return Constant()


def named(
    runs: Sequence[Path], weights: Sequence[Path], onnx: Sequence[Path], checkpoint: str, device: str
) -> list[Subject | OnnxFile]:
    """All that are named, in that order. Raises DavidError where one is not there."""
    found: list[Subject | OnnxFile] = [of_run(run, checkpoint) for run in runs]
    found += [of_path(path) for path in weights]
    for path in onnx:
        if path.is_file() and path.suffix.lower() != ".onnx":
            raise DavidError(f"{path}: found {path.suffix!r}; expected an ONNX file ending in .onnx")
        readable.as_onnx(path)
        found.append(OnnxFile(path.name, path.with_suffix(""), path, device))
    return found


def adjusted(
    found: Sequence[Subject | OnnxFile], height: int | None, width: int | None, precision: str | None
) -> list[Subject | OnnxFile]:
    """With another size of images, or precision of our own networks; and all with one size, so that all are measured on
    the same pixels. Raises DavidError where none was asked for and runs differ in theirs."""
    if precision is not None:
        if all(isinstance(one, OnnxFile) for one in found):
            raise DavidError("--precision: an ONNX file computes as it was exported; leave it out")
        found = [replace(one, precision=precision) if isinstance(one, Subject) else one for one in found]
    if height is not None or width is not None:
        return [replace(one, data=replace(one.data, height=height, width=width)) for one in found]
    ours = [one for one in found if isinstance(one, Subject)] or list(found)
    for other in ours[1:]:
        if _size(other) != _size(ours[0]):
            raise DavidError(
                f"{ours[0].name} sees images {_size(ours[0])} and {other.name} {_size(other)}; name one size for all "
                "with --height and --width"
            )
    data = ours[0].data
    shape = {"height": data.height, "width": data.width, "fit": data.fit}
    return [replace(one, data=replace(one.data, **shape)) for one in found]


def _size(one: Measured) -> str:
    data = one.data
    return f"of {data.height} x {data.width} ({data.fit})" if data.height else "of the samples' own size"


def in_words(precision: str) -> str:
    """What a network computes in, behind a name and a comma."""
    return precision if precision == AS_EXPORTED else f"in {precision}"


def folders(names: Sequence[str]) -> list[str]:
    """For each name a folder's, all different: what is no letter, digit, dot or hyphen becomes a hyphen."""
    made: list[str] = []
    for name in names:
        plain = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "subject"
        number, tried = 2, plain
        while tried in made:
            number, tried = number + 1, f"{plain}-{number}"
        made.append(tried)
    return made
