"""Networks of ours on the Hugging Face hub: one file of weights that says itself what it is the weights of, and how
pictures reach them; beside it a page for people (`card.py`)."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, Self, cast

from huggingface_hub import ModelCard, ModelHubMixin, constants, hf_hub_download

from david.model import foreign, label, weights
from david.model.networks.network import Network
from david.model.predict.card import PICTURE, PICTURE_FILE, card
from david.pack.errors import DavidError
from david.pack.files import write_whole

WEIGHTS = constants.SAFETENSORS_SINGLE_FILE
REACHED = "reached"  # of what a file says about itself: how pictures reach the network, {"fit": ..., "side": ...}


def fetched(name: str, **how: Any) -> tuple[Network, dict[str, Any]]:
    """The network called `user/name`, downloaded once into the hub's cache, and what its file says about itself.

    how: further arguments of `hf_hub_download`. Raises DavidError where it is not there, cannot be downloaded, or is
    not one of ours."""
    try:
        if not how.get("local_files_only"):
            foreign.ask_once(name)
        path = Path(hf_hub_download(name, WEIGHTS, **how))
    except Exception as error:  # of the hub's client and its HTTP library: they share no base
        raise DavidError(
            f"{name}: no such file or folder here, and as a name on the Hugging Face hub it could not be downloaded "
            f"({foreign.first_line(error)})"
        ) from error
    return opened(path)


def opened(path: Path) -> tuple[Network, dict[str, Any]]:
    """The network in a file, and what the file says about itself; of this machine's paths it can know none."""
    about = label.read(path) or {}
    about.pop(PICTURE, None)
    return weights.load(path), about


def reached(about: dict[str, Any]) -> dict[str, Any]:
    """How pictures reach a network, as what is known of it says: `fit` and `side`, those that it names."""
    found = about.get(REACHED)
    kinds = {"fit": str, "side": int}
    if not isinstance(found, dict):
        return {}
    return {name: found[name] for name, kind in kinds.items() if isinstance(found.get(name), kind)}


class _Predictor(Protocol):
    """What the mixin needs of the class that it is mixed into."""

    engines: tuple[Any, ...]
    fit: str
    side: int
    name: str
    about: dict[str, Any]
    fields: tuple[str, ...]


class OnHub(ModelHubMixin, library_name="david", tags=["david", "human-centric", "dense-prediction"]):
    """`from_pretrained`, `save_pretrained` and `push_to_hub` of a predictor, as the hub's other libraries have them."""

    @classmethod
    def from_pretrained(  # type: ignore[override]  # no other keywords than these: nothing would read them
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        device: str = "cpu",
        fit: str | None = None,
        side: int | None = None,
    ) -> Self:
        """The predictor that `save_pretrained` wrote to a folder, or that is on the hub as `user/name`, in float32.

        fit, side: how pictures reach it, by default as it was saved. The others are those of `hf_hub_download`.
        `david.load` also takes runs, ONNX files and half precision. Raises DavidError where it is none of ours."""
        from david.model.predict.engine import TorchEngine
        from david.model.predict.predictor import SIDE

        folder = Path(pretrained_model_name_or_path)
        if folder.is_dir():
            if not (folder / WEIGHTS).is_file():
                raise DavidError(f"{folder}: no {WEIGHTS} there; expected a folder that save_pretrained wrote")
            network, about = opened(folder / WEIGHTS)
        else:
            how = {"revision": revision, "cache_dir": cache_dir, "force_download": force_download, "token": token}
            network, about = fetched(str(pretrained_model_name_or_path), local_files_only=local_files_only, **how)
        kept = reached(about)
        made: Any = cls
        return made(
            (TorchEngine(network, device),),
            fit=fit or kept.get("fit", "square"),
            side=side or kept.get("side", SIDE),
            name=str(pretrained_model_name_or_path),
            about=about,
        )

    def save_pretrained(self, save_directory: str | Path, **how: Any) -> str | None:
        """Write a folder that `from_pretrained`, `david.load` and the hub's upload take: the weights, what they are and
        how pictures reach them, and a card. A card that is there already is kept.

        how: `model_card_kwargs={"license": ...}`, `push_to_hub=True` with `repo_id=...`, and the mixin's others.
        Raises DavidError where the predictor is not one network of ours."""
        self._network()
        return super().save_pretrained(save_directory, **how)

    def push_to_hub(self, repo_id: str, **how: Any) -> str:
        """Upload what `save_pretrained` writes to `user/name`, which is made where it is not there; the commit's URL.

        how: the mixin's `private`, `token`, `branch`, `commit_message`, `create_pr`, `model_card_kwargs`. Raises
        DavidError where the hub refuses, and where the predictor is not one network of ours."""
        self._network()
        try:
            return super().push_to_hub(repo_id, **how)
        except (DavidError, OSError) as error:
            if isinstance(error, DavidError) or error.filename:
                raise
            raise self._refusal(repo_id, error) from error
        except Exception as error:  # of the hub's client and its HTTP library: they share no base
            raise self._refusal(repo_id, error) from error

    @staticmethod
    def _refusal(repo_id: str, error: Exception) -> DavidError:
        return DavidError(
            f"{repo_id}: could not be pushed to the Hugging Face hub ({foreign.first_line(error)}); log in with "
            "`hf auth login`, or save it with save_pretrained and upload the folder"
        )

    def _network(self) -> Network:
        """The one network of ours that it is. Raises DavidError where it is something else."""
        from david.model.predict.engine import TorchEngine

        me = cast(_Predictor, self)
        if len(me.engines) != 1 or not isinstance(me.engines[0], TorchEngine):
            raise DavidError(
                f"{me.name}: only one network of our own weights can be saved or pushed as pretrained; an ONNX file is "
                "uploaded as it is"
            )
        return me.engines[0].network

    def _save_pretrained(self, save_directory: Path) -> None:
        me, network = cast(_Predictor, self), self._network()
        said = {name: value for name, value in me.about.items() if name not in ("model", PICTURE)}
        how = {REACHED: {"fit": me.fit, "side": me.side}}
        weights.save(network, save_directory / WEIGHTS, **said | how)
        # For people and the hub, which counts downloads by it; the mixin's own would hold this machine's paths.
        config = {"library_name": "david", "model": asdict(network.config), **how}
        write_whole(save_directory / constants.CONFIG_NAME, json.dumps(config, indent=1).encode() + b"\n")
        if picture := me.about.get(PICTURE):
            shutil.copyfile(picture, save_directory / PICTURE_FILE)

    def generate_model_card(self, *args: Any, **how: Any) -> ModelCard:
        """The card of `card.py`. how: license, license_name, license_link, language, datasets, ... of its metadata."""
        me = cast(_Predictor, self)
        data = type(self)._hub_mixin_info.model_card_data.to_dict()
        return card(me.about, me.fields, me.fit, me.side, **{**data, **how})
