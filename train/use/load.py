"""`david.load`: a run, a file of weights, an ONNX file or a name on the Hugging Face hub to a `Predictor`.

What a name leads to is found without torch (`found`), so that a command refuses a wrong one at once.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from david.model import config as configs
from david.model import readable
from david.model.configs.base import ModelConfig
from david.pack.errors import DavidError
from david.pack.files import sha256
from david.train import shelf
from david.train import subject as subjects
from david.train.recipe import Precision
from david.train.subject import Subject
from david.train.use import provenance

if TYPE_CHECKING:
    from david.model.predict.engine import Engine
    from david.model.predict.predictor import Predictor

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
EXPECTED = "a run, a checkpoint, a file of weights, an ONNX file, or user/name on the Hugging Face hub"


@dataclass(frozen=True)
class Found:
    """What a name leads to. subject: weights of ours; onnx: an ONNX file; hub: a name there; one of the three"""

    name: str
    subject: Subject | None = None
    onnx: Path | None = None
    hub: str | None = None


def found(what: str | Path, model: ModelConfig | None = None) -> Found:
    """model: of a file that does not say what it is the weights of; it may stand behind the name too, see
    `subject.told`. Raises DavidError where it leads nowhere, or to what can be no network."""
    path = Path(what)
    if model is None and not path.exists():
        path, model = subjects.told(path)
    if model is not None and not path.is_file():
        raise DavidError(f"{what}: no such file; a kind is told of one that does not say what it is the weights of")
    if path.suffix.lower() == ".onnx":
        readable.as_onnx(path)
        if model is not None:
            raise DavidError(f"{path}: an ONNX file says itself what it is; leave out the kind")
        return Found(path.name, onnx=path)
    if path.exists():
        if path.is_file():
            readable.as_network(path)
        elif (path / shelf.MODEL).is_file() and not any((path / one).is_file() for one in (shelf.SUMS, shelf.STATE)):
            # no checkpoint, which has these: what `save_pretrained` writes
            return Found(path.name, subject=subjects.of_path(path / shelf.MODEL))
        return Found(path.name, subject=subjects.of_path(path, model))
    if _HUB_NAME.fullmatch(str(what)):
        if path.parent.is_dir():  # a slip in a path is not asked about elsewhere
            raise DavidError(
                f"{what}: no such file or folder in {path.parent}, which is here, so it is taken for no name on the "
                f"Hugging Face hub; expected {EXPECTED}"
            )
        return Found(str(what), hub=str(what))
    raise DavidError(f"{what}: no such file or folder; expected {EXPECTED}")


def all_found(weights: Sequence[str], onnx: Sequence[str]) -> list[Found]:
    """What --weights and --onnx lead to, in that order. Raises DavidError as `found` does, and where --onnx names
    another kind of file."""
    for name in onnx:
        if Path(name).suffix.lower() != ".onnx":
            raise DavidError(f"--onnx {name}: expected an ONNX file, which ends in .onnx; others go to --weights")
    return [found(name) for name in (*weights, *onnx)]


def require_known(fit: str | None, precision: str) -> None:
    """Raise DavidError where --fit or --precision names no such thing."""
    from david.model.predict import fit as fits

    if fit is not None:
        fits.require(fit)
    if precision not in get_args(Precision):
        raise DavidError(f"--precision {precision}: there are {', '.join(get_args(Precision))}")


def load(
    *what: str | Path,
    kind: str | ModelConfig | None = None,
    max_depth: float | None = None,
    device: str = "auto",
    precision: str = "auto",
    fit: str | None = None,
    size: int | None = None,
) -> "Predictor":
    """The predictor of a run (its newest checkpoint), a checkpoint, a file of weights, an ONNX file, or `user/name` on
    the Hugging Face hub; of several, for different fields, one that says what they all say.

    kind: what a file of others' is the weights of, which it does not say: a name of `model.config.MODELS`, such as
    da2-vitl, da2-vitl-metric or da2-zoe-vitl, or a configuration; max_depth: metres that its metric depth reaches to,
    which no file says either. The same as `FILE@da2-vitl-metric,max_depth=20`
    device: auto, cpu or cuda; precision: auto, fp32, bf16 or fp16, of our own weights; fit: how pictures reach the
    network, see `model/predict/fit.py`; size: the side of the square that it sees, or the shorter side. Both are by
    default as `save_pretrained` kept them, else as its kind of network has it, and the size that it was trained at, or
    an ONNX file's own. Raises DavidError where one of these cannot be."""
    if max_depth is not None and not isinstance(kind, str):
        raise DavidError("max_depth belongs to a kind's name, such as kind='da2-vitl-metric'; give both")
    told: dict[str, Any] = {"max_depth": max_depth} if max_depth is not None else {}
    model = subjects.published(kind, **told) if isinstance(kind, str) else kind
    return loaded([found(one, model) for one in what], device, precision, fit, size)


def loaded(
    places: Sequence[Found],
    device: str = "auto",
    precision: str = "auto",
    fit: str | None = None,
    size: int | None = None,
    gpu: int = 0,
) -> "Predictor":
    """As `load`, of what `found` found. gpu: the number of the one to take, where there are several"""
    from david.model.predict.hub import reached
    from david.model.predict.predictor import SIDE, Predictor

    if not places:
        raise DavidError(f"nothing to load; expected {EXPECTED}")
    opened = [_engine(place, device, precision, gpu) for place in places]
    kept = [reached(about) for _, about in opened]
    sides = [
        engine.side or one.get("side") or _trained_at(about) for (engine, about), one in zip(opened, kept, strict=True)
    ]
    free = [about for engine, about in opened if not engine.side]  # the others see one square
    usual = next((model.fit for about in free if (model := _model(about))), "square")
    fit = fit or next((one["fit"] for one in kept if "fit" in one), usual)
    side = size if size is not None else next((side for side in sides if side), SIDE)
    return Predictor(
        tuple(engine for engine, _ in opened),
        fit=fit,  # type: ignore[arg-type]  # Predictor checks it
        side=side,
        name=", ".join(place.name for place in places),
        about=opened[0][1] if len(opened) == 1 else {},
    )


def fingerprint(place: Found, engine: "Engine") -> str:
    """SHA-256 of a place's weights: of the file, or of the tensors where they came from the hub."""
    file = place.onnx or (place.subject.source if place.subject else None)
    if file:
        return sha256(file)

    import torch

    from david.model.predict.engine import TorchEngine

    assert isinstance(engine, TorchEngine)
    made = hashlib.sha256()
    for name, tensor in sorted(engine.network.state_dict().items()):
        made.update(name.encode() + tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return made.hexdigest()


def _engine(place: Found, device: str, precision: str, gpu: int) -> "tuple[Engine, dict[str, Any]]":
    """What computes, and what is known of what made it."""
    if place.onnx:
        from david.model.predict.onnx_file import OnnxEngine

        engine = OnnxEngine(place.onnx, device, gpu=gpu)
        return engine, engine.about

    from david.model.predict.engine import TorchEngine
    from david.train.distributed import device_of
    from david.train.step.precision import half_precision

    where = device_of(device, gpu)
    if place.hub:
        from david.model.predict import hub

        network, about = hub.fetched(place.hub)
    else:
        assert place.subject
        network, about = place.subject.network(), provenance.about(place.subject)
    return TorchEngine(network, where, half_precision(precision, where)), about


def _trained_at(about: dict[str, Any]) -> int | None:
    """The side of its kind of network, else the longer one of the images that its recipe says it was trained on, the
    shorter where pictures reach it by that, else its kind's published one."""
    data, model = about.get("recipe", {}).get("data", {}), _model(about)
    sides = [side for side in (data.get("height"), data.get("width")) if side]
    trained = (min if model and model.fit == "shorter" else max)(sides, default=None)
    return (model.side or trained or model.published_side) if model else trained


def _model(about: dict[str, Any]) -> ModelConfig | None:
    return configs.from_json(about["model"]) if "model" in about else None
