"""Predictors as the Hugging Face hub has them: saved, pushed and loaded again without a network of computers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard, hub_mixin
from smallest import SMALLEST, network

import david
from david.model import label, weights
from david.model.predict import hub
from david.model.predict.engine import Engine, TorchEngine
from david.model.predict.predictor import Predictor
from david.pack.errors import DavidError
from david.pack.files import sha256
from david.train import recipes
from david.train.loop import train
from david.train.recipe import override

SMALL = override(recipes.recipe("smoke"), [*SMALLEST, "batch_size=4", "steps=2", "parallel=ddp", "evaluate_every=2"])
RGB = np.random.default_rng(0).integers(0, 256, (50, 37, 3), np.uint8)


@pytest.fixture(scope="module")
def run(figures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hub") / "run"
    train(SMALL, figures, out, device="cpu", speaks=False)
    return out


class ClientError(Exception):
    """Whatever the hub's client raises: its errors and those of its HTTP library share no base."""


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub in a folder: what is pushed comes to lie there, and is downloaded from there."""
    there = tmp_path / "remote"

    class Api:
        def __init__(self, token: str | None = None):
            self.token = token

        def create_repo(self, repo_id: str, private: bool | None, exist_ok: bool) -> Any:
            if self.token == "wrong":
                raise ClientError("401 Client Error: unauthorized")
            (there / repo_id).mkdir(parents=True)
            return type("Repo", (), {"repo_id": repo_id})

        def upload_folder(self, repo_id: str, folder_path: Path, **how: Any) -> str:
            for path in folder_path.iterdir():
                (there / repo_id / path.name).write_bytes(path.read_bytes())
            return f"https://hub/{repo_id}"

    def download(repo_id: str, filename: str, **how: Any) -> str:
        path = there / repo_id / filename
        if not path.is_file():
            raise ClientError("404 Client Error: not found")
        return str(path)

    monkeypatch.setattr(hub_mixin, "HfApi", Api)
    monkeypatch.setattr(hub, "hf_hub_download", download)
    monkeypatch.setattr(hub.foreign, "ask_once", lambda name: None)
    monkeypatch.chdir(tmp_path)
    return there


def same(one: Predictor, other: Predictor) -> bool:
    ours, theirs = one.predict(RGB), other.predict(RGB)
    return list(ours) == list(theirs) and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_what_is_saved_says_the_same_to_the_bit_and_keeps_how_pictures_reach_it(run: Path, tmp_path: Path) -> None:
    net = david.load(run, fit="own", size=64, device="cpu", precision="fp32")
    net.save_pretrained(tmp_path / "saved")
    for again in (
        david.Predictor.from_pretrained(tmp_path / "saved"),
        david.load(tmp_path / "saved", device="cpu", precision="fp32"),
        david.load(tmp_path / "saved" / "model.safetensors", device="cpu", precision="fp32"),
    ):
        assert (again.fit, again.side) == ("own", 64)
        assert same(net, again)
    other = david.Predictor.from_pretrained(tmp_path / "saved", fit="stretch", side=32)
    assert (other.fit, other.side) == ("stretch", 32)


def test_the_card_says_what_made_the_network_and_how_good_it_is(run: Path, figures: Path, tmp_path: Path) -> None:
    david.load(run, device="cpu").save_pretrained(tmp_path, model_card_kwargs={"license": "cc-by-4.0"})
    card = ModelCard.load(tmp_path / "README.md")
    data = yaml.safe_load(card.content.split("---")[1])
    assert data["license"] == "cc-by-4.0" and data["library_name"] == "david"
    assert data["pipeline_tag"] == "depth-estimation"
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    results = {one["type"]: one["value"] for one in data["model-index"][0]["results"][0]["metrics"]}
    assert results["normals_mean_deg"] == pytest.approx(last["normals_mean_deg"])
    assert f"| normals_mean_deg | {last['normals_mean_deg']:.4g} |" in card.content
    assert sha256(run / "ledger.jsonl") in card.content
    assert json.loads((run / "recipe.json").read_text())["shards"] in card.content
    assert json.loads(card.content.split("```json")[1].split("```")[0])["name"] == "smoke"
    assert (tmp_path / "picture.png").read_bytes() == (run / "pictures" / "step-00000002.png").read_bytes()
    assert "(picture.png)" in card.content and str(run) not in card.content
    assert str(run) not in json.dumps(label.read(tmp_path / "model.safetensors"))
    assert str(run) not in (tmp_path / "config.json").read_text()
    assert json.loads((tmp_path / "config.json").read_text())["model"]["kind"] == "david"


def test_weights_that_know_nothing_have_a_card_that_claims_nothing(tmp_path: Path) -> None:
    weights.save(network(heads=("normals",)), tmp_path / "w.safetensors")
    david.load(tmp_path / "w.safetensors", device="cpu").save_pretrained(tmp_path / "saved")
    text = (tmp_path / "saved" / "README.md").read_text()
    assert "license: unknown" in text and "did not state" in text
    for word in ("Measured", "picture.png", "fingerprint", "Recipe", "pipeline_tag"):
        assert word not in text
    (tmp_path / "saved" / "README.md").write_text("my own")
    david.load(tmp_path / "saved", device="cpu").save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "README.md").read_text() == "my own"


def test_what_is_pushed_is_loaded_by_its_name(run: Path, remote: Path) -> None:
    net = david.load(run, device="cpu", precision="fp32", size=32)
    assert net.push_to_hub("user/net") == "https://hub/user/net"
    assert {path.name for path in (remote / "user" / "net").iterdir()} == {
        *("README.md", "config.json", "model.safetensors", "picture.png")
    }
    assert same(net, david.Predictor.from_pretrained("user/net"))
    assert same(net, david.load("user/net", device="cpu", precision="fp32"))


def test_what_the_hub_refuses_is_one_sentence(run: Path, remote: Path, tmp_path: Path) -> None:
    net = david.load(run, device="cpu")
    with pytest.raises(DavidError, match="user/net: could not be pushed .*401 Client Error.*hf auth login"):
        net.push_to_hub("user/net", token="wrong")
    with pytest.raises(DavidError, match="user/gone: no such file or folder here, and .*404"):
        david.Predictor.from_pretrained("user/gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DavidError, match="no model.safetensors there"):
        david.Predictor.from_pretrained(tmp_path / "empty")


class Said(Engine):
    """Stands for an ONNX file."""

    fields = ("alpha",)


def test_what_is_no_network_of_ours_can_be_neither_saved_nor_pushed(tmp_path: Path) -> None:
    two = (TorchEngine(network(heads=("normals",))), TorchEngine(network(heads=("depth",))))
    for net in (Predictor((Said(),), name="net.onnx"), Predictor(two, name="two")):
        for refused in (lambda n=net: n.save_pretrained(tmp_path / "x"), lambda n=net: n.push_to_hub("user/x")):
            with pytest.raises(DavidError, match="only one network of our own weights"):
                refused()
    assert not list(tmp_path.iterdir())


def test_a_path_that_a_file_names_is_not_read(tmp_path: Path) -> None:
    """A file from elsewhere must not have this machine's files copied beside it and pushed."""
    (tmp_path / "secret").write_text("secret")
    about = {"picture": str(tmp_path / "secret"), "reached": {"side": "many", "fit": 3}}
    weights.save(network(), tmp_path / "model.safetensors", **about)
    for number, net in enumerate((david.load(tmp_path, device="cpu"), david.Predictor.from_pretrained(tmp_path))):
        assert (net.fit, net.side) == ("square", 512)
        net.save_pretrained(tmp_path / str(number))
        assert not (tmp_path / str(number) / "picture.png").exists()
