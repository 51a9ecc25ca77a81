"""The unofficial implementation's weights go in whole, and say what its network says; anything else is refused."""

import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from smallest import network
from unofficial_file import SIDE, TINY, Plain, drawn

import david
from david.model import build, config, pickled, weights
from david.pack.errors import DavidError
from david.train.subject import of_path


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> config.ModelConfig:
    """Meanwhile files are of the tiny twin."""
    twin = config.configure("unofficial", **TINY)
    monkeypatch.setitem(config.MODELS, "unofficial", twin)
    return twin


def test_the_whole_network_has_the_parameters_and_tensors_of_its_files() -> None:
    with torch.device("meta"):
        made = build("unofficial")
    assert sum(p.numel() for p in made.parameters()) == 122_383_736 == made.config.parameters()
    assert len(made.state_dict()) == 418


def test_the_twins_numbers_are_counted_too(tiny: config.ModelConfig) -> None:
    made = build(tiny)
    assert len(made.state_dict()) == len(drawn(0))
    wide = replace(tiny, backbone="vit_tiny_patch16_384", taps=(0, 1, 2, 3), backbone_size=32)
    with torch.device("meta"):
        assert sum(p.numel() for p in build(wide).parameters()) == wide.parameters()


WRAPPED = {"bare": "", "of DDP": "module.", "compiled": "_orig_mod.", "of all": "module._orig_mod.module._orig_mod."}


@pytest.mark.parametrize("prefix", WRAPPED.values(), ids=WRAPPED)
@pytest.mark.parametrize("checkpoint", [False, True], ids=["best model", "checkpoint"])
def test_a_file_says_what_a_plain_restatement_says(
    prefix: str, checkpoint: bool, tiny: config.ModelConfig, tmp_path: Path
) -> None:
    state = drawn(0)
    content: dict = {prefix + name: tensor for name, tensor in state.items()}
    if checkpoint:
        about = {"optimizer_state_dict": {"state": {0: {"step": torch.ones(1)}}, "param_groups": [{"lr": 2e-4}]}}
        content = {"epoch": 155, "model_state_dict": content, **about, "train_loss": 0.1, "val_loss": 0.2}
    torch.save(content, tmp_path / "w.pth")
    made, plain = of_path(tmp_path / "w.pth").network(), Plain(state)
    rng = np.random.default_rng(1)
    sizes = ((SIDE, SIDE), (64, SIDE), (SIDE, 64), (37, 53), (96, 80)) if not prefix else ((64, SIDE),)
    for size in sizes:
        image = torch.from_numpy(rng.integers(0, 256, (2, 3, *size), np.uint8))
        with torch.inference_mode():
            said = made(image)
        assert all(output.dtype == torch.float32 for output in said.values())
        for place in range(2):
            told = plain(image[place].double() / 255)
            normals = told["normals"].flip(0)  # Z, Y, X there
            normals = normals / normals.norm(dim=0, keepdim=True)
            for name, found, expected in (
                ("depth", said["relative_depth"][place, 0], told["depth"]),
                ("normals", said["normals"][place], normals),
                ("alpha", said["alpha_logits"][place, 0], told["alpha_logits"]),
            ):
                assert (found - expected).abs().max() < 2e-5 * max(1, expected.abs().max()), (name, size)
            assert told["depth"].std() > 0.01 and told["alpha_logits"].std() > 0.01  # they say something
            assert 0 < (told["depth"] == 0).double().mean() < 0.7


def test_what_no_head_of_ours_says_is_kept(tiny: config.ModelConfig, tmp_path: Path) -> None:
    state = drawn(0)
    torch.save(state, tmp_path / "w.pth")
    made = of_path(tmp_path / "w.pth").network()
    weights.save(made, tmp_path / "w.safetensors")
    again = weights.load(tmp_path / "w.safetensors").state_dict()
    kept = [tensor for name, tensor in again.items() if name.startswith(("second_heads.", "unused."))]
    assert len(kept) == 5 * 6 + 4
    theirs = sorted((name, tensor) for name, tensor in ((pickled.ours(n), t) for n, t in state.items()))
    assert [name for name, _ in theirs] == sorted(again)
    assert all(torch.equal(again[name], tensor) for name, tensor in theirs)


def test_a_gradient_step_changes_all_that_is_used_and_no_statistics(tiny: config.ModelConfig, tmp_path: Path) -> None:
    torch.save(drawn(0), tmp_path / "w.pth")
    made = of_path(tmp_path / "w.pth").network().train()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in made.parameters() if p.requires_grad], lr=1.0)
    said = made(torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 64, SIDE), np.uint8)))
    sum((output * torch.linspace(0, 1, output.numel()).view_as(output)).mean() for output in said.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters() if p.requires_grad)
    optimiser.step()
    same = {name for name, tensor in made.state_dict().items() if tensor.equal(before[name])}
    still = {name for name in before if "running_" in name or name.endswith("num_batches_tracked")}
    assert same == still | {name for name in before if name.startswith(("second_heads.", "unused."))}


def test_it_predicts_by_its_name_alone_at_its_own_size(tiny: config.ModelConfig, tmp_path: Path) -> None:
    torch.save(drawn(0), tmp_path / "checkpoint_epoch_155.pth")
    net = david.load(tmp_path / "checkpoint_epoch_155.pth")
    assert net.side == SIDE
    out = net.predict(np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8))
    assert out.relative_depth.shape == out.alpha.shape == (30, 41)
    assert np.allclose(np.linalg.norm(out.normals, axis=-1), 1, atol=1e-4)


class Harm:
    def __reduce__(self):
        return print, ("run!",)


def test_what_is_no_such_file_is_one_sentence(tiny: config.ModelConfig, tmp_path: Path, capsys) -> None:
    state = drawn(0)
    torch.save({"model_state_dict": state, "also": Harm()}, tmp_path / "code.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Harm()))
    (tmp_path / "text.pth").write_text("no weights")
    torch.save({"epoch": 1}, tmp_path / "nothing.pth")
    torch.save({"a": 1, "module.x": torch.ones(1), "_orig_mod.x": torch.ones(1)}, tmp_path / "twice.pth")
    torch.save(network().state_dict(), tmp_path / "ours.pth")
    torch.save({name: t for name, t in state.items() if name != "alpha_head.4.bias"}, tmp_path / "short.pth")
    torch.save(state | {"extra.weight": torch.ones(2)}, tmp_path / "more.pth")
    torch.save(state | {"geo_head2.4.bias": torch.ones(60)}, tmp_path / "shape.pth")
    torch.save(state | {"alpha_head.4.bias": torch.tensor([torch.nan])}, tmp_path / "nan.pth")
    torch.save(state | {"alpha_head.4.bias": torch.ones(1).to_sparse()}, tmp_path / "sparse.pth")
    torch.save({f"{name}\n": tensor for name, tensor in state.items()}, tmp_path / "lines.pth")
    whole = (tmp_path / "more.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", bytes(10_000_000))
    for name, told in {
        "code": "would call something else",
        "plain": "would call something else",
        "text": "text.pth: expected a network.s weights, found a file that begins with b.no weights",
        "nothing": "expected weights of the network `unofficial`, found no tensors",
        "twice": "two tensors are both x once their prefixes are gone",
        "ours": r"all of them; found .* of the network's parameters from .*ours.pth; missing: .* more; unexpected: ",
        "short": "missing: heads.alpha.4.bias",
        "more": "unexpected: extra.weight",
        "shape": r"misshapen: second_heads.geometry.4.bias \(60,\), expected \(3,\)",
        "nan": "heads.alpha.4.bias holds values that are not finite",
        "sparse": "found 'alpha_head.4.bias', torch.sparse_coo",
        "lines": r"expected dense tensors under plain names, found 'pretrained.model.cls_token.n', torch.strided",
        "cut": "cut short, damaged or not weights of the network `unofficial`",
        "bomb": "which do not compress",
        "gone": "no such file or folder",
    }.items():
        with pytest.raises(DavidError, match=told) as error:
            david.load(tmp_path / f"{name}.pth")
        assert "\n" not in str(error.value)
    assert "run!" not in capsys.readouterr().out


def test_a_network_of_another_kind_is_no_twin_of_it() -> None:
    for told, changes in {
        "model.heads: expected depth, normals, alpha": {"heads": ("depth",)},
        "model.width: expected a number of channels, a multiple of 4": {"width": 6},
        "model.taps": {"taps": (3, 2, 1, 0)},
        "model.classes": {"classes": 0},
    }.items():
        with pytest.raises(DavidError, match=told):
            config.configure("unofficial", **changes)


def test_safetensors_of_others_are_still_refused(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    with pytest.raises(DavidError, match="safetensors that do not say of what"):
        david.load(tmp_path / "a.safetensors")
