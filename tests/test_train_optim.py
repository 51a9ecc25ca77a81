"""Rates, decay, and the schedule as a pure function of the step."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler

from david.model import build
from david.pack.errors import DavidError
from david.train.config import OptimConfig
from david.train.step import optim
from david.train.step.schedule import rate_factor


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.pos_embed = nn.Parameter(torch.ones(1, 3, 4))
        self.backbone.cls_token = nn.Parameter(torch.ones(1, 1, 4))
        self.backbone.block = nn.Linear(4, 4)
        self.decoder = nn.Sequential(nn.Conv2d(4, 4, 3), nn.LayerNorm(4))
        self.decoder[1].bias.requires_grad_(False)


def test_rates_and_decay_reach_the_parameters_they_are_meant_for():
    network = Toy()
    optimiser = optim.adamw(network, OptimConfig(rate=1e-3, backbone_scale=0.1, weight_decay=0.05))
    optim.set_rates(optimiser, 0.5)
    name_of = {parameter: name for name, parameter in network.named_parameters()}
    found = {name_of[p]: (g["lr"], g["weight_decay"]) for g in optimiser.param_groups for p in g["params"]}
    assert found == {
        "backbone.pos_embed": (5e-5, 0.0),
        "backbone.cls_token": (5e-5, 0.0),
        "backbone.block.weight": (5e-5, 0.05),
        "backbone.block.bias": (5e-5, 0.0),
        "decoder.0.weight": (5e-4, 0.05),
        "decoder.0.bias": (5e-4, 0.0),
        "decoder.1.weight": (5e-4, 0.0),
    }


@given(warmup=st.integers(0, 50), steps=st.integers(60, 400), final=st.floats(0, 1))
def test_the_schedule_rises_to_one_and_falls_to_its_end(warmup: int, steps: int, final: float):
    config = OptimConfig(warmup=warmup, final=final)
    factors = [rate_factor(step, steps, config) for step in range(1, steps + 20)]
    rise, fall = factors[: max(0, warmup - 1)], factors[max(0, warmup - 1) :]
    assert rise == sorted(rise) and fall == sorted(fall, reverse=True)
    assert all(0 < f <= 1 for f in factors[: steps - 1])
    assert rate_factor(warmup, steps, config) == 1 or warmup == 0
    assert factors[steps - 1 :] == [pytest.approx(final)] * 20


def test_the_cosine_is_half_way_in_the_middle():
    config = OptimConfig(warmup=100, final=0.0)
    assert rate_factor(50, 300, config) == 0.5
    assert rate_factor(200, 300, config) == pytest.approx(0.5)
    assert rate_factor(150, 300, config) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert rate_factor(290, 300, OptimConfig(schedule="constant")) == pytest.approx(0.29)


def rates_of(torchs, steps: int, **how) -> list[float]:
    """The rates that a schedule of torch gives to an optimiser of rate 1, step by step."""
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule, rates = torchs(optimiser, **how), []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return rates


@pytest.mark.parametrize(
    ("ours", "torchs"),
    [
        (
            {"schedule": "step", "milestones": (7, 20), "gamma": 0.3},
            (lr_scheduler.MultiStepLR, {"milestones": [7, 20], "gamma": 0.3}),
        ),
        ({"schedule": "step", "every": 6, "gamma": 0.5}, (lr_scheduler.StepLR, {"step_size": 6, "gamma": 0.5})),
        (
            {"schedule": "one_cycle", "warmup": 12, "start": 0.1, "final": 0.001},
            (
                lr_scheduler.OneCycleLR,
                {"max_lr": 1.0, "total_steps": 40, "pct_start": 0.3, "div_factor": 10, "final_div_factor": 100},
            ),
        ),
    ],
    ids=["milestones", "every", "one_cycle"],
)
def test_a_schedule_equals_torchs(ours, torchs):
    config, (scheduler, how) = OptimConfig(**{"warmup": 0, **ours}), torchs
    expected = rates_of(scheduler, 40, **how)
    assert [rate_factor(step, 40, config) for step in range(1, 41)] == pytest.approx(expected, abs=1e-9)


def test_a_polynomial_falls_from_the_warm_ups_end_to_the_last_step():
    config = OptimConfig(schedule="polynomial", warmup=10, final=0.1, power=0.9)
    assert rate_factor(5, 110, config) == 0.5 and rate_factor(10, 110, config) == 1
    assert rate_factor(60, 110, config) == pytest.approx(0.1 + 0.9 * 0.5**0.9)
    assert rate_factor(110, 110, config) == rate_factor(200, 110, config) == pytest.approx(0.1)


def test_rates_fall_layer_by_layer_towards_the_image():
    network = build("david-smoke", ("depth",), backbone_size=32)
    scales = optim.rate_scales(network, OptimConfig(backbone_scale=0.5, layer_decay=0.8))
    vit = "backbone.vit."
    assert scales["decoder.fusions.0.mix.weight"] == scales["heads.depth.last.bias"] == 1
    assert scales[f"{vit}blocks.3.mlp.fc1.weight"] == pytest.approx(0.5 * 0.8)
    assert scales[f"{vit}blocks.0.norm1.bias"] == pytest.approx(0.5 * 0.8**4)
    assert scales[f"{vit}pos_embed"] == scales[f"{vit}patch_embed.proj.weight"] == pytest.approx(0.5 * 0.8**5)
    found = {
        p: group["full_rate"] for group in optim.groups(network, OptimConfig(layer_decay=0.8)) for p in group["params"]
    }
    assert found[network.backbone.vit.pos_embed] == pytest.approx(1e-4 * 0.1 * 0.8**5)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"rate": -1}, r"optim\.rate is -1; it must be above 0"),
        ({"layer_decay": 1.5}, r"optim\.layer_decay is 1\.5"),
        ({"ema": 1.0}, r"optim\.ema is 1\.0; it must be 0 or more and below 1"),
        ({"schedule": "step"}, "schedule is step with .* schedule=step takes one of the two"),
        ({"schedule": "step", "every": 3, "milestones": (4,)}, "takes one of the two"),
        ({"milestones": (4,)}, "schedule is cosine with .*the others none"),
        ({"schedule": "step", "milestones": (4, 4)}, "rising step numbers"),
        ({"schedule": "step", "every": 0}, r"optim\.every is 0"),
        ({"schedule": "one_cycle", "warmup": 1}, "warmup is 1; it must be 2 or more with schedule=one_cycle"),
    ],
)
def test_what_no_optimiser_can_do_is_refused(fields, said: str):
    with pytest.raises(DavidError, match=said):
        OptimConfig(**fields)
