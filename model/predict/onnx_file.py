"""ONNX files in the contract of DAViD's official demo, run by onnxruntime: the official ones and our own exports.

One input, float32 (B, 3, S, S), BGR in 0 .. 1; everything else is inside. Outputs by order, float32: of a multi-task
file depth (B, S, S), normals (B, 3, S, S), foreground probability (B, 1, S, S); of a single-task file one of these. In
a multi-task file depth grows with distance, in a single-task depth file with nearness. Our own exports of metric depth
and of disparity are single-task files too, (B, S, S), and say in their metadata which they are.

B images, S the side of the square in pixels. Needs the extra `onnx`.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from david.model import readable
from david.model.predict.engine import Engine
from david.model.predict.fields import DEPTHS, DISPARITY, METRIC
from david.pack import machine
from david.pack.errors import DavidError

FLOAT = "tensor(float)"
OWN = {"metric_depth": METRIC, "disparity": DISPARITY}  # tasks of our own exports, and the field
CONTRACT = (
    "one input of float32 (B, 3, S, S), BGR in 0 .. 1, and as outputs depth (B, S, S), normals (B, 3, S, S), "
    "foreground (B, 1, S, S), or one of these alone"
)
INSTALL = 'pip install -c constraints.txt -e ".[onnx]"'


class OnnxEngine(Engine):
    """A file of the official contract. device: auto, cpu or cuda; threads: of one image, all cores by default; gpu: the
    number of the one that computes, where there are several"""

    precision = "the file's"
    kind = "onnx"

    def __init__(self, path: Path, device: str = "cpu", threads: int | None = None, gpu: int = 0):
        ort = runtime()
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors; they are raised too
        options.intra_op_num_threads = threads or machine.cores()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others decode and write meanwhile
        wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"] if device != "cpu" else ["CPUExecutionProvider"]
        there = set(ort.get_available_providers())
        if device == "cuda" and "CUDAExecutionProvider" not in there:
            raise DavidError("--device cuda: this onnxruntime computes on the CPU alone; install onnxruntime-gpu")
        readable.as_onnx(path)
        try:
            providers = [
                (name, {"device_id": gpu} if name.startswith("CUDA") else {}) for name in wanted if name in there
            ]
            self.session: Any = ort.InferenceSession(path, options, providers)
        except Exception as error:  # onnxruntime's own, which share no base that it names
            raise DavidError(f"{path}: no ONNX file that onnxruntime can read ({_short(error)})") from error
        self.path, self.versions = path, {"onnxruntime": ort.__version__}
        self.on_gpu = self.session.get_providers()[0].startswith("CUDA")
        self.threads = None if self.on_gpu else options.intra_op_num_threads
        said: dict[str, str] = self.session.get_modelmeta().custom_metadata_map
        self.about: dict[str, Any] = {name: _content(text) for name, text in said.items()}
        self.input = self._input()
        self.outputs = self._outputs()
        self.fields = tuple(self.outputs)

    def _input(self) -> str:
        inputs = self.session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 and inputs[0].type == FLOAT else []
        if len(shape) != 4 or shape[1] != 3 or not isinstance(shape[2], int) or shape[2] != shape[3]:
            raise self._refusal(f"inputs of {', '.join(f'{one.type} {one.shape}' for one in inputs)}")
        self.side, self.batch = shape[2], shape[0] if isinstance(shape[0], int) else None
        return inputs[0].name

    def _outputs(self) -> dict[str, str]:
        """Which field each output is, field -> its name in the file."""
        outputs, square = self.session.get_outputs(), [self.side or 0] * 2
        kinds = {"relative_depth": square, "normals": [3, *square], "alpha": [1, *square]}
        shapes = [list(one.shape[1:]) for one in outputs]
        if not all(isinstance(length, int) for shape in shapes for length in shape):  # the file does not say
            seen = np.zeros([self.batch or 1, 3, *square], np.float32)
            shapes = [list(answer.shape[1:]) for answer in self.session.run(None, {self.input: seen})]
        floats = all(one.type == FLOAT for one in outputs)
        if floats and shapes == list(kinds.values()):
            return dict(zip(kinds, (one.name for one in outputs), strict=True))
        own = OWN.get(str(self.about.get("task")))
        if floats and own and shapes == [square]:
            return {own: outputs[0].name}
        if floats and len(shapes) == 1 and shapes[0] in kinds.values():
            field = next(name for name, shape in kinds.items() if shape == shapes[0])
            return {field: outputs[0].name}
        raise self._refusal(f"outputs of {', '.join(f'{one.type} {one.shape}' for one in outputs)}")

    def _refusal(self, found: str) -> DavidError:
        return DavidError(f"{self.path}: expected an ONNX file with {CONTRACT}; found {found}")

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        seen = np.ascontiguousarray(images[..., ::-1].transpose(0, 3, 1, 2), np.float32) / 255
        answers = self.session.run(list(self.outputs.values()), {self.input: seen})
        said = {name: answer.astype(np.float32, copy=False) for name, answer in zip(self.outputs, answers, strict=True)}
        for name in DEPTHS:
            if name in said:
                said[name] = said[name][:, None]
        if tuple(said) == ("relative_depth",):  # nearness alone, distance among others
            said["relative_depth"] = -said["relative_depth"]
        return said


def runtime() -> Any:
    """onnxruntime. Raises DavidError where it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise DavidError(f"ONNX files need onnxruntime, which is not installed: {INSTALL}") from error
    return onnxruntime


def _content(text: str) -> Any:
    """What a file says under a name: JSON where it is an object of it, as our own exports have it, else text."""
    if text.startswith("{"):
        with suppress(ValueError, RecursionError):
            return json.loads(text)
    return text


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
