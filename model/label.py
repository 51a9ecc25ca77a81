"""What a safetensors file of ours says about itself: the network that it is the weights of, and what made it.

It stands in the file's metadata, as JSON under one key, so any reader of safetensors takes the tensors all the same.
Without torch: a recipe that stands in a file is read before anything else is loaded.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from david.model.configs.base import ModelConfig
from david.pack.errors import DavidError

ABOUT = "david"


def metadata(config: ModelConfig, **more: Any) -> dict[str, str]:
    """For `save_file`. more: whatever JSON takes."""
    return {ABOUT: json.dumps({"model": asdict(config), **more}, sort_keys=True)}


def read(path: Path) -> dict[str, Any] | None:
    """What the file says; None where it says nothing. Raises DavidError where it is no safetensors file, or damaged."""
    try:
        with safe_open(path, framework="np") as file:
            about = (file.metadata() or {}).get(ABOUT)
    except (OSError, SafetensorError) as error:
        raise DavidError(f"{path}: expected weights that david saved ({type(error).__name__}: {error})") from error
    try:
        return None if about is None else dict(json.loads(about))
    except (ValueError, TypeError) as error:
        raise DavidError(f"{path}: its configuration cannot be read ({error})") from error
