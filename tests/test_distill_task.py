"""What distillation compares and what it moves: by stand-ins for networks, and by small networks of both."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_metric_losses import batch_of, rooms

from david.model import build, weights
from david.model.config import configure
from david.model.prediction import Prediction
from david.pack.errors import DavidError
from david.pack.files import sha256
from david.pipeline.batch import Batch, Target
from david.train import recipes
from david.train.distill.nearness import nearness
from david.train.distill.task import Distill
from david.train.distill.teachers import Teacher, drawn, load, settled
from david.train.distributed import World
from david.train.recipe import override
from david.train.step.step import Step
from david.train.tasks.distill_config import FIELD, TERMS, DistillConfig

STUDENT = configure("da2-smoke")
SMALL = DistillConfig(odds=(1,), least=42, crop=28, window=28, shrink=2)
ALONE = World(0, 1, torch.device("cpu"))
WIDE = {"width": 48, "blocks": 4, "attention_heads": 2}


def pictures(size: tuple[int, int] = (56, 84), images: int = 3) -> Batch:
    """Noise, with a depth in which a fifth is missing."""
    _, depth, valid = rooms(dtype=torch.float32, size=size)
    batch = batch_of(depth, valid)
    batch = batch.each(lambda one: one.repeat(2, *[1] * (one.ndim - 1))[:images])
    g = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (images, 3, *size), dtype=torch.uint8, generator=g)
    return replace(batch, image=image, ids=torch.arange(images), epochs=torch.arange(images) * 5)


def pixelwise(image: torch.Tensor) -> Prediction:
    """A network that knows no place: what it says of a pixel is the pixel's."""
    return {"relative_disparity": image.float().mean(1, keepdim=True) / 255}


def stood_in(config: DistillConfig, teacher=pixelwise) -> Distill:
    task = Distill(config, STUDENT)
    task.teachers = (Teacher("a stand-in", None, teacher, ""),)
    task.begin(3, 1)
    return task


@pytest.mark.parametrize("normalise", ["global", "hybrid", "local", "none"])
def test_networks_that_know_no_place_agree_in_every_window_and_square(normalise: str):
    config = replace(SMALL, normalise=normalise, features=0.0, shrink=1)
    batch = pictures()
    losses, counted = stood_in(config)(pixelwise, batch)
    assert counted.all() and losses.shape == (len(stood_in(config).terms), 3)
    assert dict(zip(stood_in(config).terms, losses.tolist(), strict=True)) | {"median": 0, "spread": 0} == {
        **dict.fromkeys(("shared_context", "local_global", "gradient"), [0.0] * 3),
        **{"median": 0, "spread": 0},
    }
    blocks = replace(batch, image=batch.image[..., ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2))
    task = stood_in(replace(config, shrink=2))
    assert not task(pixelwise, blocks)[0][task.terms.index("local_global")].any()

    def places(image: torch.Tensor) -> Prediction:  # but where there is one in what is said, it is seen
        said = pixelwise(image)["relative_disparity"]
        return {"relative_disparity": said + torch.linspace(0, 3, image.shape[-1]) ** 2}

    apart = stood_in(config, places)
    assert (apart(places, batch)[0][apart.terms.index("local_global")] > 0.01).all()


def test_what_is_said_of_a_shared_square_is_the_square_of_what_is_said():
    seen: list[torch.Tensor] = []

    def notes(image: torch.Tensor) -> Prediction:
        seen.append(image)
        return pixelwise(image)

    task, batch = stood_in(replace(SMALL, features=0.0, local_global=0.0, least=56, crop=56), notes), pictures()
    task(notes, batch)
    student, teacher = seen
    assert student is teacher  # the same square for both
    for number in range(3):
        columns = [c for c in range(29) if torch.equal(batch.image[number, :, :, c : c + 56], student[number])]
        assert len(columns) == 1  # a plain slice, somewhere
        whole = pixelwise(batch.image)["relative_disparity"][number, ..., columns[0] : columns[0] + 56]
        assert torch.equal(pixelwise(student)["relative_disparity"][number], whole)


def test_what_shards_say_of_a_teacher_takes_its_place_where_it_is_valid():
    batch = pictures()
    said = pixelwise(batch.image)["relative_disparity"]
    holes = torch.rand(said.shape, generator=torch.Generator().manual_seed(2)) < 0.2
    holes[2] = True
    there = replace(batch, targets={FIELD: Target(torch.where(holes, 0, said).half(), ~holes)})
    task = Distill(replace(SMALL, features=0.0, local_global=0.0, crop=42), STUDENT)
    task.begin(3, 1)
    losses, counted = task(pixelwise, there)
    names = dict(zip(task.terms, zip(losses, counted, strict=True), strict=True))
    for name in ("shared_context", "gradient"):
        loss, counts = names[name]
        assert counts.tolist() == [True, True, False] and loss[2] == 0
    doubled = replace(batch, targets={FIELD: Target(torch.where(holes, 0, 2 * said).half(), ~holes)})
    assert torch.allclose(task(pixelwise, doubled)[0][:2], losses[:2], atol=1e-3)


def test_depth_of_any_kind_is_compared_as_what_grows_with_nearness():
    metres = torch.tensor([[[[1.0, 2.0, 4.0]]]])
    for said in ({"metric_depth_m": metres}, {"relative_depth": metres - 3}, {"relative_disparity": 1 / metres}):
        near = nearness(said)[0, 0, 0]
        assert near[0] > near[1] > near[2]
    with pytest.raises(DavidError, match="an other says normals, and nothing of depth"):
        nearness({"normals": metres}, "an other")


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two files, of networks of other widths than the student's."""
    folder, found = tmp_path_factory.mktemp("teachers"), []
    for number, kind in enumerate(("da2-smoke", "da2-smoke-metric")):
        torch.manual_seed(number)
        found.append(folder / f"{kind}.safetensors")
        weights.save(build(configure(kind, **WIDE)), found[-1])
    return found


def recipe_of(teachers: list[Path], *more: str):
    return override(
        recipes.recipe("distill-smoke"),
        [
            *(f"objective.teachers={','.join(map(str, teachers))}", "data.height=56", "data.width=84", "batch_size=3"),
            *("objective.least=42", "objective.crop=28", "objective.window=28", *more),
        ],
    )


def test_a_gradient_reaches_the_student_and_the_projection_and_no_teacher(teachers: list[Path]):
    recipe = recipe_of(teachers, "parallel=ddp", "objective.hold=0.1", "objective.truth=0.5", "objective.hdn=0.3")
    torch.manual_seed(0)
    step = Step(build(recipe.model), recipe, ALONE)
    assert isinstance(step.task, Distill) and set(TERMS) | {"median", "spread"} == set(step.task.terms)
    before = [{n: t.clone() for n, t in one.network.state_dict().items()} for one in step.task.teachers if one.network]
    first = {name: tensor.clone() for name, tensor in step.network.state_dict().items()}
    chosen = []
    for number in (1, 2, 3, 4):
        outcome = step(pictures(), number)
        assert outcome.norm.isfinite() and outcome.losses.isfinite().all()
        chosen.append(int(outcome.extras["teacher"]))
    assert chosen == [drawn(recipe.seed, number, (1, 1)) for number in (1, 2, 3, 4)] and set(chosen) == {0, 1}
    for teacher, was in zip(step.task.teachers, before, strict=True):
        assert teacher.network is not None and not teacher.network.training
        assert all(p.grad is None and not p.requires_grad for p in teacher.network.parameters())
        assert all(tensor.equal(was[name]) for name, tensor in teacher.network.state_dict().items())
    learnt = {name for name, parameter in step.task.named_parameters() if parameter.requires_grad}
    assert learnt == {f"projections.{n}.{part}" for n in (0, 1) for part in ("weight", "bias")}
    moved = {name for name, tensor in step.network.state_dict().items() if not tensor.equal(first[name])}
    used = {name for name, parameter in step.network.named_parameters() if parameter.requires_grad}
    assert moved == used and step.task.began is not None
    assert all(tensor.equal(first[name]) for name, tensor in step.task.began.state_dict().items())
    held = dict(zip(step.task.terms, outcome.losses.tolist(), strict=True))["hold"]
    assert held > 0 and outcome.extras["spread_moved"] != 1
    kept = step.state()["task"]
    assert {name.partition(".")[0] for name in kept} == {"projections", "began", "first", "known"}


def test_drift_is_told_against_the_first_step(teachers: list[Path]):
    recipe = recipe_of(teachers[:1], "parallel=ddp", "optim.rate=1e-9")
    torch.manual_seed(0)
    step = Step(build(recipe.model), recipe, ALONE)
    first = step(pictures(), 1)
    assert (first.extras["median_moved"], first.extras["spread_moved"]) == (0, 1)
    with torch.no_grad():
        for parameter in step.network.head.last.parameters():  # of what it says, twice as much
            parameter.mul_(2)
    median, spread = first.losses[-2:].tolist()
    second = step(pictures(), 2)
    assert second.extras["spread_moved"].item() == pytest.approx(2, rel=1e-3)
    assert second.extras["median_moved"].item() == pytest.approx(median / spread, rel=1e-3)


def test_a_teacher_is_told_by_its_bytes_and_refused_where_they_are_others(teachers: list[Path], tmp_path: Path):
    config = settled(DistillConfig(teachers=(str(teachers[0]),), odds=()))
    assert config.sha256 == (sha256(teachers[0]),) and config.teachers == (str(teachers[0].absolute()),)
    moved = tmp_path / "elsewhere.safetensors"
    moved.write_bytes(teachers[0].read_bytes())
    assert settled(replace(config, teachers=(str(moved),))).sha256 == config.sha256
    moved.write_bytes(teachers[1].read_bytes())
    with pytest.raises(DavidError) as error:
        settled(replace(config, teachers=(str(moved),)))
    assert sha256(teachers[0]) in str(error.value) and sha256(teachers[1]) in str(error.value)
    assert "\n" not in str(error.value) and "put back what taught the run" in str(error.value)


def test_a_student_whose_tokens_do_not_match_is_refused_with_both_numbers(teachers: list[Path]):
    recipe = override(recipe_of(teachers[:1]), ["parallel=ddp"])
    small = configure("david-smoke", heads=("depth",), backbone_size=48)
    recipe = replace(recipe, model=small, objective=replace(recipe.objective, local_global=0.0))
    with pytest.raises(DavidError, match="of 28 x 28 pixels the student has 9 tokens and da2-smoke.safetensors 4"):
        Step(build(small), recipe, ALONE)
    without = replace(recipe, objective=replace(recipe.objective, features=0.0))
    assert Step(build(small), without, ALONE)(pictures(), 1).norm.isfinite()  # any network learns from any other


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"crop": 30}, "objective.crop is 30; it must be a multiple of the 14 px patches"),
        ({"least": 60}, "objective.least is 60, and images are of 56 x 84 pixels"),
        ({"window": 84}, "objective.window is 84, and images are of 56 x 84"),
        ({"window": 27}, "objective.window of 2"),
        ({"shrink": 3}, "can't be made 3 times smaller"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(changes: dict[str, int], said: str):
    with pytest.raises(DavidError, match=said):
        replace(SMALL, **changes).require(STUDENT, (56, 84))
    SMALL.require(STUDENT, (56, 84))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"odds": (1, 2)}, "objective.odds are 2 for 1 teachers"),
        ({"odds": (0,)}, "each must be a whole number from 1 on"),
        ({"gradient": -1.0}, "objective.gradient is -1.0"),
        (dict.fromkeys(TERMS, 0.0), "nothing is learnt"),
    ],
)
def test_configurations_that_can_not_be_are_refused(changes: dict, said: str):
    with pytest.raises(DavidError, match=said):
        DistillConfig(**{"teachers": ("a.pth",), **changes})


def test_what_a_teacher_needs_is_asked_of_heads_and_shards():
    config = replace(SMALL, features=0.0, local_global=0.0)
    config.check(("disparity",), (FIELD,))
    assert DistillConfig(teachers=("a@b", "max_depth=20", "c")).teachers == ("a@b,max_depth=20", "c")
    for given, heads, fields, said in (
        (config, ("disparity", "normals"), None, "distillation teaches one of disparity, metric_depth, depth alone"),
        (config, ("disparity",), ("depth",), "objective.teachers names none"),
        (SMALL, ("disparity",), (FIELD,), "objective.local_global asks a teacher's network"),
        (replace(config, teachers=("gone.pth",)), ("disparity",), None, "gone.pth: no such file or folder"),
        (replace(config, truth=1.0), ("disparity",), (FIELD,), "no shard set here has"),
    ):
        with pytest.raises(DavidError, match=said):
            given.check(heads, fields)


def test_a_teacher_may_be_an_onnx_file(tmp_path: Path, teachers: list[Path]):
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("ReduceMean", ["image"], ["depth"], axes=[1], keepdims=0)
    shapes = (("image", ["B", 3, 28, 28]), ("depth", ["B", 28, 28]))
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes]
    graph = onnx.helper.make_graph([node], "grey", values[:1], values[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    model.metadata_props.add(key="task", value="disparity")
    file = tmp_path / "grey.onnx"
    onnx.save(model, file)
    recipe = recipe_of([file, teachers[0]], "parallel=ddp", "objective.window=28", "objective.crop=28")
    step = Step(build(recipe.model), recipe, ALONE)
    seen = step.task.teachers[0](torch.full((2, 3, 28, 28), 51, dtype=torch.uint8))  # type: ignore[union-attr]
    assert torch.allclose(seen["relative_disparity"], torch.full((2, 1, 28, 28), 0.2), atol=1e-6)
    found = [step(pictures(), number) for number in (1, 2, 3, 4)]
    which, place = [int(one.extras["teacher"]) for one in found], step.task.terms.index("features")
    assert set(which) == {0, 1} and all(one.norm.isfinite() for one in found)
    assert [bool(one.losses[place] == 0) for one in found] == [number == 0 for number in which]  # it has no tokens
    assert settled(recipe.objective).sha256[0] == sha256(file)


def test_a_file_that_does_not_say_what_it_is_is_told_with_its_kind(teachers: list[Path]):
    with pytest.raises(DavidError):
        load(f"{teachers[0]}@da2-smoke", "auto", False, ALONE.device)  # it says so itself
