"""Rates, decay, and the schedule as a pure function of the step."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from david.pack.errors import DavidError
from david.train import optim
from david.train.optim import OptimConfig


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
    factors = [optim.rate_factor(step, steps, config) for step in range(1, steps + 20)]
    rise, fall = factors[: max(0, warmup - 1)], factors[max(0, warmup - 1) :]
    assert rise == sorted(rise) and fall == sorted(fall, reverse=True)
    assert all(0 < f <= 1 for f in factors[: steps - 1])
    assert optim.rate_factor(warmup, steps, config) == 1 or warmup == 0
    assert factors[steps - 1 :] == [pytest.approx(final)] * 20


def test_the_cosine_is_half_way_in_the_middle():
    config = OptimConfig(warmup=100, final=0.0)
    assert optim.rate_factor(50, 300, config) == 0.5
    assert optim.rate_factor(200, 300, config) == pytest.approx(0.5)
    assert optim.rate_factor(150, 300, config) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert optim.rate_factor(290, 300, OptimConfig(schedule="constant")) == pytest.approx(0.29)


def test_an_impossible_rate_is_refused():
    with pytest.raises(DavidError, match=r"optim\.rate is -1"):
        OptimConfig(rate=-1)
