"""A network in, a file in the official contract out, checked against the network before it appears under its name.

    exported = export(network, Path("net.onnx"), task="multi", size=512)

The graph is traced once (`contract.py`), written under a temporary name (`to_onnx.py`, or torch's own format), opened
as anybody would open it, and asked about images beside the network (`check.py`).
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from david import __version__
from david.model.configs.depth_anything import Dinov2Config
from david.model.export import check, to_onnx
from david.model.export.check import Difference
from david.model.export.contract import CONVENTIONS, NAMES, TOLD, UNITS, traced
from david.model.export.tasks import TASKS, Format, Precision, Task, chosen, side
from david.model.export.tasks import require as require_possible
from david.model.heads.table import HEADS
from david.model.networks.network import Network
from david.model.predict.engine import Engine, TorchEngine
from david.pack.errors import DavidError
from david.pack.files import whole_by_name


@dataclass(frozen=True)
class Exported:
    """What was written. differences: by field; sizes: bytes by kind of file, those that are known; milliseconds: of one
    image at this size on this machine's CPU, by what computes it; sha256: of the file"""

    path: Path
    task: Task
    precision: Precision
    form: Format
    size: int
    differences: dict[str, Difference]
    sizes: dict[str, int]
    milliseconds: dict[str, float]
    sha256: str

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path)}


def export(
    network: Network,
    path: Path,
    *,
    task: str | None = None,
    precision: str = "fp32",
    size: int | None = None,
    form: str = "onnx",
    images: Sequence[np.ndarray] | None = None,
    about: dict[str, Any] | None = None,
    further: Callable[[Engine, Engine], None] | None = None,
    timed: bool = True,
) -> Exported:
    """Write a network to `path`, whole or absent.

    task: a row of `TASKS`, by default what the network has heads for; precision: fp32 or fp16, of what is inside
    size: S, by default 512, or the side that the network's published weights were trained at
    form: onnx or pt2
    images: (S, S, 3) uint8 RGB each, to compare the two on; by default some that are generated
    about: what made it, kept in the file; further: called with the network's engine and the file's, to refuse more
    timed: measure how long both take

    Raises DavidError, and leaves nothing, where such a file cannot be or does not say what the network says."""
    require_possible(task, precision, form, size)
    which = chosen(task, network.config.heads)
    size = side(size, network.config.published_side, isinstance(network.config, Dinov2Config))
    fields = [HEADS[name].says for name in TASKS[which]]
    metadata = _metadata(network, which, precision, size, about or {})
    reference = TorchEngine(network)
    with whole_by_name(path) as aside:
        program = traced(network, which, size)
        sizes = {"torch": sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())}
        written = f"onnx {precision}" if form == "onnx" else "pt2"
        if form == "onnx":
            names = [NAMES[name] for name in TASKS[which]]
            sizes["onnx fp32"] = to_onnx.write(program, names, aside, precision, metadata)  # type: ignore[arg-type]
        else:
            with aside.open("wb") as file:
                torch.export.save(program, file, extra_files={"david.json": json.dumps(metadata, indent=1)})
        del program
        sizes[written] = aside.stat().st_size
        engine = check.opened(aside, fields, size)
        found = _compared(reference, engine, check.generated(size) if images is None else images, precision, path)
        if further:
            further(reference, engine)
        image = check.generated(size, 1)[0]
        times = {"torch": reference, written: engine} if timed else {}
        milliseconds = {name: check.milliseconds(one, image) for name, one in times.items()}
        with aside.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Exported(path, which, precision, form, size, found, sizes, milliseconds, digest)  # type: ignore[arg-type]


def _compared(
    reference: Engine, engine: Engine, images: Sequence[np.ndarray], precision: str, path: Path
) -> dict[str, Difference]:
    """Raises DavidError where an output is too far from the network's."""
    found = check.differences(reference, engine, images, precision)  # type: ignore[arg-type]
    wrong = [
        f"{name} by {one.largest:.2g} (limit {one.limits[0]:g}), 99.9 % of it by {one.most:.2g} (limit "
        f"{one.limits[1]:g})"
        for name, one in found.items()
        if not one.within
    ]
    if wrong:
        raise DavidError(
            f"{path}: not written, since the file differs from the network on {len(images)} images: {'; '.join(wrong)}"
            + ("; try --precision fp32" if precision == "fp16" else "")
        )
    return found


def _metadata(network: Network, task: Task, precision: str, size: int, about: dict[str, Any]) -> dict[str, str]:
    """What the file says of itself, by name: text, and JSON where it is more."""
    facts = {
        **about,
        **{"david": __version__, "model": asdict(network.config), "task": task, "precision": precision, "size": size},
        "conventions": TOLD.get(task, CONVENTIONS),
        **({"unit": UNITS[task]} if task in UNITS else {}),
    }
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}
