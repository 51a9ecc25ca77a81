"""A network as one file in the contract of DAViD's official demo, ONNX or torch's own: `export`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from david.model.export.exported import Exported, export

__all__ = ["Exported", "export"]


def __getattr__(name: str) -> Any:
    """`export` and `Exported`, with torch, when one is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from david.pack.lazy import load

    return load(f"david.model.export.exported:{name}")
