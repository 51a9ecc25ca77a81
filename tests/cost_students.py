"""What a step of distillation costs beside the student's alone, in CPU time of one core, in turns:
`python tests/cost_students.py` adds a row to bench/results/distill-cpu.jsonl.

On made-up batches, so of the step alone: what reading labels costs tells `david bench load --shards SHARDS+SIDECAR`.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import torch
from rich.console import Console
from test_metric_losses import batch_of

from david.bench import rows
from david.bench.harness import WARM_UP, Figure, Measured, take_turns
from david.bench.result import Result
from david.model import build, weights
from david.model.config import configure
from david.pipeline.batch import Batch, Target
from david.train import recipes
from david.train.config import ObjectiveConfig
from david.train.distributed import World
from david.train.recipe import Recipe, override, to_json
from david.train.step.step import Step
from david.train.tasks.distill_config import FIELD, DistillConfig

ROWS = Path(__file__).resolve().parent.parent / "bench" / "results" / "distill-cpu.jsonl"
ROUNDS, STEPS, IMAGES = 9, 3, 4
TEACHER = {"width": 64, "blocks": 4, "attention_heads": 2}
SQUARE = ["objective.local_global=0", "objective.features=0", "objective.gradient=0"]
STEPPING = {  # by what each leaves out of distill-smoke
    "supervised": None,
    "all_terms": [],
    "no_local_global": SQUARE[:1],
    "square_alone": SQUARE,
    "from_the_shards": SQUARE[:2],
}


def noise(size: int) -> Batch:
    """Noise in a picture, and in what shards say of it."""
    g = torch.Generator().manual_seed(0)
    depth = torch.rand(IMAGES, 1, size, size, generator=g)
    batch = batch_of(depth + 0.5, torch.ones_like(depth, dtype=torch.bool))
    image = torch.randint(0, 256, (IMAGES, 3, size, size), dtype=torch.uint8, generator=g)
    said = Target(depth, torch.ones_like(depth, dtype=torch.bool))
    image = image.contiguous(memory_format=torch.channels_last)
    return replace(batch, image=image, targets=batch.targets | {FIELD: said})


def steps_of(recipe: Recipe, size: int) -> Callable[[], Measured]:
    """A contender: the CPU time of a step."""
    torch.manual_seed(0)
    step, batch, numbers = Step(build(recipe.model), recipe, World(0, 1, torch.device("cpu"))), noise(size), count(1)

    def measure() -> Measured:
        if (number := next(numbers)) == 1:
            for number in islice(numbers, WARM_UP):
                step(batch, number)
        begun = time.process_time()
        for number in islice(numbers, STEPS):
            step(batch, number)
        return {"cpu_s": ((time.process_time() - begun) / STEPS, "s")}

    return measure


def contenders(teacher: Path) -> dict[str, Callable[[], Measured]]:
    smoke = override(recipes.recipe("distill-smoke"), [f"batch_size={IMAGES}", "parallel=ddp"])
    objective, found = smoke.objective, {}
    assert isinstance(objective, DistillConfig)
    for name, less in STEPPING.items():
        if less is None:
            found[name] = steps_of(replace(smoke, objective=ObjectiveConfig()), objective.crop)
            continue
        asked = [] if name == "from_the_shards" else [f"objective.teachers={teacher}"]
        found[name] = steps_of(override(smoke, [*asked, *less]), smoke.data.height)
    return found


def sentence(figures: dict[str, dict[str, Figure]]) -> str:
    """What docs/distillation.md says of a row."""
    alone = figures["supervised"]["cpu_s"].median
    times = {name: one["cpu_s"].median / alone for name, one in figures.items()}
    return (
        f"On one core a step of distill-smoke takes {times['all_terms']:.2f} times the CPU time of the student's alone "
        f"on squares of that size: {times['no_local_global']:.2f} without local-global, {times['square_alone']:.2f} on "
        f"the shared square alone, {times['from_the_shards']:.2f} where the shards say what the teacher did."
    )


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        teacher = Path(folder) / "teacher.safetensors"
        torch.manual_seed(1)
        weights.save(build(configure("da2-smoke", **TEACHER)), teacher)
        figures = take_turns(contenders(teacher), ROUNDS)
    about = {
        "recipe": to_json(override(recipes.recipe("distill-smoke"), [f"batch_size={IMAGES}"])),
        **{"rounds": ROUNDS, "threads": 1, "teacher": TEACHER, "data": {"folder": "noise"}},
    }
    result = Result.of("distill", "a step", figures, verdict=sentence(figures), about=about)
    rows.append(ROWS, result.row())
    result.show(Console())


if __name__ == "__main__":
    main()
