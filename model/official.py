"""Depth Anything V2's files, and ZoeDepth's on Depth Anything, under our names; and our networks under theirs.

    Depth Anything V2, relative or metric   pretrained.*, depth_head.*, bare or as its trainer saves it, {"model": ...}
                                            with `module.` before each name
    Distill-Any-Depth                       the same network as backbone.*, its blocks in chunks, blocks.0.N
    ZoeDepth on Depth Anything              core.core.pretrained.*, core.core.depth_head.*, and the head's own names

Strict: each tensor of a file has its place and its shape, or the file is refused. What a file can't tell must be told:
whether it is relative or metric and up to how many metres, and that it is not of version 1, whose files look the same.
Nothing in a file is run.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from david.model import foreign, readable
from david.model.configs.base import ModelConfig
from david.model.configs.depth_anything import ENCODERS, DepthAnythingConfig, Dinov2Config, ZoeConfig
from david.model.foreign import State
from david.model.networks.network import Network, build
from david.pack.errors import DavidError

WRAPPED = re.compile(r"(?:module\.|_orig_mod\.)+")
CHUNKED = re.compile(r"\bblocks\.\d+\.(\d+)\.")  # a block's own number follows its chunk's
CORE = "core.core."
TRUNK, HEAD = "pretrained.", "depth_head."
LAST = "head.last."  # under our names: what says disparity, or a share of the metres
# What ZoeDepth's distribution over K bins keeps beside its weights: 0 .. K - 1, and K - 1.
NUMBERS, MOST = (f"conditional_log_binomial.log_binomial_transform.{name}" for name in ("k_idx", "K_minus_1"))
JUDGED, PLAIN = 252, 0.999  # side in pixels of what a file is judged by, and the share of pixels that is plain
UNTOLD = (
    "a file of Depth Anything's names, which don't tell what it is: give a kind, such as da2-vitl for relative, "
    "da2-vitl-metric with max_depth for metric depth, or da2-zoe-vitl for ZoeDepth's head"
)
OTHERS = {  # how names of networks that can't be held here look, and what they are
    r"(?:backbone\.encoder\.layer\.|backbone\.embeddings\.|neck\.)": "in the layout of Hugging Face's transformers; "
    "take the authors' own file, depth_anything_v2_*.pth",
    r"core\.core\.(?:pretrained\.model\.|scratch\.)": "ZoeDepth on MiDaS's BEiT, which david has no network for; take "
    "one on Depth Anything",
    r"(?:seed_bin_regressors|conditional_log_binomial\.\w+\.mlp)\b": "ZoeDepth with a head for each data set (NK), "
    "which david has no network for; take one with a single head",
}


def read(path: Path, config: Dinov2Config) -> State:
    """All tensors of the network of `config`, under our names. Raises DavidError, naming what is missing, unexpected or
    of another shape, where the file holds anything but them."""
    state = theirs(path, opened(path))
    if _unpublished(config):
        raise DavidError(f"{path}: nobody publishes weights of the pyramid `adapter`; take pyramid=dpt")
    if other := _other(state, config):
        raise DavidError(f"{path}: expected {_what(config)}; found {other}")
    with torch.device("meta"):
        names = official_names(build(config))
    if isinstance(config, ZoeConfig):
        _take_constants(path, state, config)
    expected = {official: shape for official, (_, shape) in names.items()}
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    misshapen = [
        f"{name} {tuple(state[name].shape)}, expected {tuple(shape)}"
        for name, shape in expected.items()
        if name in state and state[name].shape != shape
    ]
    if missing or unexpected or misshapen:
        lists = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
        found = "; ".join(f"{name}: {foreign.some(entries)}" for name, entries in lists.items() if entries)
        raise DavidError(f"{path}: expected {_what(config)}, all of its tensors{_size(state, config)}; found {found}")
    foreign.require_floats(path, state)
    return {ours: state[official] for official, (ours, _) in names.items()}


def known(path: Path, found: Mapping[str, torch.Tensor], config: Dinov2Config) -> State:
    """What a file's tensors are of the network of `config`, under our names, whatever else it lacks or has: to begin
    with. Names that no rule knows stay as they are."""
    state, core = theirs(path, found), CORE if isinstance(config, ZoeConfig) else ""
    with torch.device("meta"):
        names = official_names(build(config))
    bare = {official.removeprefix(core): ours for official, (ours, _) in names.items()}
    return {bare.get(name.removeprefix(CORE), name): tensor for name, tensor in state.items()}


@torch.inference_mode()
def judge(path: Path, network: Network, config: DepthAnythingConfig) -> None:
    """Raise DavidError where a relative file was given as metric, or a metric one as relative, as far as that is plain
    from what the network says of soft blobs of colour.

    Both hold the same tensors. A relative network's last layer says numbers above 0, which as metres would all lie in
    the farther half of the range; a metric one's says numbers below 0 of what lies in the nearer half, which as
    disparity would be 0."""
    coarse = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    image = torch.nn.functional.interpolate(coarse, (JUDGED, JUDGED), mode="bicubic").clamp(0, 1)
    (said,) = network(image).values()
    if config.max_depth is None:
        share = float((said == 0).float().mean())
        if share > PLAIN:
            raise DavidError(
                f"{path}: expected a relative file; its disparity is 0 on {share:.1%} of made-up pictures, as a metric "
                f"file's would be; give a kind such as da2-vitl-metric with max_depth"
            )
        return
    share = float((said > config.max_depth / 2).float().mean())
    if share > PLAIN:
        least, most = float(said.min()), float(said.max())
        raise DavidError(
            f"{path}: expected a metric file; {share:.1%} of made-up pictures would lie between {least:.3g} and "
            f"{most:.3g} m of {config.max_depth:g} m, as a relative file's disparity would; give a kind like da2-vitl"
        )


def to_official(network: Network) -> State:
    """A network's tensors, on the CPU, under the names of the file that its authors would have saved. Raises DavidError
    for one that they have no names for."""
    if not isinstance(network.config, Dinov2Config) or _unpublished(network.config):
        what = f"`{network.config.kind}`" + (" with the adapter" if isinstance(network.config, ZoeConfig) else "")
        raise DavidError(f"the network {what} has no official names; save it as david does")
    state = network.state_dict()
    told = {name: state[ours].detach().cpu() for name, (ours, _) in official_names(network).items()}
    if isinstance(network.config, ZoeConfig):
        told |= _constants(network.config)
    return told


def official_names(network: Network) -> dict[str, tuple[str, torch.Size]]:
    """By official name our own, and the shape."""
    state = network.state_dict()
    return {_renamed(ours, network.config): (ours, tensor.shape) for ours, tensor in state.items()}


def opened(path: Path) -> State:
    """The tensors of a file, by their names there. Raises DavidError where it can't be read."""
    readable.as_network(path)
    if readable.is_pickled(path):
        return foreign.from_pickle(path, "Depth Anything V2")
    try:
        return safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise DavidError(f"{path}: expected a network's weights ({foreign.first_line(error)})") from error


def theirs(path: Path, found: Mapping[str, torch.Tensor]) -> State:
    """A file's tensors as Depth Anything V2's own files call them, those of ZoeDepth's behind `core.core.`. Raises
    DavidError where they are of a network that can't be held here, or two names become one."""
    state: State = {}
    for name, tensor in found.items():
        bare = WRAPPED.sub("", name, count=1) if WRAPPED.match(name) else name
        for pattern, what in OTHERS.items():
            if re.match(pattern, bare):
                raise DavidError(f"{path}: {name} is the name of a tensor {what}")
        bare = unchunked(bare)
        bare = TRUNK + bare.removeprefix("backbone.") if bare.startswith("backbone.") else bare
        if bare in state:
            raise DavidError(f"{path}: two tensors are both {bare} once their prefixes are gone; the last is {name}")
        state[bare] = tensor
    return state


def unchunked(name: str) -> str:
    """A tensor's name where blocks are numbered through: of `blocks.0.7.norm1.weight` the `0` goes."""
    return CHUNKED.sub(r"blocks.\1.", name)


def looks_so(names: Iterable[str]) -> bool:
    """Whether a file's names are those of the files that are read here, or of a kin that is refused by its name."""
    kin = re.compile(r"(?:.*\.)?depth_head\.scratch\.|core\.core\.|backbone\.encoder\.layer\.|neck\.")
    return any(kin.match(name) for name in names)


def _rules(config: ModelConfig) -> list[tuple[str, str]]:
    """Beginnings of our names and what stands for them in theirs; the first that fits is taken."""
    core = CORE if isinstance(config, ZoeConfig) else ""
    head, levels = f"{core}{HEAD}", range(4)
    return [
        ("backbone.vit.", f"{core}{TRUNK}"),
        ("backbone.", f"{core}{TRUNK}"),  # the mask token
        *((f"pyramid.taps.{i}.project.", f"{head}projects.{i}.") for i in levels),
        *((f"pyramid.taps.{i}.scale.", f"{head}resize_layers.{i}.") for i in levels),
        *((f"pyramid.taps.{i}.widen.", f"{head}scratch.layer{i + 1}_rn.") for i in levels),
        *(
            (f"pyramid.fusions.{i}.{ours}.", f"{head}scratch.refinenet{i + 1}.{official}.")
            for i in levels
            for ours, official in (("lateral", "resConfUnit1"), ("refine", "resConfUnit2"), ("out", "out_conv"))
        ),
        ("head.narrow.", f"{head}scratch.output_conv1."),
        ("head.refine.", f"{head}scratch.output_conv2.0."),
        ("head.last.", f"{head}scratch.output_conv2.2."),
        ("metric.squeeze.", "conv2."),
        ("metric.seed.", "seed_bin_regressor._net."),
        ("metric.seed_embedding.", "seed_projector._net."),
        *((f"metric.levels.{i}.embedding.", f"projectors.{i}._net.") for i in levels),
        *((f"metric.levels.{i}.attractors.", f"attractors.{i}._net.") for i in levels),
        ("metric.mixture.layers.", "conditional_log_binomial.mlp."),
    ]


def _renamed(ours: str, config: ModelConfig) -> str:
    """In their words; as it is where they have none."""
    if isinstance(config, Dinov2Config) and config.encoder.gated:
        ours = ours.replace(".mlp.fc1.", ".mlp.w12.").replace(".mlp.fc2.", ".mlp.w3.")
    fitting = (official + ours.removeprefix(own) for own, official in _rules(config) if ours.startswith(own))
    return next(fitting, ours)


def _unpublished(config: Dinov2Config) -> bool:
    return isinstance(config, ZoeConfig) and config.pyramid != "dpt"


def _other(state: State, config: Dinov2Config) -> str | None:
    """What a file is by its names, where it is something else than the network of `config`."""
    zoe = any(name.startswith(CORE) for name in state)
    if any(name.startswith(HEAD) for name in state):
        other = "Depth Anything's network without ZoeDepth's head; train one on it with --from"
        return other if isinstance(config, ZoeConfig) else None
    if zoe:
        return None if isinstance(config, ZoeConfig) else "ZoeDepth's head on it; give a kind such as da2-zoe-vitl"
    if any(name.removeprefix(TRUNK) == "patch_embed.proj.weight" for name in state):
        return "a DINOv2 by itself; training takes it with --backbone-weights"
    return f"tensors called {foreign.some(list(state), most=2)}"


def _what(config: Dinov2Config) -> str:
    form = "ZoeDepth on Depth Anything" if isinstance(config, ZoeConfig) else "Depth Anything V2"
    return f"{form} with {config.backbone.partition('.')[0]}"


def _size(state: State, config: Dinov2Config) -> str:
    """Which encoder a file is of, where it is another."""
    token = next((tensor for name, tensor in state.items() if name.endswith(f"{TRUNK}cls_token")), None)
    if token is None or not token.ndim or token.shape[-1] == config.encoder.width:
        return ""
    others = [name for name, encoder in ENCODERS.items() if encoder.width == token.shape[-1]]
    return f" ({token.shape[-1]} channels a token here{', as ' + others[0] + ' has' if others else ''})"


def _constants(config: ZoeConfig) -> State:
    bins = torch.arange(config.n_bins).view(1, -1, 1, 1)
    return {NUMBERS: bins, MOST: torch.full((1, 1, 1, 1), float(config.n_bins - 1))}


def _take_constants(path: Path, state: State, config: ZoeConfig) -> None:
    """Out of the state; a file that is converted may lack them. Raises DavidError where they are of other bins."""
    for name, value in _constants(config).items():
        found = state.pop(name, None)
        if found is not None and not (found.shape == value.shape and bool((found == value).all())):
            raise DavidError(
                f"{path}: expected the numbers of {config.n_bins} bins in {name}, found {tuple(found.shape)} others; "
                "tell n_bins as the file was trained with"
            )
