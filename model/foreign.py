"""Backbone weights as others publish them: read without running anything that a file may hold.

Whatever the container, what comes out is timm's own form: a dict from parameter names to tensors on the CPU.
"""

import math
import pickle
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from huggingface_hub import constants, get_session
from huggingface_hub.file_download import repo_folder_name
from safetensors.torch import load_file
from timm.models import load_state_dict_from_hf

from david.model import readable
from david.model.networks.backbone import ViT
from david.pack.errors import DavidError

State = dict[str, torch.Tensor]

ASK_S = 5.0  # for the hub to answer
# Weights are noise to a compressor: a zip that says it grows by more than this is not weights.
MOST_GROWTH = 4
_LONGEST_NAME = 100  # of a tensor, in an error
# Where checkpoints keep the weights among other things; averages come first, as in timm.
INSIDE = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict")


def from_hub(vit: ViT, name: str) -> State:
    """timm's weights for `name`, downloaded once into the hub's cache. Raises DavidError where they cannot be had.

    A machine without a network is found so within seconds: the hub is asked once before its client, which asks a dozen
    times, has its turn."""
    hub_id = vit.pretrained_cfg.get("hf_hub_id")
    if not hub_id:
        raise DavidError(f"timm publishes no weights for {name}: give a file with --backbone-weights, or train without")
    try:
        ask_once(hub_id)
        return load_state_dict_from_hf(hub_id)
    except Exception as error:  # of the hub's client, its HTTP library, its transfer library: they share no base
        raise DavidError(
            f"{hub_id}: its weights are not in the cache and could not be downloaded ({first_line(error)}); download "
            f"model.safetensors from https://huggingface.co/{hub_id} elsewhere and give it with --backbone-weights "
            "FILE, or name a folder that holds the hub's cache with HF_HOME"
        ) from error


def ask_once(hub_id: str) -> None:
    """Raise what the network raises where the hub does not answer, unless its cache knows these weights already."""
    if not (Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=hub_id, repo_type="model")).is_dir():
        get_session().head(constants.ENDPOINT, timeout=ASK_S)


def from_file(vit: ViT, name: str, path: Path) -> State:
    """The weights in a file for the timm model `name`. Raises DavidError where they cannot be read."""
    readable.as_backbone(path)
    return _read(path, f"weights of {name}", lambda: READERS[path.suffix.lower()](path, vit, name))


def from_pickle(path: Path, of: str) -> State:
    """The tensors in a file of torch's, by their names there. of: what they should be the weights of. Raises DavidError
    where they cannot be read."""
    return _read(path, f"weights of {of}", lambda: _pickle(path))


def _read(path: Path, what: str, read: Callable[[], State]) -> State:
    try:
        _refuse_bomb(path)
        state = read()
    except DavidError:
        raise
    except Exception as error:  # torch and timm have no error of their own for a damaged file: it may be any
        raise DavidError(f"{path}: cut short, damaged or not {what} ({first_line(error)})") from error
    if not state:
        raise DavidError(f"{path}: expected {what}, found no tensors")
    return state


def as_timm_reads(vit: ViT, state: State) -> State:
    """Tensors under the names of whoever trained them (DINOv2, CLIP, EVA, ...) under timm's, as timm itself renames
    them; those that it knows nothing of as they are."""
    rename = getattr(sys.modules[type(vit).__module__], "checkpoint_filter_fn", None)
    if rename is None:
        return state
    try:
        return rename(dict(state), vit)
    except Exception:  # for what it does not know it has no error of its own: what it misses may raise any
        return state


def _safetensors(path: Path, vit: ViT, name: str) -> State:
    return load_file(path)


def _pickle(path: Path, *_: Any) -> State:
    """What torch.save wrote, as tensors alone: torch refuses a pickle that names anything else to be called."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of torch's about pickles of other versions
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DavidError(
            f"{path}: expected a pickle of tensors alone, found one that is damaged or would call something else; "
            "have whoever made it save the state_dict as safetensors"
        ) from error
    for key in INSIDE:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict):
        raise DavidError(f"{path}: expected a dict of tensors, found {type(content).__name__}")
    for key, value in content.items():
        if isinstance(value, torch.Tensor) and not (
            value.layout == torch.strided and not value.is_meta and str(key).isprintable()
        ):
            form = "one without values" if value.is_meta else value.layout
            raise DavidError(f"{path}: expected dense tensors under plain names, found {str(key)[:80]!r}, {form}")
    return {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}


def _npz(path: Path, vit: ViT, name: str) -> State:
    """Google's JAX archive, put into timm's form by timm: into a whole ViT of the size that the archive is for."""
    with np.load(path, allow_pickle=False) as arrays:
        positions = [arrays[key].shape[-2] for key in arrays.files if key.endswith("pos_embedding")]
    size = {"img_size": math.isqrt(positions[0]) * vit.patch_embed.patch_size[0]} if positions else {}
    whole: ViT = timm.create_model(name, **size)
    whole.load_pretrained(str(path))
    return whole.state_dict()


READERS: dict[str, Callable[[Path, ViT, str], State]] = {  # of `readable.BACKBONE`
    ".safetensors": _safetensors,
    ".npz": _npz,
    ".pth": _pickle,
    ".pt": _pickle,
    ".bin": _pickle,
}


def _refuse_bomb(path: Path) -> None:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > MOST_GROWTH * path.stat().st_size:
            raise DavidError(
                f"{path}: expected weights, which do not compress; found {path.stat().st_size} bytes that say they "
                f"unpack to {unpacked}"
            )


def require_floats(source: object, state: Mapping[str, torch.Tensor]) -> None:
    """Raise DavidError where a tensor holds anything but finite floats, which would be cast to them without a word."""
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise DavidError(f"{source}: {name} holds {kind}, expected floats; the file is another's, or damaged")
        if not tensor.isfinite().all():
            raise DavidError(f"{source}: {name} holds values that are not finite; the file is damaged")


def some(names: Sequence[str], most: int = 4) -> str:
    """The first of these names, cut where they are without end, and how many there are besides."""
    told = ", ".join(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..." for name in names[:most])
    return told + (f" and {len(names) - most} more" if len(names) > most else "")


def first_line(error: Exception) -> str:
    """What an error says, short: its first sentence, or its kind where it says nothing."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0].split('. ')[0]}" if text else type(error).__name__
