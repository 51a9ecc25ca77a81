"""What a recipe's `objective` says of distillation. Without torch; the task is `distill/task.py`."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from david.model.configs.base import ModelConfig
from david.model.configs.depth_anything import PATCH, Dinov2Config
from david.pack.errors import DavidError
from david.train.tasks.config import TaskConfig

TAUGHT = ("disparity", "metric_depth", "depth")  # heads that a teacher can teach
FIELD = "teacher_depth"  # of shards: what a teacher said once, in place of one that is asked in every step
TERMS = ("shared_context", "local_global", "features", "gradient", "hdn", "hold", "truth")  # by their weights' names
ASKING = ("local_global", "features")  # which ask a teacher for more than its depth of the whole image


@dataclass(frozen=True)
class DistillConfig(TaskConfig):
    """Of the task `distill`: who teaches, where both look, and a weight for each term, 0 for none.

    teachers: files of weights, runs' folders or ONNX files; behind one that does not say what it is stands its kind,
        FILE@da2-vitl. None where the shards have `teacher_depth`
    sha256: of each teacher's file, with its kind; found when a run begins, and held to ever after
    odds: whole numbers, one for each teacher: of 7,3 the first is drawn in seven steps of ten. None: all alike
    precision: what teachers compute in, as a recipe's `precision`; an ONNX file computes in its own
    normalise: how depths are compared: `global`, by an image's median and mean distance from it; `hybrid` and `local`,
        by those of segments of the teacher's depth, 1, 2 and 4 of them, or 4; `none`, as they are
    contexts: what those segments are: ranges of depth, quantiles of it, or grids of the image
    least, crop: the shared crop is a random square of `least` pixels up to the image's shorter side, resized to `crop`
    window, shrink: the teacher sees a window of so many pixels of the image, the student the whole image `shrink` times
        smaller
    shared_context: weight of the comparison on the shared crop; local_global: of the student's whole, cut to the
        teacher's window, with what the teacher says of that; features: of the ViTs' tokens; gradient: of depth's
        differences at several scales; hdn: of a hierarchical comparison beside another `normalise`; hold: of keeping
        median and spread of the student's depth where they were; truth: of the true depth, where shards have it
    """

    kind: Literal["distill"] = "distill"
    teachers: tuple[str, ...] = ()
    sha256: tuple[str, ...] = ()
    odds: tuple[int, ...] = ()
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    normalise: Literal["global", "hybrid", "local", "none"] = "hybrid"
    contexts: Literal["ranges", "quantiles", "grids"] = "ranges"
    least: int = 644
    crop: int = 560
    window: int = 560
    shrink: int = 2
    shared_context: float = 1.0
    local_global: float = 0.5
    features: float = 1.0
    gradient: float = 2.0
    hdn: float = 0.0
    hold: float = 0.0
    truth: float = 0.0

    def __post_init__(self) -> None:
        for name in ("least", "crop", "window", "shrink"):
            if getattr(self, name) < 1:
                raise DavidError(f"recipe: objective.{name} is {getattr(self, name)}; it must be 1 or more")
        for name in TERMS:
            if not getattr(self, name) >= 0:
                raise DavidError(f"recipe: objective.{name} is {getattr(self, name)}; it must be 0 or more")
        if not self.terms:
            raise DavidError(f"recipe: each weight is 0 of objective.{', objective.'.join(TERMS)}; nothing is learnt")
        names: list[str] = []
        for one in self.teachers:  # commas stand between teachers, and between a kind's settings: FILE@KIND,FIELD=VALUE
            if names and re.fullmatch(r"\w+=.*", one):
                names[-1] += f",{one}"
            else:
                names.append(one)
        object.__setattr__(self, "teachers", tuple(names))
        if any(one < 1 for one in self.odds):
            raise DavidError(f"recipe: objective.odds are {self.odds}; each must be a whole number from 1 on")
        if self.odds and names and len(self.odds) != len(names):
            raise DavidError(
                f"recipe: objective.odds are {len(self.odds)} for {len(names)} teachers; give one number for each, or "
                "none with --set objective.odds="
            )

    @property
    def terms(self) -> tuple[str, ...]:
        """Those that have a weight."""
        return tuple(name for name in TERMS if getattr(self, name))

    def check(self, heads: Sequence[str], fields: Collection[str] | None = None) -> None:
        if len(heads) != 1 or heads[0] not in TAUGHT:
            raise DavidError(
                f"recipe: model.heads are {', '.join(heads)}; distillation teaches one of {', '.join(TAUGHT)} alone"
            )
        for name in self.teachers:
            if not Path(name).exists() and not Path(file_of(name)).exists():
                raise DavidError(f"recipe: objective.teachers: {file_of(name)}: no such file or folder")
        if not self.teachers and fields is not None:
            if FIELD not in fields:
                raise DavidError(
                    "recipe: objective.teachers names none, and no shard set here has what one said; give "
                    "--set objective.teachers=FILE, FILE@da2-vitl for one that does not say what it is"
                )
            if asking := [name for name in ASKING if getattr(self, name)]:
                raise DavidError(
                    f"recipe: objective.{asking[0]} asks a teacher's network, and `{FIELD}` of the shards is all there "
                    f"is; name it in objective.teachers, or --set objective.{asking[0]}=0"
                )
        if self.truth and fields is not None and "depth" not in fields:
            raise DavidError("recipe: objective.truth compares with the field depth, which no shard set here has")

    def require(self, model: ModelConfig, size: tuple[int, int] | None) -> None:
        patch = PATCH if isinstance(model, Dinov2Config) else 1
        if self.crop % patch:
            raise DavidError(f"recipe: objective.crop is {self.crop}; it must be a multiple of the {patch} px patches")
        if size is None:
            return
        height, width = size
        if self.least > min(size):
            raise DavidError(
                f"recipe: objective.least is {self.least}, and images are of {height} x {width} pixels: no square of "
                "that size is in them; make it smaller, or data.height and data.width larger"
            )
        if not self.local_global:
            return
        if self.window > min(size):
            raise DavidError(
                f"recipe: objective.window is {self.window}, and images are of {height} x {width} pixels; it must be in"
            )
        if any(side % (self.shrink * patch) for side in size) or self.window % self.shrink:
            raise DavidError(
                f"recipe: images of {height} x {width} and a window of {self.window} pixels can't be made "
                f"{self.shrink} times smaller in whole pixels and patches of {patch}; sides must be multiples of "
                f"{self.shrink * patch}, objective.window of {self.shrink}"
            )

    def alike(self) -> "DistillConfig":
        """With odds for each teacher."""
        return replace(self, odds=self.odds or (1,) * len(self.teachers))


def file_of(teacher: str) -> str:
    """The path in FILE@KIND."""
    return teacher.rpartition("@")[0] or teacher
