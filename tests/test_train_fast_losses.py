"""All terms as a step computes them, together and in few passes, against their plain forms, one by one."""

import pytest
import torch
from plain_losses import PLAIN

from david.model.config import configure
from david.model.prediction import Prediction
from david.pipeline.batch import Batch, Target
from david.train.config import ObjectiveConfig
from david.train.losses.table import TERMS
from david.train.losses.views import as_stored
from david.train.tasks.supervised import Supervised, compare

OUTPUTS = {"depth": "relative_depth", "normals": "normals", "alpha": "alpha_logits"}
SIZES = [(64, 96), (50, 36), (33, 47), (7, 5)]  # all levels of a pyramid even, some, none, and next to no pixels


def batch_of(size: tuple[int, int], images: int = 3) -> Batch:
    """As the loader makes them, of compact types; the last image has nothing valid."""
    g = torch.Generator().manual_seed(size[0])
    shape = (images, 1, *size)
    valid = torch.rand(shape, generator=g) < 0.7
    valid[-1] = False
    normals = torch.nn.functional.normalize(torch.randn((images, 3, *size), generator=g), dim=1)
    nothing = torch.zeros(images)
    return Batch(
        image=torch.zeros((images, 3, *size), dtype=torch.uint8),
        targets={
            "alpha": Target(torch.randint(0, 256, shape, generator=g, dtype=torch.uint8), valid | (normals[:, :1] > 0)),
            "depth": Target((torch.rand(shape, generator=g) * valid).half(), valid),
            "normals": Target((normals * valid).half(), valid & (torch.rand(shape, generator=g) < 0.8)),
        },
        intrinsics=torch.zeros(images, 3, 3),
        depth_offset_m=nothing,
        depth_scale_m=nothing,
        ids=torch.arange(images),
        epochs=torch.zeros(images, dtype=torch.int64),
        real=torch.ones(images, dtype=torch.bool),
        sets=torch.zeros(images, dtype=torch.int64),
    )


def said(batch: Batch, dtype: torch.dtype = torch.float32) -> Prediction:
    """Not far from the targets, in the memory format of a network's outputs."""
    g = torch.Generator().manual_seed(1)
    found = {}
    for head, output in OUTPUTS.items():
        target = as_stored(batch.targets[head], batch).value
        x = target + 0.3 * torch.randn(target.shape, generator=g)
        way = torch.tensor([0.5, -0.5, 0.5]).view(3, 1, 1, 1)  # one is mirrored
        x = {"depth": 3 + way * x, "normals": torch.nn.functional.normalize(x, dim=1), "alpha": 4 * x - 2}[head]
        found[output] = x.to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    return Prediction(found)


def gradients(losses: torch.Tensor, prediction: Prediction, weights: torch.Tensor) -> list[torch.Tensor]:
    """Of each output; every image's loss has a weight of its own."""
    return list(torch.autograd.grad((losses * weights).sum(), list(prediction.values()), allow_unused=True))


def plainly(prediction: Prediction, batch: Batch, names: list[str]) -> torch.Tensor:
    losses = []
    for name in names:
        term = TERMS[name]
        target = batch.targets[term.target]
        losses.append(PLAIN[name](prediction[OUTPUTS[term.head]], as_stored(target, batch).value, target.valid))
    return torch.stack(losses)


def assert_near(ours: torch.Tensor, theirs: torch.Tensor, rel: float, name: str) -> None:
    """By the whole tensor's norm, as single values may be the difference of two that are nearly equal."""
    assert (ours - theirs).norm() <= rel * theirs.norm(), name


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", PLAIN)
def test_a_term_has_the_value_and_the_gradient_of_its_plain_form(name: str, size: tuple[int, int]):
    batch = batch_of(size)
    prediction = said(batch)
    weights = torch.tensor([0.7, -1.3, 2.0])
    ours, theirs = (each(prediction, batch) for each in (lambda p, b: compare(p, b, [TERMS[name]]), plain_of(name)))
    assert ours[0].tolist() == pytest.approx(theirs[0].tolist(), rel=1e-5, abs=1e-9)
    for output, a, b in zip(
        prediction, gradients(ours, prediction, weights), gradients(theirs, prediction, weights), strict=True
    ):
        if b is not None:
            assert a is not None
            assert_near(a, b, 1e-5, f"{name} by {output}")
            assert not a[2].any() or TERMS[name].head == "alpha"  # the image without a valid pixel


def plain_of(name: str):
    return lambda prediction, batch: plainly(prediction, batch, [name])


def test_all_terms_together_have_the_values_and_the_summed_gradients_of_each():
    batch = batch_of((64, 96))
    prediction, names = said(batch), list(PLAIN)
    assert set(names) <= set(TERMS)
    weights = torch.linspace(0.5, 2, 3 * len(names)).view(len(names), 3)
    ours, theirs = compare(prediction, batch, [TERMS[name] for name in names]), plainly(prediction, batch, names)
    assert_near(ours, theirs, 1e-5, "losses")
    for one, other in zip(gradients(ours, prediction, weights), gradients(theirs, prediction, weights), strict=True):
        assert_near(one, other, 1e-5, "gradient")


def test_the_losses_are_one_graph_with_the_values_and_the_gradient_of_what_they_are():
    """Under the graphs that torch.compile makes and cuts, with another batch as with the first."""
    task, seen = Supervised(ObjectiveConfig(depth_berhu=1.0, normals_angular=1.0), configure("david-smoke")), []

    def backend(graph, inputs):
        seen.append(graph)
        return graph

    task.compile_with(
        lambda function, *_, **__: torch.compile(function, backend=backend, fullgraph=True, dynamic=False)
    )
    for _ in range(2):
        batch = batch_of((32, 64))
        prediction = said(batch)
        (ours, images), (theirs, same) = task(lambda _, p=prediction: p, batch), task.judged(prediction, batch)
        assert torch.equal(images, same) and torch.allclose(ours, theirs, rtol=1e-6)
        for one, other in zip(
            *(gradients(losses, prediction, torch.ones(3)) for losses in (ours, theirs)), strict=True
        ):
            assert_near(one, other, 1e-6, "gradient")
    assert len(seen) == 1


def test_a_half_precision_prediction_is_compared_in_full_precision():
    batch = batch_of((64, 96))
    half = said(batch, torch.bfloat16)
    full = Prediction({name: x.detach().float().requires_grad_() for name, x in half.items()})
    names = [TERMS[name] for name in PLAIN]
    ours, theirs = compare(half, batch, names), compare(full, batch, names)
    assert ours.dtype == torch.float32 and torch.allclose(ours, theirs, rtol=1e-6)
