"""Attention's kernel on a GPU: the fastest of those that can, measured once; on a CPU nothing is measured."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, _cur_sdpa_kernel_backends

from david.bench.fake_gpu import CUDA, batch_of, fake_gpu, on_gpu, step_of
from david.pack.errors import DavidError
from david.train import recipes
from david.train.distributed import World
from david.train.recipe import override
from david.train.step import attention
from david.train.step.attention import KERNELS, Size
from tests.smallest import SMALLEST, network

RECIPE = override(recipes.recipe("smoke"), [*SMALLEST, "batch_size=6", "micro_batch=4", "precision=fp32"])
GPU, CPU = World(0, 1, CUDA), World(0, 1, torch.device("cpu"))
MS = {"flash": None, "efficient": 2.0, "cudnn": 1.5, "math": 9.0}  # None: it can't


class Ranks(World):
    """Another rank beside this one, on which cuDNN is slow."""

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        return torch.stack([values, torch.tensor([0.1, 2.5, 30.0, 9.0], dtype=values.dtype)])


def measure(kernel: SDPBackend, size: Size, device: torch.device) -> float:
    found = MS[next(name for name, one in KERNELS.items() if one == kernel)]
    if found is None:
        raise RuntimeError("No available kernel. Aborting execution.")
    return found


@pytest.fixture(autouse=True)
def on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ranks tell each other lies on the CPU here."""
    tensor = torch.tensor
    monkeypatch.setattr(attention.torch, "tensor", lambda *given, device=None, **how: tensor(*given, **how))


def test_the_fastest_that_can_is_taken_and_told_in_one_sentence() -> None:
    told: list[str] = []
    found = attention.settled(RECIPE, network(), GPU, told.append, measure)
    assert found is SDPBackend.CUDNN_ATTENTION
    assert told == [
        "attention: cudnn, the fastest here for 4 images of 5 tokens, 2 heads of 32 in fp32, forward and backward: "
        "flash can't, efficient 2.00 ms, cudnn 1.50 ms, math 9.00 ms"
    ]


def test_every_rank_takes_what_is_fastest_on_the_slowest() -> None:
    assert attention.settled(RECIPE, network(), Ranks(0, 2, CUDA), lambda _: None, measure) is KERNELS["efficient"]


def test_what_is_measured_is_what_a_step_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[int, ...]] = set()
    own = F.scaled_dot_product_attention

    def look(q: torch.Tensor, *more: torch.Tensor, **how: object) -> torch.Tensor:
        seen.add(tuple(q.shape))
        return own(q, *more, **how)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(F, "scaled_dot_product_attention", look)
    recipe = replace(RECIPE, batch_size=4, micro_batch=None)
    with fake_gpu():
        step, batch = step_of(recipe), batch_of(recipe)
        step.gradients(batch, batch.real.sum(), torch.ones((), device=CUDA))
        assert seen == {attention.size_of(recipe, on_gpu(recipe), GPU).shape}


def test_a_named_kernel_is_not_measured_and_none_is_on_a_cpu() -> None:
    def never(*_: object) -> Any:
        raise AssertionError("measured")

    flash = replace(RECIPE, attention="flash")
    assert attention.settled(flash, network(), GPU, never, never) is SDPBackend.FLASH_ATTENTION
    assert attention.settled(RECIPE, network(), CPU, never, never) is None
    with pytest.raises(DavidError, match=r"attention is flash, a kernel of GPUs, and this is a cpu; leave it out"):
        attention.settled(flash, network(), CPU, never, never)


def test_where_none_can_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in MS:
        monkeypatch.setitem(MS, name, None)
    with pytest.raises(DavidError, match=r"none of flash, efficient, cudnn, math can compute 4 images"):
        attention.settled(RECIPE, network(), GPU, lambda _: None, measure)


def test_a_step_runs_forward_and_backward_under_its_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_gpu():
        step, batch = step_of(RECIPE), batch_of(RECIPE)
        seen = []
        own = step.gradients
        step.gradients = lambda *given: (seen.append(_cur_sdpa_kernel_backends()), own(*given))[1]
        step(batch, 1)
    assert seen == [[SDPBackend.MATH]] and len(_cur_sdpa_kernel_backends()) > 1


def test_the_recipe_takes_the_kernels_that_there_are() -> None:
    for name in ("auto", *KERNELS):
        assert override(RECIPE, [f"attention={name}"]).attention == name
    with pytest.raises(DavidError, match=r"attention"):
        override(RECIPE, ["attention=fast"])
