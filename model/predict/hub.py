"""Networks of ours on the Hugging Face hub: one file of weights that says itself what it is the weights of."""

from pathlib import Path
from typing import Any

from huggingface_hub import constants, hf_hub_download

from david.model import foreign, label, weights
from david.model.networks.network import Network
from david.pack.errors import DavidError


def fetched(name: str) -> tuple[Network, dict[str, Any]]:
    """The network called `user/name`, downloaded once into the hub's cache, and what its file says about itself.

    Raises DavidError where it is not there, cannot be downloaded, or is not one of ours."""
    try:
        foreign.ask_once(name)
        path = Path(hf_hub_download(name, constants.SAFETENSORS_SINGLE_FILE))
    except Exception as error:  # of the hub's client and its HTTP library: they share no base
        raise DavidError(
            f"{name}: no such file or folder here, and as a name on the Hugging Face hub it could not be downloaded "
            f"({foreign.first_line(error)})"
        ) from error
    return weights.load(path), label.read(path) or {}
