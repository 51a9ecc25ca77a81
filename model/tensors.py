"""Named tensors in a safetensors file, on the disk."""

import os
import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from david.pack.files import sync


def write(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write tensors of the host and wait until they are on the disk; a kill half-way may leave a hidden file beside.

    Its rights are those that the folder's have. Raises OSError, which names `path`, where it can't be written."""
    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    path.chmod(path.parent.stat().st_mode & 0o666)  # safetensors shuts out everybody else
    sync(path)
