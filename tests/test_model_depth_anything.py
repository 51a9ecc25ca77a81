"""Depth Anything V2 and ZoeDepth's head: official files go in whole and say what a plain re-statement says."""

import zipfile
from collections.abc import Callable
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from depth_anything_file import BINS, GATE, TINY, ZOE, Plain, State, drawn, shapes, zoe_drawn
from safetensors.torch import save_file

import david
from david.model import build, official, weights
from david.model.config import configure
from david.model.heads.table import HEADS
from david.model.layers import layer_ids
from david.model.networks.network import Network
from david.pack.errors import DavidError
from david.train.subject import of_path

SIZES = ((518, 518), (378, 504), (392, 518))
CLOSE = 2e-5  # of the largest value
BINS_KINDS = ("softplus", "normed", "hybrid1", "hybrid2")
LAST = "depth_head.scratch.output_conv2.2.bias"
WAYS = [(fall, kind) for fall in ("inv", "exp") for kind in ("mean", "sum")]
GIANT = {**TINY, "backbone": "vit_giant_patch14_dinov2.lvd142m"}


def picture(*size: int) -> torch.Tensor:
    """(3, H, W) float64, 0 .. 1: patches of colour and noise."""
    rng = np.random.default_rng(size)
    coarse = np.kron(rng.random((3, -(-size[0] // 14), -(-size[1] // 14))), np.ones((14, 14)))
    return torch.from_numpy((coarse[:, : size[0], : size[1]] + 0.1 * rng.random((3, *size))).clip(0, 1))


def said(network: Network, image: torch.Tensor) -> torch.Tensor:
    """(H, W) float32."""
    with torch.inference_mode():
        prediction = network(image.float()[None])
    (output,) = prediction.values()
    assert set(prediction) == {HEADS[head].output for head in network.config.heads}
    assert output.dtype == torch.float32
    return output[0, 0]


def read(state: State, folder: Path, name: str, **how: object) -> Network:
    """What is read back from a file of that state."""
    torch.save(state, folder / "w.pth")
    model = configure(name, **how)  # type: ignore[arg-type]
    return of_path(folder / "w.pth", model).network()


def close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return bool((found - expected).abs().max() < CLOSE * expected.abs().max())


@pytest.mark.parametrize(
    ("name", "count", "backbone", "tensors"),
    [
        ("da2-vits", 24_785_089, 22_056_576, 239),
        ("da2-vitb", 97_470_785, 86_580_480, 239),
        ("da2-vitl", 335_315_649, 304_368_640, 407),
        ("da2-vitg", 1_258_132_225, 1_136_480_768, 631),
        ("da2-vitl-metric", 335_315_649, 304_368_640, 407),
        ("da2-zoe-vitl", 335_315_649 + 478_145, 304_368_640, 407 + 46),
    ],
)
def test_parameters_and_tensors_are_those_of_the_published_files(
    name: str, count: int, backbone: int, tensors: int
) -> None:
    with torch.device("meta"):
        made = build(name)
    assert sum(p.numel() for p in made.parameters()) == count == made.config.parameters()
    assert sum(p.numel() for p in made.backbone.parameters()) == backbone
    assert len(made.state_dict()) == tensors


@pytest.mark.parametrize(("bins", "count"), [*zip(BINS_KINDS, (478_145, 481_886, 478_145, 481_886), strict=True)])
def test_zoedepths_head_has_the_parameters_of_its_files(bins: str, count: int) -> None:
    with torch.device("meta"):
        made = build("da2-zoe-vitl", bins=bins)
    assert sum(p.numel() for name, p in made.named_parameters() if name.startswith("metric.")) == count
    assert sum(p.numel() for p in made.parameters()) == made.config.parameters()


@pytest.mark.parametrize("name", ["da2-smoke", "da2-smoke-metric", "da2-zoe-smoke", "zoe with the adapter", "giant"])
def test_parameters_are_counted_without_a_network(name: str) -> None:
    how = {"zoe with the adapter": ("da2-zoe-smoke", {"pyramid": "adapter"}), "giant": ("da2-vitg", GIANT)}
    known, changes = how.get(name, (name, {}))
    made = build(known, **changes)
    assert sum(p.numel() for p in made.parameters()) == made.config.parameters()


@cache
def parts(size: tuple[int, int]) -> tuple[State, torch.Tensor, tuple]:
    """The trunk of all files here, and what a plain re-statement of it says of a picture."""
    trunk, image = drawn(0), picture(*size)
    return trunk, image, Plain(trunk).parts(image)


@pytest.mark.parametrize("size", SIZES)
def test_a_relative_and_a_metric_file_say_what_a_plain_restatement_says(size: tuple[int, int], tmp_path: Path) -> None:
    state, image, (_, last, _) = parts(size)
    expected = (last + 0.3).relu()[0, 0]  # mostly above 0
    relative = state | {LAST: state[LAST] + 0.3}
    assert expected.std() > 0.05 and (expected > 0).double().mean() > 0.9
    assert close(said(read(relative, tmp_path, "da2-vits", **TINY), image), expected)
    for reach in (20.0, 80.0):
        metric = read(state, tmp_path, "da2-vits-metric", **TINY, max_depth=reach)
        assert close(said(metric, image), reach / (1 + (-last[0, 0]).exp()))


def zoe_file(seed: int, bins: str, size: tuple[int, int]) -> tuple[State, torch.Tensor, tuple]:
    """ZoeDepth's head on that trunk, the picture, and what the trunk says of it."""
    trunk, image, seen = parts(size)
    return zoe_drawn(seed, bins) | {f"core.core.{name}": tensor for name, tensor in trunk.items()}, image, seen


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bins", BINS_KINDS)
def test_a_file_of_zoedepth_says_what_a_plain_restatement_says(
    bins: str, size: tuple[int, int], tmp_path: Path
) -> None:
    state, image, seen = zoe_file(3, bins, size)
    plain = Plain(state, "core.core.")
    fall, kind = WAYS[(SIZES.index(size) + BINS_KINDS.index(bins)) % len(WAYS)]
    how = {"bins": bins, "attractor_type": fall, "attractor_kind": kind}
    expected = plain.zoe(seen, bins, fall, kind)
    assert expected.std() > 0.001
    assert close(said(read(state, tmp_path, "da2-zoe-vits", **ZOE, **how), image), expected)


@pytest.mark.parametrize("bins", BINS_KINDS)
def test_every_way_of_zoedepths_attractors_is_the_restatements(bins: str, tmp_path: Path) -> None:
    (state, image, seen), answers = zoe_file(4, bins, (84, 112)), []
    for fall, kind in WAYS:
        how = {"bins": bins, "attractor_type": fall, "attractor_kind": kind}
        answers.append(Plain(state, "core.core.").zoe(seen, bins, fall, kind))
        assert close(said(read(state, tmp_path, "da2-zoe-vits", **ZOE, **how), image), answers[-1]), how
    assert not any(close(a, b) for a, b in combinations(answers, 2))


def test_the_giants_gated_perceptrons_are_the_restatements(tmp_path: Path) -> None:
    state, image = drawn(0, shapes(gated=True)), picture(84, 112)
    assert close(said(read(state, tmp_path, "da2-vitg", **GIANT), image), Plain(state).disparity(image))


@pytest.mark.parametrize(
    "other",
    [
        *({"eps": 1e-5}, {"tanh": True}, {"corners": False}, {"final_norm": False}, {"by_factor": False}),
        {"taps": (1, 2, 3, 4)},  # the last four blocks, as in version 1
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_the_published_weights_depend_on_would_be_seen(other: dict) -> None:
    """Each is further from the re-statement than any network here may be."""
    plain, image = Plain(drawn(0)), picture(84, 112)
    expected = plain.disparity(image)
    for name, value in other.items():
        setattr(plain, name, value)
    assert (plain.disparity(image) - expected).abs().max() > 2 * CLOSE * expected.abs().max()


def wrapped(state: State) -> dict:
    """As its trainer saves it."""
    model = {f"module.{name}": tensor for name, tensor in state.items()}
    return {"model": model, "optimizer": {"state": {}}, "epoch": 9, "previous_best": {"d1": 0.9}}


def chunked(state: State) -> State:
    """As Distill-Any-Depth has it."""
    return {
        name.replace("pretrained.blocks.", "backbone.blocks.0.").replace("pretrained.", "backbone."): tensor
        for name, tensor in state.items()
    }


LAYOUTS: dict[str, Callable[[State], dict]] = {"its trainer's": wrapped, "distill-any-depth": chunked}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_is_the_same_network(layout: Callable[[State], dict], tmp_path: Path) -> None:
    state = drawn(0)
    other = layout(state)
    assert not any(name.startswith("pretrained.") for name in other)
    made = read(other, tmp_path, "da2-vits", **TINY)
    again = official.to_official(made)
    assert again.keys() == state.keys() and all(torch.equal(again[name], state[name]) for name in state)


@pytest.mark.parametrize("bins", ["softplus", "normed"])
def test_what_was_read_is_written_again_in_official_names(bins: str, tmp_path: Path) -> None:
    for name, how, state in (
        ("da2-vits-metric", TINY, drawn(0)),
        ("da2-vitg", GIANT, drawn(0, shapes(gated=True))),
        ("da2-zoe-vits", ZOE | {"bins": bins}, zoe_drawn(0, bins)),
    ):
        again = official.to_official(read(state, tmp_path, name, **how))
        assert list(again) != [] and again.keys() == state.keys()
        assert all(torch.equal(again[one], state[one]) for one in state)
    save_file(state, tmp_path / "w.safetensors")
    one = of_path(tmp_path / "w.safetensors", configure("da2-zoe-vits", **ZOE, bins=bins)).network()
    weights.save(one, tmp_path / "ours.safetensors")
    ours = weights.load(tmp_path / "ours.safetensors")
    assert ours.config == one.config and torch.equal(said(ours, picture(56, 42)), said(one, picture(56, 42)))
    with pytest.raises(DavidError, match="has no official names"):
        official.to_official(build("da2-zoe-smoke", pyramid="adapter"))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile the published names mean the tiny networks."""
    from david.model import config

    for name, how in {"da2-vits": TINY, "da2-vits-metric": TINY, "da2-zoe-vits": ZOE}.items():
        monkeypatch.setitem(config.MODELS, name, configure(name, **how))


def test_david_load_reads_official_files_by_what_is_told_of_them(tiny: None, tmp_path: Path) -> None:
    state, rgb = drawn(0), (picture(37, 53).permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    torch.save(state, tmp_path / "w.pth")
    relative = david.load(tmp_path / "w.pth", kind="da2-vits", size=56)
    assert relative.fit == "shorter" and relative.fields == ("relative_disparity",)
    metric = david.load(tmp_path / "w.pth", kind="da2-vits-metric", max_depth=20, size=56)
    assert metric.fields == ("metric_depth_m",)
    same = david.load(f"{tmp_path / 'w.pth'}@da2-vits-metric,max_depth=80", size=56)
    near, far = metric.predict(rgb).metric_depth_m, same.predict(rgb).metric_depth_m
    assert near is not None and far is not None
    assert near.shape == (37, 53) and near.dtype == np.float32 and np.allclose(4 * near, far, rtol=1e-6)
    disparity = relative.predict(rgb).relative_disparity
    assert disparity is not None and disparity.shape == (37, 53) and disparity.min() >= 0
    assert david.load(tmp_path / "w.pth", kind="da2-vits").side == 518


def test_what_no_file_tells_must_be_told(tiny: None, tmp_path: Path) -> None:
    torch.save(drawn(0), tmp_path / "w.pth")
    weights.save(build("da2-smoke"), tmp_path / "ours.safetensors")
    for told, how in {
        "which don't tell what it is: give a kind, such as da2-vitl": {},
        "tell max_depth, which no file says: 20 metres for rooms": {"kind": "da2-vits-metric"},
        "unknown model 'da2-vitx'": {"kind": "da2-vitx"},
        "its configuration has no reach": {"at": "@da2-vits,reach=3"},
        "model.max_depth: expected none with heads=disparity": {"kind": "da2-vits", "max_depth": 20.0},
        "says itself what it is the weights of": {"name": "ours.safetensors", "kind": "da2-vits"},
        "max_depth belongs to a kind's name": {"max_depth": 3.0},
    }.items():
        path = f"{tmp_path / how.pop('name', 'w.pth')}{how.pop('at', '')}"
        with pytest.raises(DavidError, match=told):
            david.load(path, **how)


def test_a_relative_file_given_as_metric_is_refused_with_what_it_says(tiny: None, tmp_path: Path) -> None:
    """And the reverse; both files hold the same names and shapes."""
    for shift, kind, reach, told in (
        (3.0, "da2-vits-metric", 20.0, r"100.0% of made-up pictures would lie between 1\d[.\d]* and 1\d"),
        (-3.0, "da2-vits", None, "its disparity is 0 on 100.0% of made-up pictures, as a metric file's would be"),
    ):
        state = drawn(0)
        torch.save(state | {LAST: state[LAST] + shift}, tmp_path / "w.pth")
        with pytest.raises(DavidError, match=told):
            david.load(tmp_path / "w.pth", kind=kind, max_depth=reach)
        torch.save(state | {LAST: state[LAST] - shift}, tmp_path / "w.pth")
        david.load(tmp_path / "w.pth", kind=kind, max_depth=reach)


def transformers(state: State) -> State:
    return {
        name.replace("pretrained.blocks.", "backbone.encoder.layer.").replace("depth_head.", "neck."): tensor
        for name, tensor in state.items()
    }


class Harm:
    def __reduce__(self):
        return print, ("run!",)


def test_what_is_no_such_file_is_one_sentence(tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state, zoe = drawn(0), zoe_drawn(0, "softplus")
    last = LAST
    numbers = "conditional_log_binomial.log_binomial_transform."
    files: dict[str, tuple[dict, str]] = {
        "short": ({name: t for name, t in state.items() if name != last}, f"missing: {last}$"),
        "more": (state | {"depth_head.readout.weight": torch.ones(2)}, "unexpected: depth_head.readout.weight$"),
        "shape": (state | {last: torch.ones(2)}, rf"of another shape: {last} \(2,\), expected \(1,\)$"),
        "wide": (
            state | {"pretrained.cls_token": torch.ones(1, 1, 768)},
            "768 channels a token here, as vit_base_patch",
        ),
        "nan": (state | {last: torch.tensor([torch.nan])}, f"{last} holds values that are not finite"),
        "whole": (state | {last: torch.ones(1, dtype=torch.int32)}, f"{last} holds int32, expected floats; the file"),
        "complex": (state | {last: torch.ones(1, dtype=torch.complex64)}, f"{last} holds complex64, expected floats"),
        "absent": (state | {last: torch.ones(1, device="meta")}, f"found '{last}', one without values"),
        "scalars": ({name: torch.ones(()) for name in state}, r"pretrained.cls_token \(\), expected"),
        "long": (state | {"a" * 100_000: torch.ones(1)}, "unexpected: a{100}[.]{3}$"),
        "hf": (transformers(state), "in the layout of Hugging Face's transformers; take the authors' own file"),
        "backbone": ({n: t for n, t in state.items() if n.startswith("pretrained.")}, "found a DINOv2 by itself"),
        "zoe": (zoe, "found ZoeDepth's head on it; give a kind such as da2-zoe-vitl"),
        "twice": (state | {f"module.{last}": state[last]}, f"two tensors are both {last}"),
        "code": ({"model": state, "also": Harm()}, "would call something else"),
        "ours": (dict(build("da2-smoke").state_dict()), "found tensors called|missing: "),
    }
    for name, (content, told) in files.items():
        torch.save(content, tmp_path / f"{name}.pth")
        with pytest.raises(DavidError, match=told) as error:
            david.load(tmp_path / f"{name}.pth", kind="da2-vits")
        assert "\n" not in str(error.value) and name in str(error.value)
    for name, (content, told) in {
        "plain": (state, "without ZoeDepth's head; train one on it with --from"),
        "bins": (zoe | {f"{numbers}k_idx": torch.arange(BINS + 1).view(1, -1, 1, 1)}, "tell n_bins as the file was"),
        "normed": (zoe_drawn(0, "normed"), r"of another shape: attractors.0._net.2.weight \(8, 128, 1, 1\)"),
        "midas": ({f"core.core.pretrained.model.{n}": t for n, t in state.items()}, "ZoeDepth on MiDaS's BEiT"),
        "nk": (zoe | {"seed_bin_regressors.nyu._net.0.bias": torch.ones(1)}, "with a head for each data set"),
    }.items():
        torch.save(content, tmp_path / f"{name}.pth")
        with pytest.raises(DavidError, match=told) as error:
            david.load(tmp_path / f"{name}.pth", kind="da2-zoe-vits", max_depth=10)
        assert "\n" not in str(error.value)
    whole = (tmp_path / "more.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", bytes(10_000_000))
    for name, told in {"cut": "cut short, damaged or not weights", "bomb": "which do not compress"}.items():
        with pytest.raises(DavidError, match=told):
            david.load(tmp_path / f"{name}.pth", kind="da2-vits")
    assert "run!" not in capsys.readouterr().out


@pytest.mark.parametrize("layout", ["hub", "official", "chunked"])
def test_the_backbone_is_filled_from_dinov2s_own_file_with_a_report(layout: str, tmp_path: Path) -> None:
    state = drawn(0)
    trunk = {n.removeprefix("pretrained."): t for n, t in state.items() if n.startswith("pretrained.")}
    content = {"hub": trunk, "official": state, "chunked": chunked(state)}[layout]
    torch.save(content, tmp_path / "w.pth")
    made = build("da2-vits", **TINY)
    report = weights.load_backbone(made, tmp_path / "w.pth")
    assert report.share == 1 and not report.missing and not report.misshapen
    assert torch.equal(made.backbone.vit.blocks[3].mlp.fc1.weight, trunk["blocks.3.mlp.fc1.weight"])
    assert torch.equal(made.backbone.vit.pos_embed, trunk["pos_embed"])


def test_a_training_begins_with_an_official_file_and_says_what_it_lacks(tmp_path: Path) -> None:
    state = drawn(0)
    torch.save(wrapped(state), tmp_path / "w.pth")
    made = build("da2-zoe-vits", **ZOE)
    report = weights.load_whole(made, tmp_path / "w.pth")
    assert all(name.startswith("metric.") for name in report.missing) and not report.unexpected
    filled = official.to_official(made)
    assert all(torch.equal(filled[f"core.core.{name}"], tensor) for name, tensor in state.items())
    other = build("da2-zoe-vits", **ZOE)
    weights.save(made, tmp_path / "ours.safetensors")
    assert weights.load_whole(other, tmp_path / "ours.safetensors").share == 1


@pytest.mark.parametrize("name", ["da2-smoke", "da2-smoke-metric", "da2-zoe-smoke"])
def test_any_size_is_seen_in_patches_and_said_at_its_own(name: str) -> None:
    torch.manual_seed(0)
    made = build(name).eval()
    for size in ((1, 1), (20, 37), (56, 42), (57, 43), (70, 15)):
        with torch.inference_mode():
            (output,) = made(torch.randint(0, 256, (2, 3, *size)).byte()).values()
        assert output.shape == (2, 1, *size) and output.isfinite().all() and output.min() >= 0


@pytest.mark.parametrize("how", [{}, {"pyramid": "adapter", "bins": "hybrid1"}], ids=["dpt", "adapter"])
def test_every_parameter_that_is_used_gets_a_gradient(how: dict) -> None:
    torch.manual_seed(0)
    made = build("da2-zoe-smoke", **how)
    (output,) = made(torch.randint(0, 256, (2, 3, 57, 70)).byte()).values()
    (output * torch.randn_like(output)).sum().backward()
    grown = {name: p for name, p in made.named_parameters() if p.requires_grad}
    assert [name for name, p in grown.items() if p.grad is None or not p.grad.any()] == []
    unused = {name.rpartition(".conv")[0] for name, p in made.named_parameters() if not p.requires_grad}
    assert unused == {"", *({"pyramid.fusions.3.lateral"} if not how else ())}  # the mask token has no conv
    assert set(layer_ids(made).values()) == set(range(len(made.backbone.vit.blocks) + 2))


def test_dropping_what_blocks_computed_changes_no_gradient() -> None:
    image, grads = torch.randint(0, 256, (1, 3, 56, 70)).byte(), []
    for again in (False, True):
        torch.manual_seed(0)
        made = build("da2-zoe-smoke").train()
        made.backbone.vit.set_grad_checkpointing(again)
        made(image)["metric_depth_m"].square().sum().backward()
        grads.append([p.grad for p in made.parameters() if p.grad is not None])
    assert len(grads[0]) > 100 and all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    made.backbone.freeze()
    assert not any(p.requires_grad for p in made.backbone.parameters()) and not made.train().backbone.training


def test_autocast_rounds_but_metres_stay_float32() -> None:
    torch.manual_seed(0)
    made, image = build("da2-zoe-smoke").eval(), torch.randint(0, 256, (1, 3, 70, 56)).byte()
    with torch.inference_mode():
        exact = made(image)["metric_depth_m"]
        with torch.autocast("cpu", torch.bfloat16):
            found = made(image)["metric_depth_m"]
    assert found.dtype == torch.float32 and not torch.equal(found, found.bfloat16().float())
    assert 0 < (found - exact).abs().max() < 0.1 * exact.mean()


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("da2-vits", {"heads": ("metric_depth",)}, "model.max_depth: expected metres above 0 with heads=metric_depth"),
        ("da2-vits", {"heads": ("depth",)}, "model.heads: expected disparity or metric_depth"),
        ("da2-vits", {"backbone": "vit_small_patch14_reg4_dinov2"}, "without registers"),
        ("da2-vits", {"taps": (2, 5, 8, 12)}, "model.taps: expected four of the blocks 0 to 11"),
        ("da2-vits", {"width": 64}, "width, blocks and attention_heads together"),
        ("da2-vits", {"width": 64, "blocks": 12, "attention_heads": 3}, "a multiple of the 3 attention heads"),
        ("da2-vits", {"features": 7}, "model.features: expected an even number"),
        ("da2-vits", {"backbone_size": 500}, "a multiple of the patches' 14 pixels"),
        ("da2-vits-metric", {"max_depth": -1.0}, "model.max_depth"),
        ("da2-zoe-vits", {"bins": "uniform"}, "model.bins: expected one of softplus, normed, hybrid1, hybrid2"),
        ("da2-zoe-vits", {"attractors": (16, 8, 4)}, "model.attractors"),
        ("da2-zoe-vits", {"attractor_type": "linear"}, "model.attractor_type: expected one of inv, exp"),
        ("da2-zoe-vits", {"min_depth": 0.0}, "model.max_depth: expected metres above min_depth"),
        ("da2-zoe-vits", {"max_temp": 0.01}, "model.max_temp"),
        ("da2-zoe-vits", {"n_bins": 1}, "model.n_bins"),
        ("da2-zoe-vits", {"heads": ("disparity",)}, "model.heads: expected metric_depth"),
        ("da2-zoe-vits", {"pyramid": "fpn"}, "model.pyramid: expected one of dpt, adapter"),
    ],
)
def test_impossible_configurations_are_refused_when_made(name: str, changes: dict, told: str) -> None:
    with pytest.raises(DavidError, match=told):
        configure(name, **changes)


def test_the_tiny_files_are_of_what_the_tiny_networks_hold() -> None:
    assert len(drawn(0)) == len(build("da2-vits", **TINY).state_dict())
    assert len(zoe_drawn(0, "normed")) == len(build("da2-zoe-vits", **ZOE).state_dict()) + 2
    assert build("da2-vitg", **GIANT).backbone.vit.blocks[0].mlp.fc1.out_features == 2 * GATE
