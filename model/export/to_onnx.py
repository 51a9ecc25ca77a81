"""A graph to one self-contained ONNX file, in float32 or in float16 with float32 inputs and outputs.

Opset 20 has GELU as one operator and is the last that DirectML takes; onnxruntime reads it from 1.18 on, TensorRT from
10. Needs the extra `onnx`.
"""

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from david.model.export.contract import INPUT
from david.model.export.tasks import Precision
from david.model.predict.onnx_file import INSTALL
from david.pack.errors import DavidError

OPSET = 20
LARGEST = 2**31 - 1  # bytes of a protobuf message, which an ONNX file in one piece is
# Float16 loses too much where these add up many values or divide by their spread; a resize's scales must be float32.
STAY_FLOAT32 = ("Resize", "LayerNormalization", "Softmax")


def write(program: ExportedProgram, outputs: list[str], path: Path, precision: Precision, about: dict[str, str]) -> int:
    """Write the file, with what is said about it; how many bytes it has in float32.

    outputs: their names, by order. Raises DavidError where the extra is not installed or the file would be too large"""
    require()
    import onnx

    parameters = sum(tensor.numel() * 4 for tensor in program.state_dict.values())
    if parameters > LARGEST:
        raise DavidError(
            f"the weights alone have {parameters / 1e9:.1f} GB, and an ONNX file in one piece 2.1 GB at most; "
            "export with --format pt2"
        )
    with quiet():
        made = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            input_names=[INPUT],
            output_names=outputs,
            verbose=False,
        )
    assert made is not None
    proto = made.model_proto
    del made
    proto.producer_name = "david"
    onnx.helper.set_model_props(proto, about)
    whole = proto.ByteSize()
    if precision == "fp16":
        proto = _in_half(proto)
    path.write_bytes(proto.SerializeToString())
    return whole


def _in_half(proto: Any) -> Any:
    """The model in float16, but for `STAY_FLOAT32` and what follows the last convolution of each head, with that."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    with quiet():
        return convert_float_to_float16(
            proto,
            keep_io_types=True,
            op_block_list=[*DEFAULT_OP_BLOCK_LIST, *STAY_FLOAT32],
            node_block_list=_ends(proto.graph),
        )


def _ends(graph: Any) -> list[str]:
    """The nodes from each output back to a convolution: 1x1 of a head's last map to what it says. Depth changes from a
    pixel to the next by less than float16 can tell."""
    maker = {name: node for node in graph.node for name in node.output}
    found, ahead = {}, [output.name for output in graph.output]
    while ahead:
        node = maker.get(ahead.pop())
        if node is None or node.name in found:
            continue
        found[node.name] = node
        if node.op_type != "Conv":
            ahead.extend(node.input)
    return list(found)


def require() -> None:
    """Raise DavidError where what writes ONNX files is not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise DavidError(f"ONNX files need {error.name}, which is not installed: {INSTALL}") from error


@contextlib.contextmanager
def quiet():
    """Without what the exporters say of their own steps, to Python's warnings and to the terminal."""
    import logging

    names = ("onnxscript", "onnx_ir", "torch.onnx", "onnxruntime")
    levels = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
