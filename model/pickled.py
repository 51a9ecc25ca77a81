"""A whole network's weights as the unofficial PyTorch implementation of DAViD pickles them, under our names.

Its best model is a bare state dict; a checkpoint holds one as `model_state_dict` beside what its optimiser knew. Names
begin with what wrapped the network then, DistributedDataParallel's `module.` and torch.compile's `_orig_mod.`, as often
as it was wrapped. Nothing in a file is run.
"""

import re
from pathlib import Path

from david.model import foreign
from david.model.foreign import State
from david.pack.errors import DavidError

KIND = "unofficial"
WRAPPED = re.compile(r"(?:module\.|_orig_mod\.)+")
SECOND = {"depth": "depth", "normal": "normals", "alpha": "alpha", "basecolor": "basecolor", "geo": "geometry"}
RESIDUAL = {"conv1": "conv1", "bn1": "norm1", "conv2": "conv2", "bn2": "norm2"}


def _levels(theirs: str, ours: str) -> list[tuple[str, str]]:
    """One rule for each of four levels, which they count from 1 and we from 0."""
    return [(theirs.format(level + 1), ours.format(level)) for level in range(4)]


NAMES: dict[str, str] = dict(  # beginnings of names, theirs to ours; the first that fits is taken
    [
        ("pretrained.model.norm.", "unused.norm."),
        ("pretrained.model.head.", "unused.head."),
        ("pretrained.model.", "backbone.vit."),
        *_levels("pretrained.act_postprocess{}.0.project.0.", "reassemble.taps.{}.readout."),
        *_levels("pretrained.act_postprocess{}.3.", "reassemble.taps.{}.project."),
        *_levels("pretrained.act_postprocess{}.4.", "reassemble.taps.{}.scale."),
        *_levels("scratch.layer{}_rn.", "reassemble.taps.{}.widen."),
        *_levels("resizer.resizer{}.conv.", "resizer.{}."),
        *(
            rule
            for unit, own in {"encoder_rconv": "encoder", "intermediate_rconv": "joined"}.items()
            for part, own_part in RESIDUAL.items()
            for rule in _levels(f"decoder_block{{}}.{unit}.{part}.", f"decoder.{{}}.{own}.{own_part}.")
        ),
        *_levels("decoder_block{}.final_conv.", "decoder.{}.mix."),
        *((f"{theirs}_head2.", f"second_heads.{ours}.") for theirs, ours in SECOND.items()),
        *((f"{theirs}_head.", f"heads.{ours}.") for theirs, ours in SECOND.items()),
    ]
)


def read(path: Path) -> State:
    """The tensors in a file, under our names where the rules know them, else as they are. Raises DavidError where it
    can't be read, holds anything but tensors to be run, or two names become one."""
    state: State = {}
    for name, tensor in foreign.from_pickle(path, f"the network `{KIND}`").items():
        renamed = ours(name)
        if renamed in state:
            raise DavidError(f"{path}: two tensors are both {renamed} once their prefixes are gone; the last is {name}")
        state[renamed] = tensor
    return state


def ours(name: str) -> str:
    """A tensor's name in `networks/unofficial.py`; one that no rule knows stays, without its wrappers."""
    name = WRAPPED.sub("", name, count=1) if WRAPPED.match(name) else name
    for theirs, own in NAMES.items():
        if name.startswith(theirs):
            return own + name.removeprefix(theirs)
    return name
