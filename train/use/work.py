"""What `david predict` was asked for, and what a run of it did."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from david.pack.errors import DavidError, many

if TYPE_CHECKING:
    from collections.abc import Sequence

    from david.model.predict.inputs import Input
    from david.model.predict.outputs import Look
    from david.model.predict.predictor import Predictor
    from david.pack.part import Part
    from david.train.use.load import Found


@dataclass(frozen=True)
class Work:
    """What was asked for, checked as far as words and paths go."""

    places: "list[Found]"
    out: Path
    saves: tuple[str, ...]
    look: "Look"
    fit: str | None = None
    size: int | None = None
    precision: str = "auto"
    device: str = "auto"
    batch_size: int | None = None
    part: "Part | None" = None
    restart: bool = False
    steady: bool = False
    frames: int | None = None

    def require_of_use(self, inputs: "Sequence[Input]") -> None:
        """Raise DavidError for an option that does nothing to any of the inputs."""
        from david.train.use import filming

        for option, given in (("--steady", self.steady), ("--frames", self.frames is not None)):
            if given and not any(filming.films(one) for one in inputs):
                raise DavidError(
                    f"{option}: of videos and cameras, and there is none among {many(len(inputs), 'input')}"
                )

    def endings(self) -> list[str]:
        """How the files of an input may end."""
        from david.model.predict import outputs
        from david.model.predict.clips import SHOWN

        return [SHOWN, *(outputs.KINDS[name].ending for name in self.saves)]

    def files(self, one: "Input") -> list[str]:
        """What will be written of an input below `out`, but for files of single frames."""
        from david.model.predict import outputs
        from david.model.predict.clips import SHOWN
        from david.train.use import filming

        if filming.films(one):
            return [one.stem + SHOWN] if "picture" in self.saves else []
        return [one.stem + outputs.KINDS[name].ending for name in self.saves]

    def settings(self, predictor: "Predictor") -> dict[str, Any]:
        """What the bytes of files depend on, as JSON."""
        from david.train.use.load import fingerprint

        made = {
            "weights": [
                {"name": place.name, "sha256": fingerprint(place, engine)}
                for place, engine in zip(self.places, predictor.engines, strict=True)
            ],
            "size": predictor.side,
            "fit": predictor.fit,
            "precision": sorted({engine.precision for engine in predictor.engines}),
        }
        return made | self.words()

    def words(self) -> dict[str, Any]:
        """What of the settings is known before a network is loaded."""
        made: dict[str, Any] = {"save": list(self.saves), **({"fit": self.fit} if self.fit else {})}
        if self.steady:
            made["steady"] = True
        if self.frames:
            made["frames"] = self.frames
        if "composite" in self.saves:
            made["background"] = list(self.look.background)
        if "points" in self.saves:
            made["camera"] = self.look.camera.as_json()
        return made


@dataclass
class Told:
    """What a run did. record: names of the files that say so; kept: done by an earlier run; broken: a sentence for the
    name of each; passed_over: files that looked like no input"""

    out: Path
    record: str
    inputs: int
    predicted: int = 0
    kept: int = 0
    passed_over: int = 0
    broken: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        counts = {"inputs": self.inputs, "predicted": self.predicted, "kept": self.kept}
        return {"out": str(self.out), **counts, "passed_over": self.passed_over, "broken": list(self.broken.values())}

    def sentence(self) -> str:
        kept = f", {self.kept:,} were there" if self.kept else ""
        broken = f", {len(self.broken):,} could not be" if self.broken else ""
        return f"{many(self.predicted, 'input')} of {self.inputs:,} predicted{kept}{broken}: {self.out}"
