"""Weights: the backbone's, from ImageNet; the whole network's, to a file and back.

The backbone's come from timm's hub or from a file that somebody published (`foreign`). They are matched name by name
and shape by shape, and a `Report` says what fitted. Whole networks are one safetensors file that also says what it is
the weights of, so that a file alone is enough to predict.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from rich.table import Table
from safetensors import SafetensorError, safe_open
from timm.layers.pos_embed import resample_abs_pos_embed

from david.model import foreign
from david.model.backbone import ViT
from david.model.config import ModelConfig
from david.model.network import Network
from david.pack.errors import DavidError
from david.pack.files import whole

# Of the backbone's parameters, by number; below this a file is of another architecture or only half there.
LEAST_MATCHED = 0.95
# What a safetensors file of ours says about itself, as JSON.
ABOUT = "david"


@dataclass(frozen=True)
class Report:
    """What of the backbone's weights was found in `source`: names of tensors, as timm calls them.

    share: of the backbone's parameters, 0 to 1, that were matched
    matched: in both, of one shape; misshapen: in both, not of one shape; missing: of the backbone, not in the source
    unexpected: of the source, not in the backbone. The final norm, the classifier and blocks after the last tap
        belong there: the network does not have them
    resized: position embeddings that were brought to another grid
    """

    source: str
    share: float
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    misshapen: tuple[str, ...]
    unexpected: tuple[str, ...]
    resized: tuple[str, ...]

    def lists(self) -> dict[str, tuple[str, ...]]:
        """What is worth reading: everything but the names that matched."""
        lists = {name: getattr(self, name) for name in ("resized", "missing", "misshapen", "unexpected")}
        return {name: entries for name, entries in lists.items() if entries}

    def __str__(self) -> str:
        parts = [f"{self.share:.1%} of the backbone's parameters from {self.source}"]
        return "; ".join(parts + [f"{name}: {_some(entries)}" for name, entries in self.lists().items()])

    def __rich__(self) -> Table:
        table = Table("", "tensors", "which", title=f"Backbone weights from {self.source}", title_justify="left")
        table.add_row("matched", str(len(self.matched)), f"{self.share:.1%} of the backbone's parameters")
        for name, entries in self.lists().items():
            table.add_row(name, str(len(entries)), _some(entries, most=8))
        return table


def load_backbone(network: Network, source: Path | None = None) -> Report:
    """Fill the backbone from a published file, or from timm's hub where `source` is None.

    Raises DavidError, with the network as it was, where less than 95 % of the backbone's parameters fit.
    """
    vit, name = network.backbone.vit, network.config.backbone
    state = foreign.from_hub(vit, name) if source is None else foreign.from_file(vit, name, Path(source))
    fitting, report = match(vit, state, f"timm's hub, {name}" if source is None else str(source))
    if report.share < LEAST_MATCHED:
        raise DavidError(
            f"{report.source}: expected weights of {name} that fill at least {LEAST_MATCHED:.0%} of its parameters, "
            f"found {report}"
        )
    vit.load_state_dict(fitting, strict=False)
    return report


def match(vit: ViT, state: foreign.State, source: str) -> tuple[foreign.State, Report]:
    """The tensors of `state` that fit `vit` under its own names, and the report about all of them."""
    state, resized = _on_grid(vit, _without_prefix(state, source))
    target = vit.state_dict()
    fitting = {name: state[name] for name in target if name in state and state[name].shape == target[name].shape}
    sick = next((name for name, tensor in fitting.items() if not tensor.isfinite().all()), None)
    if sick:
        raise DavidError(f"{source}: {sick} holds values that are not finite; the file is damaged")
    return fitting, Report(
        source=source,
        share=sum(target[name].numel() for name in fitting) / sum(tensor.numel() for tensor in target.values()),
        matched=tuple(fitting),
        missing=tuple(name for name in target if name not in state),
        misshapen=tuple(
            f"{name} {tuple(state[name].shape)}, expected {tuple(target[name].shape)}"
            for name in target
            if name in state and name not in fitting
        ),
        unexpected=tuple(name for name in state if name not in target),
        resized=resized,
    )


def _without_prefix(state: foreign.State, source: str) -> foreign.State:
    """Names as timm has them, where the ViT was saved as a part of something (`module.`, `backbone.vit.`)."""
    anchor = "patch_embed.proj.weight"
    prefixes = [name.removesuffix(anchor) for name in state if name.endswith(anchor)]
    if len(prefixes) > 1:
        raise DavidError(f"{source}: expected one ViT, found one at each of {', '.join(map(repr, prefixes))}")
    return {name.removeprefix(prefixes[0]): tensor for name, tensor in state.items()} if prefixes else state


def _on_grid(vit: ViT, state: foreign.State) -> tuple[foreign.State, tuple[str, ...]]:
    """Position embeddings of another square grid, resized to the ViT's own as timm does it: bicubic, antialiased."""
    have, want = state.get("pos_embed"), getattr(vit, "pos_embed", None)
    if have is None or want is None or have.ndim != 3 or have.shape[-1] != want.shape[-1] or have.shape == want.shape:
        return state, ()
    grid = vit.patch_embed.grid_size
    prefix = want.shape[1] - math.prod(grid)
    side = math.isqrt(max(0, have.shape[1] - prefix))
    if side == 0 or side * side != have.shape[1] - prefix:
        return state, ()
    pos_embed = resample_abs_pos_embed(have, new_size=list(grid), old_size=[side, side], num_prefix_tokens=prefix)
    return state | {"pos_embed": pos_embed}, (f"pos_embed {side} x {side} to {grid[0]} x {grid[1]}",)


def _some(names: tuple[str, ...], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def save(network: Network, path: Path) -> None:
    """Write the network's weights and its configuration to one safetensors file, whole or absent."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    about = {ABOUT: json.dumps({"model": asdict(network.config)}, sort_keys=True)}
    with whole(path) as file:
        file.write(safetensors.torch.save(state, about))


def load(path: Path, device: torch.device | str = "cpu") -> Network:
    """The network that `save` wrote, in evaluation mode. Raises DavidError where the file is another or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            about = (file.metadata() or {}).get(ABOUT)
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise DavidError(f"{path}: expected weights that david saved ({foreign.first_line(error)})") from error
    if about is None:
        raise DavidError(f"{path}: expected weights that david saved, found safetensors that do not say of what")
    config = _config(path, about)
    with torch.device("meta"):  # before anything is allocated: what the file says it is, against what it holds
        expected = {name: list(tensor.shape) for name, tensor in Network(config).state_dict().items()}
    wrong = tuple(name for name in expected | shapes if expected.get(name) != shapes.get(name))
    if wrong:
        raise DavidError(f"{path}: the tensors are not those of its own configuration: {_some(wrong)}")
    network = Network(config)
    network.load_state_dict(safetensors.torch.load_file(path))
    return network.to(device).eval()


def _config(path: Path, about: str) -> ModelConfig:
    try:
        fields = json.loads(about)["model"].items()
        as_made: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in fields}
        return ModelConfig(**as_made)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DavidError(f"{path}: its configuration cannot be read ({foreign.first_line(error)})") from error
