"""The network: the paper's sizes, any image, one meaning."""

import json
from dataclasses import asdict
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from david.model import Network, Prediction, build
from david.model.config import configure, from_json
from david.model.heads.dense import ACTIVATIONS
from david.model.heads.table import HEADS, Head
from david.model.layers import layer_ids
from david.pack.errors import DavidError
from david.pack.lazy import load

OUTPUTS = {"relative_depth": 1, "normals": 3, "alpha_logits": 1}


@pytest.fixture(scope="module")
def smoke() -> Network:
    torch.manual_seed(0)
    return build("david-smoke").eval()


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (*shape[:-2], 3, *shape[-2:]), generator=torch.Generator().manual_seed(seed)).byte()


def outputs(prediction: Prediction) -> list[torch.Tensor]:
    return [prediction[name] for name in OUTPUTS]


@cache
def on_meta(name: str, heads: tuple[str, ...]) -> Network:
    with torch.device("meta"):
        return build(name, heads)


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "heads", "count"),
    [
        ("david-base", ("depth",), 112_262_273),
        ("david-base", ("normals",), 112_262_339),
        ("david-base", ("alpha",), 112_262_273),
        ("david-large", ("depth",), 344_414_145),
        ("david-large", ("depth", "normals", "alpha"), 345_078_149),
    ],
)
def test_parameters_are_those_of_the_papers_models(name, heads, count):
    assert parameters(on_meta(name, heads)) == count
    assert configure(name, heads=heads).parameters() == count  # without a network


def test_parameters_are_counted_without_a_network(smoke):
    assert smoke.config.parameters() == parameters(smoke)
    assert configure("david-smoke", backbone="vit_small_patch14_dinov2.lvd142m").parameters() is None


@pytest.mark.parametrize(
    ("name", "backbone", "reassemble"),
    [("david-base", 86_088_960, 14_751_168), ("david-large", 303_688_704, 29_303_296)],
)
def test_parameters_of_each_part_are_those_of_the_papers_models(name, backbone, reassemble):
    network = on_meta(name, ("depth", "normals", "alpha"))
    found = {part: parameters(module) for part, module in network.named_children() if part != "heads"}
    assert found == {"backbone": backbone, "reassemble": reassemble, "resizer": 2_303_744, "decoder": 8_786_432}
    assert {head: parameters(module) for head, module in network.heads.items()} == {
        "depth": 331_969,
        "normals": 332_035,
        "alpha": 331_969,
    }


@pytest.mark.parametrize(
    ("name", "heads", "card"),
    [
        ("david-base", ("depth",), 172.4e9),
        ("david-large", ("depth",), 331.5e9),
        ("david-large", ("depth", "normals", "alpha"), 389.9e9),
    ],
)
def test_work_is_a_little_below_the_papers_model_cards(name, heads, card):
    """The cards count element-wise work, transposed convolutions k x k times, and two sums that we do while small."""
    network = on_meta(name, heads)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, 3, 512, 512, device="meta"))
    assert 0.92 * card < counter.get_total_flops() / 2 < card


@settings(max_examples=12, deadline=None)
@given(height=st.integers(1, 75), width=st.integers(1, 75), batch=st.integers(1, 2))
def test_any_size_gives_outputs_of_that_size(smoke, height, width, batch):
    with torch.no_grad():
        prediction = smoke(images(batch, height, width))
    for name, channels in OUTPUTS.items():
        output = prediction[name]
        assert output.shape == (batch, channels, height, width)
        assert output.dtype == torch.float32
        assert output.isfinite().all()


def test_bytes_and_floats_agree(smoke):
    image = images(2, 33, 46)
    with torch.no_grad():
        pairs = zip(outputs(smoke(image)), outputs(smoke(image.float() / 255)), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_memory_format_means_nothing(smoke):
    image = images(2, 40, 32)
    with torch.no_grad():
        for a, b in zip(
            outputs(smoke(image)), outputs(smoke(image.to(memory_format=torch.channels_last))), strict=True
        ):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_images_reach_the_vit_as_it_was_trained_on_them(smoke):
    """augreg ViTs were trained on images in -1 .. 1."""
    assert torch.equal(
        smoke.normalise(torch.tensor([0, 255]).byte().view(1, 1, 1, 2)).unique(), torch.tensor([-1.0, 1])
    )
    dinov2 = build("david-smoke", backbone="vit_small_patch14_dinov2.lvd142m", backbone_size=56)
    assert dinov2.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])


def test_normals_have_unit_length(smoke):
    with torch.no_grad():
        normals = smoke(images(1, 50, 30))["normals"]
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(1, 50, 30))


def test_normals_begin_facing_the_camera():
    for seed in range(3):
        torch.manual_seed(seed)
        with torch.no_grad():
            normals = build("david-smoke")(images(2, 64, 48, seed=seed))["normals"]
        assert normals[:, 2].mean() > 0.9


def test_normals_of_a_zero_vector_have_a_finite_gradient():
    head = load(HEADS["normals"].module)(3, 8, (4, 4))
    for parameter in head.last.parameters():  # the last layer says 0, 0, 0 everywhere
        torch.nn.init.zeros_(parameter)
    features = torch.randn(1, 8, 4, 4, requires_grad=True)
    (head(features, torch.Size((8, 8))) ** 2).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_every_parameter_gets_a_gradient():
    """DDP with a static graph waits for each of them; a norm or a block that nothing reads would hang it."""
    torch.manual_seed(0)
    network = build("david-smoke")
    torch.stack([(o * torch.randn_like(o)).sum() for o in outputs(network(images(2, 47, 33)))]).sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_outputs_depend_on_the_image_alone(smoke):
    """In evaluation: not on the run before, nor on the other images of the batch."""
    batch = images(3, 48, 36)
    with torch.no_grad():
        first, again = outputs(smoke(batch)), outputs(smoke(batch))
        alone = outputs(smoke(batch[1:2]))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for a, b in zip(first, alone, strict=True):
        torch.testing.assert_close(a[1:2], b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("heads", [("depth",), ("alpha", "normals")])
def test_a_network_says_what_it_has_heads_for(heads):
    prediction = build("david-smoke", heads)(images(1, 16, 16))
    said = {head: HEADS[head].output in prediction for head in HEADS}
    assert said == {head: head in heads for head in HEADS}


class Widths(torch.nn.Module):
    """Says how wide each map is that it was given."""

    def __init__(self, channels: int, width: int, head_widths: tuple[int, int], activation: str):
        super().__init__()

    def forward(self, pyramid: list[torch.Tensor], size: torch.Size) -> torch.Tensor:
        return torch.tensor([float(each.shape[-1]) for each in pyramid]).view(1, -1, 1, 1).expand(1, -1, *size)


def test_a_head_that_asks_for_the_pyramid_is_given_all_maps_finest_first(monkeypatch):
    monkeypatch.setitem(HEADS, "widths", Head(Widths, output="widths", channels=4, needs="pyramid"))
    network = build("david-smoke", ("depth", "widths"))
    prediction = network(images(1, 64, 48))
    assert prediction["widths"][0, :, 0, 0].tolist() == [24, 12, 6, 3]
    assert prediction["relative_depth"].shape == (1, 1, 64, 48)
    assert network.config.parameters() is None  # nobody counts its parameters


def test_a_single_task_network_is_the_multi_task_one_without_the_other_heads(smoke):
    single = build("david-smoke", ("normals",)).eval()
    single.load_state_dict({k: v for k, v in smoke.state_dict().items() if k in single.state_dict()})
    image = images(1, 30, 20)
    with torch.no_grad():
        assert torch.equal(single(image)["normals"], smoke(image)["normals"])


@pytest.mark.parametrize("size", [64, 192])
def test_the_vit_can_see_the_image_at_another_size(smoke, size):
    other = build("david-smoke", backbone_size=size).eval()
    assert other.backbone.grid == (size // 16, size // 16)
    prediction = other(images(1, 45, 31))
    assert prediction["normals"].shape == (1, 3, 45, 31)


def test_autocast_rounds_but_keeps_float32_outputs(smoke):
    """Relative depth leaves the last layer in float32: its neighbours differ by less than a step of bfloat16."""
    image = images(1, 64, 48)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        prediction = smoke(image)
    with torch.no_grad():
        exact = smoke(image)
    assert all(output.dtype == torch.float32 for output in outputs(prediction))
    assert not torch.equal(prediction["relative_depth"], prediction["relative_depth"].bfloat16().float())
    assert (prediction["relative_depth"] - exact["relative_depth"]).abs().mean() < 0.05 * exact["relative_depth"].std()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("compiled", [False, True])
def test_bf16_on_a_gpu_says_what_fp32_on_the_cpu_says(smoke, compiled):
    image = images(2, 128, 96)
    network = build("david-smoke").eval()
    network.load_state_dict(smoke.state_dict())
    network.to("cuda").to(memory_format=torch.channels_last)
    if compiled:
        network.compile()
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        found = network(image.cuda().to(memory_format=torch.channels_last))
    with torch.no_grad():
        expected = smoke(image)
    for a, b in zip(outputs(found), outputs(expected), strict=True):
        assert a.dtype == torch.float32
        assert (a.cpu() - b).abs().mean() < 0.05 * b.std()


def test_compiled_in_one_graph_it_says_the_same(smoke):
    image = images(1, 37, 51)
    with torch.no_grad():
        compiled = torch.compile(smoke, backend="eager", fullgraph=True)(image)
        for a, b in zip(outputs(smoke(image)), outputs(compiled), strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_prediction_is_a_tree_of_tensors_to_torch(smoke):
    """DDP with a static graph finds the output's tensors through this, and reduces no gradients where it finds none."""
    leaves = tree_leaves(smoke(images(1, 16, 16)))
    assert sum(isinstance(leaf, torch.Tensor) for leaf in leaves) == len(OUTPUTS)


@pytest.mark.parametrize(
    ("backbone", "size"),
    [
        ("vit_small_patch16_224", 64),
        ("vit_small_patch14_dinov2", 56),
        ("vit_small_patch14_reg4_dinov2", 56),
        ("vit_small_patch16_dinov3", 64),  # positions by rotation alone
        ("eva02_tiny_patch14_224", 56),
        ("vit_base_patch16_siglip_224", 64),  # no class token
        ("vit_medium_patch16_reg4_gap_256", 64),  # registers and no class token
    ],
)
def test_vits_of_other_families_learn_in_every_parameter_and_layer(backbone: str, size: int):
    torch.manual_seed(0)
    network = build("david-smoke", backbone=backbone, backbone_size=size)
    vit, image = network.backbone.vit, images(2, 40, 32)
    taps = network.backbone(network.normalise(image))
    assert network.backbone.grid == (4, 4) and len(taps) == 4
    for patches, token in taps:
        assert patches.shape == (2, 16, vit.embed_dim) and token.shape == (2, 1, vit.embed_dim)
        if vit.cls_token is None:
            assert torch.equal(token, patches.mean(1, keepdim=True))
    sum(one.square().sum() for one in outputs(network(image))).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert set(layer_ids(network).values()) == set(range(6))


def test_layers_count_from_the_image_up(smoke):
    ids = layer_ids(smoke)
    assert ids.keys() == dict(smoke.named_parameters()).keys()
    assert {name: ids[f"backbone.vit.{name}"] for name in ("pos_embed", "patch_embed.proj.weight")} == {
        "pos_embed": 0,
        "patch_embed.proj.weight": 0,
    }
    assert [ids[f"backbone.vit.blocks.{i}.attn.qkv.weight"] for i in range(4)] == [1, 2, 3, 4]
    assert {layer for name, layer in ids.items() if not name.startswith("backbone.")} == {5}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"heads": ()}, "model.heads: expected one or more of depth, normals, alpha"),
        ({"heads": ("depth", "depth")}, "each once, found"),
        ({"heads": ("metric",)}, r"found \('metric',\)"),
        ({"taps": (0, 1, 2)}, "model.taps: expected four block numbers"),
        ({"taps": (0, 2, 1, 3)}, "rising"),
        ({"reassemble": (1, 2, 3, 0)}, "model.reassemble"),
        ({"head_widths": (8,)}, "model.head_widths"),
        ({"width": 0}, "model.width"),
        ({"backbone_size": 0}, "model.backbone_size"),
        ({"depth_activation": "tanh"}, "model.depth_activation: expected one of linear, softplus, found 'tanh'"),
        ({"normals_activation": "relu"}, "model.normals_activation: expected one of linear, tanh"),
    ],
)
def test_impossible_configurations_are_refused_when_made(changes, says):
    with pytest.raises(DavidError, match=says):
        configure("david-smoke", **changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"backbone": "vit_tiny_patch16_385"}, "has no 'vit_tiny_patch16_385'$"),
        ({"backbone": "vit_tiny_patch16_384.augreg"}, "has no .*; it has vit_tiny_patch16_384.augreg_in21k_ft_in1k$"),
        ({"backbone": "resnet18"}, "expected a plain ViT, resnet18 is not one"),
        ({"backbone": "swin_tiny_patch4_window7_224"}, "is not one"),
        ({"backbone": "vit_small_patch14_dinov2"}, "expected a multiple of .* patches of 14 pixels, found 128"),
        ({"backbone_size": 120}, "expected a multiple of .* patches of 16 pixels, found 120"),
        ({"taps": (2, 5, 8, 12)}, "has blocks 0 to 11, found"),
    ],
)
def test_a_backbone_that_does_not_fit_is_refused(changes, says):
    with pytest.raises(DavidError, match=says), torch.device("meta"):
        build("david-smoke", **changes)


def test_what_a_head_may_end_with_is_there():
    assert {name for head in HEADS.values() for name in head.activations} == set(ACTIVATIONS)


def test_a_configuration_stored_before_there_were_kinds_is_davids():
    config = configure("david-smoke", heads=("depth",))
    stored = json.loads(json.dumps(asdict(config)))
    assert stored.pop("kind") == "david" and from_json(stored) == config
    with pytest.raises(
        DavidError, match="model.kind: expected one of david, unofficial, depth_anything, zoe, found 'goliath'"
    ):
        from_json(stored | {"kind": "goliath"})


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(DavidError, match="unknown model 'david': expected one of david-base, david-large, david-smoke"):
        build("david")
