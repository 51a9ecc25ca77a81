"""Checkpoints: folders that are whole or absent, of safetensors and JSON alone.

    step-00000007/
        model.safetensors       the network's state, by name, and what it is, see `model/label.py`
        optimiser.safetensors   the optimiser's state of each parameter, `exp_avg/NAME` and so on
        NAME.safetensors        more named tensors, where the caller gives some: `extra`
        state.json              the step, the loader's state, the recipe, and what else the caller gives
        SHA256SUMS              of all, in the format of `sha256sum --check`

A checkpoint is written under a hidden name, synced and renamed. Nothing of the random generators is stored: the
generators are seeded anew for every step that draws, from (seed, step, rank), so the step says all. `record/saver.py`
writes them while training goes on.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import nn

from david.model import tensors as tensor_file
from david.pack.errors import DavidError
from david.pack.files import sha256, sync, write_whole
from david.pack.files import whole as whole_file
from david.train import shelf
from david.train.distributed import whole
from david.train.step.sharding import laid_out_as

Tensors = dict[str, torch.Tensor]  # by name
Named = Mapping[str, nn.Parameter]


def save(
    folder: Path,
    step: int,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    state: dict[str, Any],
    keep: int,
    *,
    best: int | None = None,
    extra: Mapping[str, Tensors] | None = None,
    label: dict[str, str] | None = None,
    named: Named | None = None,
) -> Path:
    """`take` and `write` at once."""
    taken = take(groups(network, optimiser, extra or {}, named))
    return write(folder, step, taken, state, keep, best=best, label=label)


class Taken(NamedTuple):
    """Tensors as they were. groups: copies on the host; arrived: when all of them are there, on a GPU"""

    groups: dict[str, Tensors]
    arrived: torch.cuda.Event | None

    def whole(self) -> dict[str, Tensors]:
        """The copies, row-major, as safetensors knows nothing else; waits for those that are on their way."""
        if self.arrived:
            self.arrived.synchronize()
        return {name: {key: one.contiguous() for key, one in tensors.items()} for name, tensors in self.groups.items()}


def take(groups: Mapping[str, Tensors]) -> Taken:
    """Copy the tensors of a checkpoint to the host, from where they are written while training goes on.

    Nobody waits for a GPU: it copies into pinned memory between what it was asked to do before and after. Where tensors
    are shared out over ranks, the others call `sharding.join` with `groups` meanwhile."""
    taken = {
        name: {key: _copy(whole(tensor.detach())) for key, tensor in tensors.items()}
        for name, tensors in groups.items()
    }
    arrived = None
    if any(tensor.device.type == "cuda" for tensors in groups.values() for tensor in tensors.values()):
        arrived = torch.cuda.Event()
        arrived.record()
    return Taken(taken, arrived)


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    """Of the same strides, so that memory is copied as it lies."""
    if tensor.device.type != "cuda":
        return tensor.clone()
    return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)


def write(
    folder: Path,
    step: int,
    taken: Taken,
    state: dict[str, Any],
    keep: int,
    *,
    best: int | None = None,
    label: dict[str, str] | None = None,
) -> Path:
    """Write the checkpoint of `step`, then remove all but the newest `keep` and that of step `best`.

    taken: of `groups`, a file for each. label: what the files of the network say about themselves.
    Returns the checkpoint's folder. Raises OSError, with the checkpoints as they were, where it can't be written."""
    clean(folder)
    aside = folder / f".step-{step:08d}.part"
    aside.mkdir(parents=True)
    try:
        for name, tensors in taken.whole().items():
            file = f"{name}.safetensors"
            tensor_file.write(tensors, aside / file, label if file in (shelf.MODEL, shelf.AVERAGE) else None)
        write_whole(aside / shelf.STATE, json.dumps(state, indent=1).encode() + b"\n")
        names = sorted(path.name for path in aside.iterdir())
        write_whole(aside / shelf.SUMS, "".join(f"{sha256(aside / name)}  {name}\n" for name in names).encode())
    except Exception:  # a full disk: give back what was taken
        shutil.rmtree(aside, ignore_errors=True)
        raise
    final = shelf.path_of(folder, step)
    if final.exists() or final.is_symlink():  # a damaged one that the run has come past again
        _remove(final)
    aside.rename(final)
    sync(folder)
    for old in shelf.steps(folder)[keep:]:
        if old != best:
            _remove(shelf.path_of(folder, old))
    return final


def groups(
    network: nn.Module, optimiser: torch.optim.Optimizer, extra: Mapping[str, Tensors], named: Named | None = None
) -> dict[str, Tensors]:
    """The tensors of a checkpoint, by file and name.

    extra: more tensors by name, a file for each group of them. named: the parameters that the optimiser has, where they
    are not the network's alone."""
    stored = _by_name(dict(named or network.named_parameters()), optimiser)
    return {"model": network.state_dict(), "optimiser": stored, **extra}


def restore(
    checkpoint: Path, network: nn.Module, optimiser: torch.optim.Optimizer, named: Named | None = None
) -> tuple[dict[str, Any], dict[str, Tensors]]:
    """Fill the network and the optimiser from a whole checkpoint; its state, and its extra tensors on the host."""
    try:
        own = network.state_dict()
        stored = {
            name: laid_out_as(own.get(name, value), value)
            for name, value in load_file(checkpoint / shelf.MODEL).items()
        }
        network.load_state_dict(stored)
        parameters = dict(named or network.named_parameters())
        _restore_optimiser(parameters, optimiser, load_file(checkpoint / shelf.OPTIMISER))
        others = {path for path in checkpoint.glob("*.safetensors") if path.name not in (shelf.MODEL, shelf.OPTIMISER)}
        extra = {path.stem: load_file(path) for path in sorted(others)}
        return json.loads((checkpoint / shelf.STATE).read_text()), extra
    except OSError as error:
        raise DavidError(
            f"{checkpoint}: cannot be read ({error.strerror}); every rank reads the run, so it must be in a folder "
            "that all nodes share"
        ) from error


def publish(checkpoint: Path, path: Path) -> None:
    """Give the weights that a checkpoint is measured by a name of their own, whole or absent, whatever becomes of the
    checkpoint: a link, which takes no room, or a copy where the file system has none."""
    source, aside = shelf.weights_of(checkpoint), path.with_name(f".{path.name}.link")
    aside.unlink(missing_ok=True)
    try:
        os.link(source, aside)
    except OSError:
        with source.open("rb") as read, whole_file(path) as file:
            shutil.copyfileobj(read, file)
        return
    aside.replace(path)
    aside.unlink(missing_ok=True)  # where both were names of one file already
    sync(path.parent)


def clean(folder: Path) -> None:
    """Remove what a killed run left half written or half removed."""
    for left in folder.glob(".step-*"):
        _delete(left)


def _names(named: Named, optimiser: torch.optim.Optimizer) -> list[str]:
    """The parameters' names in the order in which the optimiser's state_dict numbers them."""
    name_of = {parameter: name for name, parameter in named.items()}
    return [name_of[parameter] for group in optimiser.param_groups for parameter in group["params"]]


def _by_name(named: Named, optimiser: torch.optim.Optimizer) -> Tensors:
    names, state = _names(named, optimiser), optimiser.state_dict()["state"]
    return {f"{key}/{names[index]}": value for index, values in state.items() for key, value in values.items()}


def _restore_optimiser(parameters: Named, optimiser: torch.optim.Optimizer, stored: Tensors) -> None:
    index_of = {name: index for index, name in enumerate(_names(parameters, optimiser))}
    state: dict[int, dict[str, torch.Tensor]] = {}
    for full_name, value in stored.items():
        key, name = full_name.split("/", 1)
        if value.shape == parameters[name].shape:  # fused kernels walk memory: same strides as the parameter
            value = laid_out_as(parameters[name], value)
        state.setdefault(index_of[name], {})[key] = value
    optimiser.load_state_dict(optimiser.state_dict() | {"state": state})


def _remove(checkpoint: Path) -> None:
    """Gone at once under its own name, so that a kill half-way leaves no checkpoint that looks damaged."""
    gone = checkpoint.with_name(f".{checkpoint.name}.gone")
    checkpoint.rename(gone)
    sync(gone.parent)
    _delete(gone)


def _delete(path: Path) -> None:
    """A folder with all in it, a file, or a link itself."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
