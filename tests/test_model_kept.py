"""Constants that are made once."""

import torch

from david.bench.fake_gpu import fake_gpu
from david.model.kept import kept, zero


def ones(length: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    return torch.ones(length, device=device, dtype=dtype)


def test_a_constant_is_made_once_for_each_size_and_precision():
    single = torch.zeros(1)
    assert kept(ones, 3, like=single) is kept(ones, 3, like=single + 1)
    assert kept(ones, 4, like=single).tolist() == [1.0] * 4
    assert kept(ones, 3, like=single.double()).dtype == torch.float64


def test_what_is_made_among_fakes_stays_among_them():
    for _ in range(2):
        with fake_gpu():
            assert zero(torch.zeros(1, device="cuda")).device.type == "cuda"
            assert isinstance(zero(torch.zeros(1)), torch._subclasses.FakeTensor)
    assert zero(torch.zeros(1)).item() == 0


def test_what_is_made_in_inference_can_train():
    with torch.inference_mode():
        zero(torch.zeros(1, dtype=torch.float64))
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    (x * zero(x)).sum().backward()  # saves it


def test_a_graph_makes_its_own():
    like, seen = torch.zeros(2), []
    kept(ones, 2, like=like)
    graph = torch.compile(lambda x: x + kept(ones, 2, like=x), backend=lambda module, _: seen.append(module) or module)
    assert graph(like).tolist() == [1.0, 1.0]
    assert any("ones" in str(node.target) for node in seen[0].graph.nodes)
