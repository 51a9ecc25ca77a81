"""The kinds of network, and the configurations that have a name. A recipe holds one `ModelConfig`.

A new kind is a file in `configs/`, a file in `networks/` and a row in `KINDS`. Without torch.
"""

from dataclasses import dataclass, replace
from typing import Any

from david.model.configs import david, depth_anything, unofficial
from david.model.configs.base import ModelConfig
from david.pack.errors import DavidError
from david.pack.lazy import Lazy


@dataclass(frozen=True)
class Kind:
    """config: the class of its configurations; network: that of the `Network` which is made of one"""

    config: type[ModelConfig]
    network: Lazy


KINDS: dict[str, Kind] = {
    "david": Kind(david.DavidConfig, "david.model.networks.david:David"),
    "unofficial": Kind(unofficial.UnofficialConfig, "david.model.networks.unofficial:Unofficial"),
    "depth_anything": Kind(depth_anything.DepthAnythingConfig, "david.model.networks.depth_anything:DepthAnything"),
    "zoe": Kind(depth_anything.ZoeConfig, "david.model.networks.zoe:Zoe"),
}
FIRST = "david"  # the kind of a configuration that was stored before there were others

MODELS: dict[str, ModelConfig] = {**david.MODELS, **unofficial.MODELS, **depth_anything.MODELS}


def configure(name: str, **changes: Any) -> ModelConfig:
    """The configuration called `name` with some of its fields replaced."""
    if name not in MODELS:
        raise DavidError(f"unknown model {name!r}: expected one of {', '.join(MODELS)}")
    return replace(MODELS[name], **changes)


def class_of(kind: str | None) -> type[ModelConfig]:
    """The class of a kind's configurations; without a kind, of those stored before there were others."""
    if (kind or FIRST) not in KINDS:
        raise DavidError(f"model.kind: expected one of {', '.join(KINDS)}, found {kind!r}")
    return KINDS[kind or FIRST].config


def from_json(content: dict[str, Any]) -> ModelConfig:
    """The configuration that `asdict` gave, after JSON: lists become tuples. Raises TypeError for other fields."""
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
    }
    return class_of(fields.get("kind"))(**fields)
