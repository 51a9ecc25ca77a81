"""Weights: from timm's files into the backbone with a report, and whole networks to a file and back."""

import json
import os
import pickle
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from rich.console import Console

from david.model import Network, build, foreign, label, weights
from david.model.networks.backbone import ViT
from david.pack.errors import DavidError

NAME = "vit_tiny_patch16_384.augreg_in21k_ft_in1k"


@pytest.fixture(scope="module")
def vit() -> ViT:
    """What timm would publish for the smoke network's backbone, at random weights; 160 pixels instead of 384."""
    torch.manual_seed(1)
    return timm.create_model(NAME, img_size=160)


@pytest.fixture
def network() -> Network:
    torch.manual_seed(2)
    return build("david-smoke", ("depth",), backbone_size=160)


def store(state: dict[str, torch.Tensor], path: Path) -> Path:
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


def jax_archive(vit: ViT, path: Path, drop: str = "") -> Path:
    """A ViT as Google publishes it: the inverse of what timm reads, in the layout of vision_transformer's `.npz`."""
    state = {name: tensor.numpy() for name, tensor in vit.state_dict().items()}
    heads, width = vit.blocks[0].attn.num_heads, vit.embed_dim
    out = {
        "embedding/kernel": state["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "cls": state["cls_token"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
    }
    for i in range(len(vit.blocks)):
        ours, theirs = f"blocks.{i}.", f"Transformer/encoderblock_{i}/"
        attention = f"{theirs}MultiHeadDotProductAttention_1/"
        for norm, place in (("norm1", "LayerNorm_0"), ("norm2", "LayerNorm_2")):
            out[f"{theirs}{place}/scale"] = state[f"{ours}{norm}.weight"]
            out[f"{theirs}{place}/bias"] = state[f"{ours}{norm}.bias"]
        kernels = np.split(state[f"{ours}attn.qkv.weight"], 3)
        biases = np.split(state[f"{ours}attn.qkv.bias"], 3)
        for name, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True):
            out[f"{attention}{name}/kernel"] = kernel.T.reshape(width, heads, -1)
            out[f"{attention}{name}/bias"] = bias.reshape(heads, -1)
        out[f"{attention}out/kernel"] = state[f"{ours}attn.proj.weight"].T.reshape(heads, -1, width)
        out[f"{attention}out/bias"] = state[f"{ours}attn.proj.bias"]
        for r in range(2):
            out[f"{theirs}MlpBlock_3/Dense_{r}/kernel"] = state[f"{ours}mlp.fc{r + 1}.weight"].T
            out[f"{theirs}MlpBlock_3/Dense_{r}/bias"] = state[f"{ours}mlp.fc{r + 1}.bias"]
    np.savez(path, **{name: array for name, array in out.items() if name != drop})
    return path


def backbone_equals(network: Network, vit: ViT) -> bool:
    source = vit.state_dict()
    return all(torch.equal(tensor, source[name]) for name, tensor in network.backbone.vit.state_dict().items())


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "bin", "npz"])
def test_a_published_file_fills_the_backbone(suffix, vit, network, tmp_path):
    path = tmp_path / f"vit.{suffix}"
    if suffix == "safetensors":
        store(vit.state_dict(), path)
    elif suffix == "npz":
        jax_archive(vit, path)
    else:
        torch.save(vit.state_dict(), path)
    report = weights.load_backbone(network, path)
    assert backbone_equals(network, vit)
    assert report.share == 1 and not report.missing and not report.misshapen and not report.resized
    assert {"norm.weight", "head.bias", "blocks.4.norm1.weight"} <= set(report.unexpected)


@pytest.mark.parametrize(
    "wrap", [{"state_dict": None, "epoch": 3}, {"model": None}, {"state_dict": 1, "model_ema": None}]
)
def test_weights_inside_a_checkpoint_and_behind_a_prefix_are_found(wrap, vit, network, tmp_path):
    inner = {f"module.encoder.{name}": tensor for name, tensor in vit.state_dict().items()}
    content = {key: inner if value is None else value for key, value in wrap.items()}
    torch.save(content, tmp_path / "checkpoint.pth")
    assert weights.load_backbone(network, tmp_path / "checkpoint.pth").share == 1
    assert backbone_equals(network, vit)


def test_a_whole_network_gives_its_backbone(network, tmp_path):
    weights.save(build("david-smoke", ("alpha",), backbone_size=160), tmp_path / "other.safetensors")
    report = weights.load_backbone(network, tmp_path / "other.safetensors")
    assert report.share == 1
    assert all(not name.startswith("backbone.") for name in report.unexpected)


def test_position_embeddings_of_another_grid_are_resized_and_the_report_says_so(vit, tmp_path):
    path = store(vit.state_dict(), tmp_path / "vit.safetensors")
    network = build("david-smoke", ("depth",), backbone_size=128)
    report = weights.load_backbone(network, path)
    assert report.resized == ("pos_embed 10 x 10 to 8 x 8",) and report.share == 1
    expected: ViT = timm.create_model(NAME, img_size=160)
    expected.load_state_dict(vit.state_dict())
    expected.set_input_size((128, 128))  # timm's own way from one size to another
    assert torch.equal(network.backbone.vit.pos_embed, expected.pos_embed)
    from_npz = build("david-smoke", ("depth",), backbone_size=128)
    assert weights.load_backbone(from_npz, jax_archive(vit, tmp_path / "vit.npz")).resized == report.resized
    assert torch.equal(network.backbone.vit.pos_embed, from_npz.backbone.vit.pos_embed)


@pytest.mark.parametrize(
    ("backbone", "size"), [("vit_small_patch14_reg4_dinov2", 70), ("vit_base_patch16_siglip_224", 80)]
)
def test_positions_without_a_class_token_among_them_are_resized_as_timm_does(backbone, size, tmp_path):
    torch.manual_seed(1)
    whole: ViT = timm.create_model(backbone, img_size=size)
    path = store(whole.state_dict(), tmp_path / "vit.safetensors")
    network = build("david-smoke", ("depth",), backbone=backbone, backbone_size=size * 4 // 5)
    report = weights.load_backbone(network, path)
    assert report.resized == ("pos_embed 5 x 5 to 4 x 4",) and report.share == 1
    whole.set_input_size((size * 4 // 5,) * 2)
    assert torch.equal(network.backbone.vit.pos_embed, whole.pos_embed)


def test_dinov2_is_read_under_its_authors_names(tmp_path):
    torch.manual_seed(1)
    name = "vit_small_patch14_reg4_dinov2"
    vit: ViT = timm.create_model(name, img_size=56)
    theirs = vit.state_dict()
    at = torch.randn(1, 1, vit.embed_dim)  # of the class token, which timm adds to it
    theirs["pos_embed"] = torch.cat([at, theirs["pos_embed"]], 1)
    theirs["cls_token"] = theirs["cls_token"] - at
    theirs["register_tokens"] = theirs.pop("reg_token")
    torch.save(theirs | {"mask_token": torch.zeros(1, vit.embed_dim)}, tmp_path / "dinov2.pth")
    network = build("david-smoke", ("depth",), backbone=name, backbone_size=56)
    report = weights.load_backbone(network, tmp_path / "dinov2.pth")
    assert not report.missing and not report.misshapen and report.share == 1
    ours, expected = network.backbone.vit.state_dict(), vit.state_dict()
    assert all(torch.allclose(tensor, expected[key], atol=1e-6) for key, tensor in ours.items())


def test_a_network_begins_with_anothers_weights_and_says_what_is_new(tmp_path):
    torch.manual_seed(1)
    source = build("david-smoke", ("depth", "normals"), backbone_size=160)
    weights.save(source, tmp_path / "source.safetensors")
    torch.manual_seed(2)
    network = build("david-smoke", ("depth", "alpha"), backbone_size=128)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    report = weights.load_whole(network, tmp_path / "source.safetensors")
    assert report.resized == ("pos_embed 10 x 10 to 8 x 8",) and 0.9 < report.share < 1
    assert set(report.missing) == {name for name in before if name.startswith("heads.alpha.")}
    assert set(report.unexpected) == {name for name in source.state_dict() if name.startswith("heads.normals.")}
    assert str(report).startswith(f"{report.share:.1%} of the network's parameters from {tmp_path}")
    theirs = source.state_dict()
    for name, tensor in network.state_dict().items():
        kept = before[name] if name.startswith("heads.alpha.") else theirs[name]
        assert name.endswith("pos_embed") or torch.equal(tensor, kept), name


def test_weights_of_another_network_are_no_start(vit, network, tmp_path):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(DavidError, match=r"at least 50% of the network's .* found 0\.0% .*--backbone-weights"):
        weights.load_whole(network, store(vit.state_dict(), tmp_path / "vit.safetensors"))
    with pytest.raises(DavidError, match=r"expected a network's weights ending in \.safetensors, \.pth, \.pt, found"):
        weights.load_whole(network, tmp_path / "vit.npz")
    for absent in ("absent.safetensors", "absent.pth"):
        with pytest.raises(DavidError, match=rf"{absent}: no such file; expected a network's weights"):
            weights.load_whole(network, tmp_path / absent)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_few_missing_tensors_are_reported_and_left_as_they_were(vit, network, tmp_path):
    state = vit.state_dict()
    del state["cls_token"], state["blocks.1.norm2.bias"]
    state["blocks.0.attn.proj.bias"] = torch.zeros(7)
    before = network.backbone.vit.cls_token.detach().clone()
    report = weights.load_backbone(network, store(state, tmp_path / "vit.safetensors"))
    assert set(report.missing) == {"cls_token", "blocks.1.norm2.bias"}
    assert report.misshapen == ("blocks.0.attn.proj.bias (7,), expected (192,)",)
    total = sum(p.numel() for p in network.backbone.parameters())
    assert report.share == pytest.approx(1 - 3 * 192 / total)
    assert torch.equal(network.backbone.vit.cls_token, before)


@pytest.mark.parametrize("architecture", ["vit_small_patch16_384", "resnet18"])
def test_another_architecture_is_refused_and_changes_nothing(architecture, network, tmp_path):
    path = store(timm.create_model(architecture).state_dict(), tmp_path / "other.safetensors")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(DavidError, match=r"at least 95%.* found 0\.0% .*(missing|misshapen): (cls_token|pos_embed)"):
        weights.load_backbone(network, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_half_a_network_is_refused_naming_keys(vit, network, tmp_path):
    state = {name: tensor for name, tensor in vit.state_dict().items() if not name.startswith("blocks.3.")}
    with pytest.raises(DavidError, match=r"found 7\d\.\d% .*missing: blocks\.3\.norm1\.weight.* and \d+ more"):
        weights.load_backbone(network, store(state, tmp_path / "half.safetensors"))


def test_two_networks_in_one_file_are_refused(vit, network, tmp_path):
    state = {prefix + name: tensor for prefix in ("student.", "teacher.") for name, tensor in vit.state_dict().items()}
    torch.save(state, tmp_path / "two.pth")
    with pytest.raises(DavidError, match="found one at each of 'student.', 'teacher.'"):
        weights.load_backbone(network, tmp_path / "two.pth")


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "npz"])
@pytest.mark.parametrize("keep", [0, 3, 0.02, 0.5, 0.999])
def test_a_cut_file_is_refused(suffix, keep, vit, network, tmp_path):
    path = tmp_path / f"vit.{suffix}"
    if suffix == "safetensors":
        store(vit.state_dict(), path)
    elif suffix == "npz":
        jax_archive(vit, path)
    else:
        torch.save(vit.state_dict(), path)
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(keep * len(data))])
    with pytest.raises(DavidError, match=str(path)) as refusal:
        weights.load_backbone(network, path)
    assert len(str(refusal.value).splitlines()) == 1


class Bomb:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, 2))])
def test_a_pickle_that_calls_something_is_refused_unrun(write, network, tmp_path):
    write({"weight": torch.zeros(2), "other": Bomb(tmp_path / "ran")}, tmp_path / "evil.pth")
    with pytest.raises(DavidError, match=r"evil\.pth: expected a pickle of tensors alone, found one that"):
        weights.load_backbone(network, tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


def test_pickled_arrays_in_an_npz_are_refused_unrun(network, tmp_path):
    arrays: Any = {"embedding/kernel": np.array([Bomb(tmp_path / "ran")], dtype=object)}
    np.savez(tmp_path / "evil.npz", **arrays)
    with pytest.raises(DavidError, match=r"evil\.npz"):
        weights.load_backbone(network, tmp_path / "evil.npz")
    assert not (tmp_path / "ran").exists()


def test_an_archive_that_unpacks_to_much_more_is_refused_unread(network, tmp_path):
    arrays: Any = {"embedding/kernel": np.zeros((1000, 1000))}
    np.savez_compressed(tmp_path / "bomb.npz", **arrays)
    with pytest.raises(DavidError, match="which do not compress; found .* that say they unpack to 8000"):
        weights.load_backbone(network, tmp_path / "bomb.npz")


def test_an_npz_without_one_of_its_arrays_is_refused_by_name(vit, network, tmp_path):
    path = jax_archive(vit, tmp_path / "vit.npz", drop="Transformer/encoderblock_2/LayerNorm_0/scale")
    with pytest.raises(DavidError, match="encoderblock_2/LayerNorm_0/scale"):
        weights.load_backbone(network, path)


def test_numbers_that_are_no_floats_are_refused(vit, network, tmp_path):
    state = vit.state_dict() | {"blocks.2.mlp.fc1.bias": torch.ones(768, dtype=torch.int64)}
    with pytest.raises(DavidError, match=r"blocks\.2\.mlp\.fc1\.bias holds int64, expected floats"):
        weights.load_backbone(network, store(state, tmp_path / "vit.safetensors"))


def test_values_that_are_not_finite_are_refused(vit, network, tmp_path):
    state = vit.state_dict() | {"blocks.2.mlp.fc1.bias": torch.full((768,), torch.nan)}
    with pytest.raises(DavidError, match=r"blocks\.2\.mlp\.fc1\.bias holds values that are not finite"):
        weights.load_backbone(network, store(state, tmp_path / "vit.safetensors"))


@pytest.mark.parametrize(
    ("name", "says"),
    [("absent.safetensors", "no such file"), ("vit.ckpt", "expected backbone weights ending in .safetensors, .npz")],
)
def test_a_path_that_cannot_be_weights_is_refused(name, says, network, tmp_path):
    with pytest.raises(DavidError, match=says):
        weights.load_backbone(network, tmp_path / name)


def test_without_the_hub_the_way_out_is_named(network, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DavidError, match=f"timm/{NAME}.*could not be downloaded .*--backbone-weights FILE") as refusal:
        weights.load_backbone(network)
    assert len(str(refusal.value).splitlines()) == 1


def test_hub_weights_are_matched_as_files_are(vit, network, monkeypatch):
    asked = []
    monkeypatch.setattr(foreign, "ask_once", lambda hub_id: None)
    monkeypatch.setattr(foreign, "load_state_dict_from_hf", lambda hub_id: asked.append(hub_id) or vit.state_dict())
    assert weights.load_backbone(network).share == 1
    assert asked == [f"timm/{NAME}"] and backbone_equals(network, vit)


@pytest.mark.parametrize("there", [False, True], ids=["refused", "silent"])
def test_a_hub_that_does_not_answer_is_asked_once_and_not_where_its_cache_knows(vit, tmp_path, monkeypatch, there):
    """Its own client would ask a dozen times, for a minute."""
    asked = []
    monkeypatch.setattr(foreign, "load_state_dict_from_hf", lambda hub_id: asked.append(hub_id) or vit.state_dict())
    monkeypatch.setattr(foreign, "ASK_S", 0.2)
    monkeypatch.setattr(foreign.constants, "HF_HUB_CACHE", str(tmp_path))
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if there:
            server.listen()
        monkeypatch.setattr(foreign.constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(DavidError, match="could not be downloaded .*--backbone-weights FILE, or .* HF_HOME"):
            foreign.from_hub(vit, NAME)
        if there:
            server.setblocking(False)
            server.accept()[0].close()
            with pytest.raises(BlockingIOError):
                server.accept()
        assert asked == []
        (tmp_path / f"models--timm--{NAME}").mkdir()
        assert foreign.from_hub(vit, NAME) and asked == [f"timm/{NAME}"]


def test_the_report_reads_well(vit, network, tmp_path):
    report = weights.load_backbone(network, store(vit.state_dict(), tmp_path / "vit.safetensors"))
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    console.print(report)
    assert "100.0% of the backbone's parameters" in console.export_text()
    assert str(report).startswith(f"100.0% of the backbone's parameters from {report.source}; unexpected: ")


def test_a_saved_network_comes_back_byte_for_byte(tmp_path):
    torch.manual_seed(3)
    network = build("david-smoke", ("normals", "alpha"), backbone_size=96).to(memory_format=torch.channels_last)
    weights.save(network, tmp_path / "a.safetensors")
    loaded = weights.load(tmp_path / "a.safetensors")
    weights.save(loaded, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert loaded.config == network.config and not loaded.training
    state = network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.state_dict().items())


def rewritten(path: Path, about: object, **tensors: torch.Tensor) -> Path:
    state = safetensors.torch.load_file(path) | tensors
    metadata = None if about is None else {label.ABOUT: about if isinstance(about, str) else json.dumps(about)}
    safetensors.torch.save_file(state, path, metadata)
    return path


@pytest.fixture
def saved(network, tmp_path) -> Path:
    weights.save(network, tmp_path / "network.safetensors")
    return tmp_path / "network.safetensors"


def about_of(path: Path) -> dict:
    with safetensors.safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()[label.ABOUT])


def test_a_file_that_is_not_ours_is_refused(saved, vit, tmp_path):
    for path, says in (
        (store(vit.state_dict(), tmp_path / "vit.safetensors"), "do not say of what"),
        (tmp_path / "absent.safetensors", "expected weights that david saved"),
        (rewritten(saved, "{"), "its configuration cannot be read"),
        (rewritten(saved, {"model": {"colour": 3}}), "its configuration cannot be read"),
        (rewritten(saved, {"model": 3}), "its configuration cannot be read"),
    ):
        with pytest.raises(DavidError, match=says):
            weights.load(path)


def test_a_file_that_says_it_is_another_network_is_refused_before_that_is_built(saved):
    """1,000,000 channels would not fit into any memory."""
    about = about_of(saved)
    about["model"]["width"] = 1_000_000
    with pytest.raises(DavidError, match="the tensors are not those of its own configuration: reassemble"):
        weights.load(rewritten(saved, about))


def test_an_extra_tensor_is_refused(saved):
    with pytest.raises(DavidError, match="not those of its own configuration: surprise"):
        weights.load(rewritten(saved, about_of(saved), surprise=torch.zeros(1)))
