"""The step against an independent twin: plain torch, stock AdamW, `clip_grad_norm_`, LambdaLR, losses by formula.

Nothing of david is in the twin but the network itself, and a batch as data. Both compute in float64: through ReLUs a
last bit of float32 would grow a thousandfold in 20 steps. B images, H rows, W columns.
"""

import math
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from david.model.configs.david import DavidConfig
from david.model.heads.dense import ACTIVATIONS, DenseHead
from david.model.networks.david import David
from david.pipeline.batch import Batch, Target
from david.pipeline.config import DataConfig
from david.pipeline.loader import Loader
from david.train.config import ObjectiveConfig, OptimConfig
from david.train.distributed import World
from david.train.recipe import Recipe
from david.train.step.step import Step

STEPS, WARMUP, RUN = 9, 3, 6  # of the schedule, of its rise, and how many are taken
RATE, BACKBONE, LAYER, DECAY, CLIP, FINAL, BETAS = 2e-3, 0.5, 0.75, 0.3, 0.05, 0.1, (0.8, 0.95)
SEED, RANK = 11, 3
WEIGHTS = {  # exact in binary, so that no rounding of a weight is in the way
    **{"depth_ssi_mse": 1.5, "depth_gradient_matching": 0.5, "normals_cosine": 2.0},
    **{"alpha_bce": 1.0, "alpha_l1": 0.75, "alpha_dice": 0.25, "alpha_laplacian": 0.125},
}
RECIPE = Recipe(
    name="twin",
    model=DavidConfig(  # a ViT with a class token, register tokens, position embeddings and layer scales
        backbone="vit_small_patch14_reg4_dinov2",
        taps=(0, 1, 2, 3),
        reassemble=(8, 8, 8, 8),
        backbone_size=28,
        width=8,
        head_widths=(4, 4),
    ),
    data=DataConfig(height=40, width=28),
    objective=ObjectiveConfig(**WEIGHTS),
    optim=OptimConfig(
        rate=RATE,
        backbone_scale=BACKBONE,
        layer_decay=LAYER,
        weight_decay=DECAY,
        beta1=BETAS[0],
        beta2=BETAS[1],
        warmup=WARMUP,
        final=FINAL,
        clip=CLIP,
    ),
    batch_size=4,
    steps=STEPS,
    seed=SEED,
    precision="fp32",
    parallel="ddp",
    pretrained=False,
)


class Wide(David):
    """The network in float64 from end to end."""

    def normalise(self, image: torch.Tensor) -> torch.Tensor:
        return (image.double() / 255 - self.mean) / self.std


@pytest.fixture(autouse=True)
def one_thread():
    """On maps this small several only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def network(monkeypatch) -> Wide:
    """Its ViT is narrow, and leaves blocks out by chance (stochastic depth: Huang et al., ECCV 2016)."""
    small = {"embed_dim": 48, "depth": 4, "num_heads": 2, "init_values": 0.5, "drop_path_rate": 0.5}
    monkeypatch.setattr(timm, "create_model", partial(timm.create_model, **small))
    # the only place beside `normalise` that goes down to float32
    monkeypatch.setattr(DenseHead, "end", lambda head, x: ACTIVATIONS[head.activation](x))
    torch.manual_seed(0)
    return Wide(RECIPE.model).double()


@pytest.fixture(scope="module")
def batches(shards: Path) -> list[Batch]:
    """One for each step, targets in float64; normals miss in half of the rows, where depth need not; the last image of
    the third is a copy that fills up."""
    with Loader(shards, "train", RECIPE.data, batch_size=4, seed=SEED) as loader:
        made = [next(loader) for _ in range(RUN)]
    found = []
    for batch in made:
        some = batch.targets["normals"].valid.clone()
        some[:, :, ::2] = False
        assert (batch.targets["depth"].valid & ~some).flatten(1).any(1).all()  # the two masks differ in each image
        targets = {name: Target(one.value.double(), one.valid) for name, one in batch.targets.items()}
        targets["normals"] = Target(targets["normals"].value * some, some)
        targets["alpha"] = Target(targets["alpha"].value / 255, targets["alpha"].valid)  # only bytes are shares of 255
        found.append(replace(batch, targets=targets))
    found[2] = replace(found[2], real=torch.tensor([True, True, True, False]))
    return found


# The losses of one image, each from its formula. p, d: depth (H, W); n, m: normals (3, H, W); z, a: alpha (H, W).


def residual(p: torch.Tensor, d: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """s p + t - d, 0 where invalid: the least-squares scale, but 0.1 std(d) / std(p) at least, and its shift."""
    x, y = p[v], d[v]
    scale = ((x - x.mean()) * (y - y.mean())).mean() / x.var(correction=0)
    least = 0.1 * y.std(correction=0) / x.std(correction=0)
    scale = scale if scale > least else least
    return torch.where(v, scale * (p - x.mean()) + y.mean() - d, 0)


def ssi_mse(p: torch.Tensor, d: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return residual(p, d, v)[v].pow(2).mean()


def gradient_matching(p: torch.Tensor, d: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    r, loss = residual(p, d, v), torch.zeros((), dtype=torch.float64)
    for k in range(4):
        for one, there in ((r[:: 2**k, :: 2**k], v[:: 2**k, :: 2**k]), (r.T[:: 2**k, :: 2**k], v.T[:: 2**k, :: 2**k])):
            steps = (one[1:] - one[:-1]).abs()[there[1:] & there[:-1]]
            loss = loss + (steps.mean() if len(steps) else 0)
    return loss


def cosine(n: torch.Tensor, m: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return (1 - (n * m).sum(0) / (n.norm(dim=0) * m.norm(dim=0)).clamp(min=1e-9))[v].mean()


def bce(z: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    return (-a * F.logsigmoid(z) - (1 - a) * F.logsigmoid(-z)).mean()


def l1(z: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    return (z.sigmoid() - a).abs().mean()


def dice(z: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    q = z.sigmoid()
    return 1 - (2 * (q * a).sum() + 1) / ((q * q).sum() + (a * a).sum() + 1)


def halves(size: int) -> torch.Tensor:
    """(size // 2, size): every second pixel pair under [1 3 3 1] / 8, edges repeated."""
    matrix = torch.zeros(size // 2, size, dtype=torch.float64)
    for row in range(size // 2):
        for place, weight in zip(range(2 * row - 1, 2 * row + 3), (1, 3, 3, 1), strict=True):
            matrix[row, min(max(place, 0), size - 1)] += weight / 8
    return matrix


def laplacian(z: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    x, loss = z.sigmoid() - a, torch.zeros((), dtype=torch.float64)
    for k in range(5):
        if min(x.shape) < 2:
            break
        small = halves(x.shape[0]) @ x @ halves(x.shape[1]).T
        large = F.interpolate(small[None, None], size=x.shape, mode="bilinear", align_corners=False)[0, 0]
        loss, x = loss + 2**k * (x - large).abs().mean(), small
    return loss


def losses(network: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    """Each term's mean over the real images."""
    said, found = network(batch.image), {name: [] for name in WEIGHTS}
    for image in range(len(batch)):
        if not batch.real[image]:
            continue
        d, n, a = (batch.targets[name] for name in ("depth", "normals", "alpha"))
        depth = (said["relative_depth"][image, 0], d.value[image, 0], d.valid[image, 0])
        normals = (said["normals"][image], n.value[image], n.valid[image, 0])
        alpha = (said["alpha_logits"][image, 0], a.value[image, 0])
        found["depth_ssi_mse"].append(ssi_mse(*depth))
        found["depth_gradient_matching"].append(gradient_matching(*depth))
        found["normals_cosine"].append(cosine(*normals))
        for loss in (bce, l1, dice, laplacian):
            found[f"alpha_{loss.__name__}"].append(loss(*alpha))
    return {name: torch.stack(values).mean() for name, values in found.items()}


def factor(step: int) -> float:
    """Linear up to 1 over the warm-up, then half a cosine down to FINAL."""
    if step <= WARMUP:
        return step / WARMUP
    return FINAL + (1 - FINAL) * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))) / 2


def parameter_groups(network: nn.Module) -> list[dict]:
    """A group for each parameter. The last block has one factor of the layers' decay, the embeddings all of them."""
    groups = []
    blocks = len(network.backbone.vit.blocks)
    for name, parameter in network.named_parameters():
        rate = RATE
        if name.startswith("backbone.vit.blocks."):
            rate *= BACKBONE * LAYER ** (blocks - int(name.split(".")[3]))
        elif name.startswith("backbone."):
            assert name.split(".")[2] in ("cls_token", "reg_token", "pos_embed", "patch_embed"), name
            rate *= BACKBONE * LAYER ** (blocks + 1)
        matrix = name.endswith("weight") and not name.split(".")[-2].startswith(
            "norm"
        )  # no bias, norm, token, embedding or layer scale
        groups.append({"params": [parameter], "lr": rate, "weight_decay": DECAY if matrix else 0.0})
    return groups


class Twin:
    """A training step as anybody would write it. learnt: weigh the heads by Kendall's log-variances"""

    def __init__(self, network: nn.Module, learnt: bool):
        self.network = network
        self.log_variances = nn.Parameter(torch.zeros(3, dtype=torch.float64)) if learnt else None
        groups = parameter_groups(network)
        if self.log_variances is not None:
            groups.append({"params": [self.log_variances], "lr": RATE, "weight_decay": 0.0})
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        self.optimiser = torch.optim.AdamW(groups, betas=BETAS)
        self.schedule = LambdaLR(self.optimiser, lambda done: factor(done + 1))

    def __call__(self, batch: Batch, step: int) -> tuple[dict[str, float], float]:
        torch.manual_seed(int(np.random.SeedSequence((SEED, step, RANK)).generate_state(1, np.uint64)[0] >> 1))
        found = losses(self.network, batch)
        heads = dict.fromkeys(("depth", "normals", "alpha"), 0)
        for name, value in found.items():
            heads[name.split("_")[0]] += WEIGHTS[name] * value
        if self.log_variances is None:
            loss = sum(heads.values())
        else:
            loss = sum(torch.exp(-s) * one + s for s, one in zip(self.log_variances, heads.values(), strict=True))
        self.optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, CLIP)
        self.optimiser.step()
        self.schedule.step()
        return {name: value.item() for name, value in found.items()}, norm.item()


def assert_moved_alike(before: torch.Tensor, ours: torch.Tensor, theirs: torch.Tensor, name: str) -> None:
    """Apart by a millionth of the way that they went; and by next to nothing where the gradient is rounding alone, as
    that of depth's last bias, which the fit takes out again."""
    way = (theirs - before).norm()
    assert way > 0, f"{name} has not moved"
    assert (ours - theirs).norm() < 1e-6 * way + 1e-8, name


@pytest.mark.parametrize("learnt", [False, True], ids=["fixed weights", "learnt weights"])
def test_each_step_equals_its_twin_in_plain_torch(network: Wide, batches: list[Batch], learnt: bool):
    recipe = replace(RECIPE, objective=replace(RECIPE.objective, uncertainty=learnt))
    ours, theirs = deepcopy(network), deepcopy(network)
    step, twin = Step(ours, recipe, World(RANK, 1, torch.device("cpu"))), Twin(theirs, learnt)
    step.task.double()
    for number, batch in enumerate(batches, 1):
        before = [p.detach().clone() for p in twin.parameters]
        outcome, (found, norm) = step(batch, number), twin(batch, number)
        assert outcome.factor == pytest.approx(factor(number))
        assert outcome.norm.item() == pytest.approx(norm, rel=1e-8) and norm > 2 * CLIP  # the clip has something to do
        assert dict(zip(step.task.terms, outcome.losses.tolist(), strict=True)) == pytest.approx(found, rel=1e-8)
        named = [*ours.named_parameters(), *step.task.named_parameters()]
        for old, (name, p), q in zip(before, named, twin.parameters, strict=True):
            assert_moved_alike(old, p.detach(), q.detach(), f"{name} in step {number}")
