"""Weights: the backbone's, from ImageNet; the whole network's, to a file and back.

The backbone's come from timm's hub or from a file that somebody published (`foreign`), those to fine-tune from another
network's file. They are matched name by name and shape by shape, and a `KeyReport` says what fitted. Whole networks are
one safetensors file that also says what it is the weights of, so that a file alone is enough to predict.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from rich.table import Table
from safetensors import SafetensorError, safe_open
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import nn

from david.model import config as configs
from david.model import foreign, label, official, pickled, readable
from david.model.configs.base import ModelConfig
from david.model.configs.depth_anything import DepthAnythingConfig, Dinov2Config
from david.model.networks.backbone import ViT
from david.model.networks.network import Network, build
from david.pack.errors import DavidError
from david.pack.files import whole

# Of the backbone's parameters, by number; below this a file is of another architecture or only half there.
LEAST_MATCHED = 0.95
# Of the whole network's: other heads or another decoder may begin anew.
LEAST_OF_WHOLE = 0.5


@dataclass(frozen=True)
class KeyReport:
    """What of the weights was found in `source`: names of tensors, in the backbone as timm calls them.

    part: what was to be filled, backbone or network
    share: of its parameters, 0 to 1, that were matched
    matched: in both, of one shape; misshapen: in both, not of one shape; missing: of the part, not in the source
    unexpected: of the source, not in the part. The final norm, the classifier and blocks after the last tap
        belong there: the network does not have them
    resized: position embeddings that were brought to another grid
    """

    source: str
    part: str
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
        parts = [f"{self.share:.1%} of the {self.part}'s parameters from {self.source}"]
        return "; ".join(parts + [f"{name}: {foreign.some(entries)}" for name, entries in self.lists().items()])

    def __rich__(self) -> Table:
        table = Table(
            "", "tensors", "which", title=f"{self.part.capitalize()} weights from {self.source}", title_justify="left"
        )
        table.add_row("matched", str(len(self.matched)), f"{self.share:.1%} of the {self.part}'s parameters")
        for name, entries in self.lists().items():
            table.add_row(name, str(len(entries)), foreign.some(entries, most=8))
        return table


def load_backbone(network: Network, source: Path | None = None) -> KeyReport:
    """Fill the backbone from a published file, or from timm's hub where `source` is None.

    Raises DavidError, with the network as it was, where less than 95 % of the backbone's parameters fit.
    """
    vit, name = network.backbone.vit, network.config.backbone
    found = foreign.from_hub(vit, name) if source is None else foreign.from_file(vit, name, Path(source))
    state = {official.unchunked(one): tensor for one, tensor in found.items()}
    origin = f"timm's hub, {name}" if source is None else str(source)
    fitting, report = match_backbone(vit, state, origin)
    if report.missing or report.misshapen:  # perhaps under the names of whoever trained it
        other = match_backbone(vit, foreign.as_timm_reads(vit, state), origin)
        fitting, report = max((fitting, report), other, key=lambda found: found[1].share)
    if report.share < LEAST_MATCHED:
        raise DavidError(
            f"{report.source}: expected weights of {name} that fill at least {LEAST_MATCHED:.0%} of its parameters, "
            f"found {report}"
        )
    vit.load_state_dict(fitting, strict=False)
    return report


def load_whole(network: Network, source: Path, told: ModelConfig | None = None) -> KeyReport:
    """Fill the network from another one's file, `save`'s, a checkpoint's or another implementation's: whatever has
    the same name and shape.

    told: what the file is the weights of, which is then held to all of them. What Depth Anything V2's last layer says,
    disparity or a share of the metres, is left to be drawn where the file's is the other: a sigmoid of disparity is
    nearly 1 everywhere, where it learns nothing.

    Raises DavidError, with the network as it was, where less than half of its parameters are there, nor the whole
    backbone."""
    readable.as_network(source)
    try:
        state, whose = _begun_with(network.config, source, told)
    except (OSError, SafetensorError) as error:
        raise DavidError(f"{source}: expected a network's weights ({foreign.first_line(error)})") from error
    ours = network.config
    if whose and isinstance(ours, DepthAnythingConfig) and _says_shares(whose) != _says_shares(ours):
        state = {name: tensor for name, tensor in state.items() if not name.startswith(official.LAST)}
    state, resized = _on_grid(network.backbone.vit, state, "backbone.vit.pos_embed")
    fitting, report = match(network, "network", state, str(source), resized)
    backbone = {name for name in network.state_dict() if name.startswith("backbone.")}
    if report.share < LEAST_OF_WHOLE and not backbone <= fitting.keys():
        raise DavidError(
            f"{source}: expected weights that fill at least {LEAST_OF_WHOLE:.0%} of the network's parameters, found "
            f"{report}; take the model settings that they were trained with, and for a backbone's own weights "
            "--backbone-weights"
        )
    network.load_state_dict(fitting, strict=False)
    return report


def _begun_with(
    config: ModelConfig, source: Path, told: ModelConfig | None
) -> tuple[foreign.State, ModelConfig | None]:
    """A file's tensors under our names, and what they are the weights of, where that is known. Raises DavidError where
    it isn't, and has to be."""
    if told is not None:
        return load_others(source, told).state_dict(), told
    if not isinstance(config, Dinov2Config):
        return pickled.read(source) if readable.is_pickled(source) else safetensors.torch.load_file(source), None
    state = official.opened(source)
    if not official.looks_so(state):
        about = None if readable.is_pickled(source) else label.read(source)
        return state, _config(source, about) if about else None
    if isinstance(config, DepthAnythingConfig):
        raise DavidError(f"{source}: {official.UNTOLD}; say {source}@da2-vitl and so on")
    return official.known(source, state, config), None


def _says_shares(config: ModelConfig) -> bool:
    """Whether its last layer, through a sigmoid, says shares of the farthest depth, and not disparity."""
    return isinstance(config, DepthAnythingConfig) and config.max_depth is not None


def match_backbone(vit: ViT, state: foreign.State, source: str) -> tuple[foreign.State, KeyReport]:
    """`match`, wherever in the source the ViT is, and whatever its grid."""
    state, resized = _on_grid(vit, _without_prefix(state, source), "pos_embed")
    return match(vit, "backbone", state, source, resized)


def match(
    module: nn.Module, part: str, state: foreign.State, source: str, resized: tuple[str, ...]
) -> tuple[foreign.State, KeyReport]:
    """The tensors of `state` that fit `module` under its own names, and the report about all of them."""
    target = module.state_dict()
    fitting = {name: state[name] for name in target if name in state and state[name].shape == target[name].shape}
    foreign.require_floats(source, {name: one for name, one in fitting.items() if target[name].is_floating_point()})
    return fitting, KeyReport(
        source=source,
        part=part,
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


def _on_grid(vit: ViT, state: foreign.State, name: str) -> tuple[foreign.State, tuple[str, ...]]:
    """The position embeddings `name` of another square grid, resized to the ViT's own as timm does it: bicubic,
    antialiased."""
    have, want = state.get(name), getattr(vit, "pos_embed", None)
    if have is None or want is None or have.ndim != 3 or have.shape[-1] != want.shape[-1] or have.shape == want.shape:
        return state, ()
    grid = vit.patch_embed.grid_size
    prefix = want.shape[1] - math.prod(grid)
    side = math.isqrt(max(0, have.shape[1] - prefix))
    if side == 0 or side * side != have.shape[1] - prefix:
        return state, ()
    pos_embed = resample_abs_pos_embed(have, new_size=list(grid), old_size=[side, side], num_prefix_tokens=prefix)
    return state | {name: pos_embed}, (f"pos_embed {side} x {side} to {grid[0]} x {grid[1]}",)


def save(network: Network, path: Path, **more: Any) -> None:
    """Write the network's weights and its configuration to one safetensors file, whole or absent.

    more: what else the file is to say about itself, see `label.py`"""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with whole(path) as file:
        file.write(safetensors.torch.save(state, label.metadata(network.config, **more)))


def load(path: Path, device: torch.device | str = "cpu") -> Network:
    """The network that `save` wrote, or a run, in evaluation mode. Raises DavidError where the file is another or
    damaged."""
    about = label.read(path)
    if about is None:
        raise DavidError(f"{path}: expected weights that david saved, found safetensors that do not say of what")
    config = _config(path, about)
    with safe_open(path, framework="pt") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    with torch.device("meta"):  # before anything is allocated: what the file says it is, against what it holds
        expected = {name: list(tensor.shape) for name, tensor in build(config).state_dict().items()}
    wrong = tuple(name for name in expected | shapes if expected.get(name) != shapes.get(name))
    if wrong:
        raise DavidError(f"{path}: the tensors are not those of its own configuration: {foreign.some(wrong)}")
    network = build(config)
    network.load_state_dict(safetensors.torch.load_file(path))
    return network.to(device).eval()


def load_others(path: Path, config: ModelConfig, judged: bool = True) -> Network:
    """The network of `config` with the weights that its authors, or those of the unofficial implementation, published,
    in evaluation mode.

    judged: whether what it says is looked at, see `official.judge`. Raises DavidError where the file holds anything but
    all of them, or says what no such network says."""
    if isinstance(config, Dinov2Config):
        state = official.read(path, config)
    else:
        state = pickled.read(path)
        if official.looks_so(state) or any("scratch.output_conv2" in name for name in state):
            raise DavidError(f"{path}: {official.UNTOLD}")
    with torch.device("meta"):  # before anything is allocated
        _, report = match(build(config), "network", state, str(path), ())
    if report.missing or report.misshapen or report.unexpected:
        raise DavidError(f"{path}: expected the weights of the network `{config.kind}`, all of them; found {report}")
    network = build(config)
    network.load_state_dict(state)
    if judged and isinstance(config, DepthAnythingConfig):
        official.judge(path, network.eval(), config)
    return network.eval()


def _config(path: Path, about: dict[str, Any]) -> ModelConfig:
    try:
        return configs.from_json(about["model"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DavidError(f"{path}: its configuration cannot be read ({foreign.first_line(error)})") from error
