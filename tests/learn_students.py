"""A student that is distilled with the whole recipe beside one that learns from its teacher's global loss alone, both
measured against the truth: `python tests/learn_students.py WORK` adds a row to bench/results/distill-learn-cpu.jsonl.

By david's commands: a teacher learns metres on rooms whose depth is known, cropped by chance, since students will ask
it about windows; students see pictures of other rooms and nothing but the teacher; all are measured on a third set of
rooms, where scale and shift of each image are fitted first. Students of a seed begin with the same weights and see the
same pictures in the same order. Called again with the same WORK it goes on with what is missing.
"""

import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from layouts import nyu, picture, views
from learn_rooms import command

from david.pack import tables
from david.pipeline.loader import Loader
from david.train import run as runs
from david.train.distill.nearness import nearness
from david.train.metrics import disparity
from david.train.recipe import to_json
from david.train.subject import of_path

ROWS = Path(__file__).resolve().parent.parent / "bench" / "results" / "distill-learn-cpu.jsonl"
TRUE, SEEN, TEST, SIDE, SEEN_AT = 400, 400, 80, 112, 56  # rooms; pixels of a picture, and of what networks see of it
SEEDS, STEPS, TEACHING = (0, 1, 2), 300, 800
TEACHER = [
    *("model.width=64", "model.attention_heads=4", f"data.height={SEEN_AT}", f"data.width={SEEN_AT}"),
    *("data.augment.crop=0.5", f"steps={TEACHING}", "checkpoint_every=0"),
]
ALONE = [f"objective.{name}=0" for name in ("local_global", "features", "gradient")]
GLOBAL = [*ALONE, "objective.normalise=global", f"objective.least={SIDE}"]
STUDENTS = {  # by their settings, and how many times the steps
    "global": (GLOBAL, 1),  # whole images, each depth by its median and spread: the teacher's global loss alone
    "whole": ([], 1),  # the recipe
    "whole, globally": (["objective.normalise=global"], 1),
    "global, twice": (GLOBAL, 2),  # as much CPU time as the whole recipe
    "whole, gradient 2": (["objective.gradient=2"], 1),
}
MEASURED = {"abs_rel": "disparity_abs_rel", "a1": "disparity_a1"}

Scores = dict[str, list[float]]  # a number for each seed


def draw(work: Path, true: int, seen: int, test: int) -> None:
    """Rooms with truth, to learn and to be measured on, and pictures of others; packed."""
    nyu(work / "true", true, test, (SIDE, SIDE), seed=0)
    for number, view in enumerate(views(seen, (SIDE, SIDE), seed=1)):
        picture(work / "seen" / f"{number:05}.png", view.rgb)
    for name in ("true", "seen"):
        command("pack", work / name, work / f"{name}-shards", "--workers", 1, "--no-progress")


def trained(work: Path, name: str, shards: str, recipe: str, settings: list[str]) -> tuple[Path, float]:
    """A run, and the seconds of CPU time that it took."""
    run, told = work / "runs" / name, work / "runs" / f"{name}.json"
    if not told.exists():
        sets = [word for setting in settings for word in ("--set", setting)]
        begun = time.process_time()
        command("train", "--shards", work / shards, "--recipe", recipe, "--out", run, "--device", "cpu", *sets)
        told.write_text(json.dumps(time.process_time() - begun))
    return run, json.loads(told.read_text())


@torch.inference_mode()
def measured(work: Path, run: Path, side: int) -> dict[str, float]:
    """On rooms that nobody saw, images of this side, as `david eval` measures disparity."""
    network, data = of_path(run).network().eval(), runs.trained(run).recipe.data
    found: dict[str, list[torch.Tensor]] = {}
    data = replace(data, height=side, width=side)
    with Loader(work / "true-shards", "test", data, batch_size=16, seed=0, train=False) as loader:
        for batch in loader:
            values = disparity.measure(nearness(network(batch.image)), batch.targets["depth"], batch)
            for name, metric in MEASURED.items():
                found.setdefault(name, []).append(values[metric][batch.real])
    return {name: torch.cat(values).nanmean().item() for name, values in found.items()}


def scores(work: Path, run: Path, cpu_s: float) -> dict[str, float]:
    small, large = (measured(work, run, side) for side in (SEEN_AT, SIDE))
    return {**small, **{f"{name}_at_{SIDE}": one for name, one in large.items()}, "cpu_s": cpu_s}


def learn(work: Path, students: list[str], seeds: tuple[int, ...]) -> dict[str, Scores]:
    if not (work / "seen-shards").exists():
        draw(work, TRUE, SEEN, TEST)
    teacher, cpu_s = trained(work, "teacher", "true-shards", "metric-smoke", TEACHER)
    found = {"teacher": {name: [one] for name, one in scores(work, teacher, cpu_s).items()}}
    for seed in seeds:
        for name in students:
            settings, times = STUDENTS[name]
            taught = [f"objective.teachers={teacher}", f"seed={seed}", f"steps={times * STEPS}", *settings]
            run, cpu_s = trained(work, f"{name}-{seed}", "seen-shards", "distill-smoke", taught)
            for figure, one in scores(work, run, cpu_s).items():
                found.setdefault(name, {}).setdefault(figure, []).append(one)
            print(name, seed, {figure: round(each[-1], 4) for figure, each in found[name].items()}, flush=True)
    return found


def spread(values: list[float]) -> dict[str, Any]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values), "each": values}


WHO = {"teacher": "the teacher", "global": "its global loss alone", "whole": "the whole recipe"}
WHO |= {"global, twice": "its global loss alone, twice as long"}


def lines(row: dict[str, Any]) -> list[str]:
    """What docs/distillation.md shows of a row: medians over the seeds."""
    found = []
    for name in ("teacher", *row["students"]):
        steps = row["students"][name]["steps"] if name in row["students"] else row["teacher"]["steps"]
        middle = {figure: one["median"] for figure, one in row["figures"][name].items()}
        shown = (f"{middle[f'abs_rel{at}']:.3f} | {middle[f'a1{at}']:.1%}" for at in ("", f"_at_{SIDE}"))
        found.append(f"| {WHO[name]} | {steps} | {middle['cpu_s']:.0f} | {' | '.join(shown)} |")
    return found


def main(work: Path, students: list[str]) -> None:
    from rich.console import Console

    from david.bench import rows

    torch.set_num_threads(1)
    found = learn(work, students, SEEDS)
    table = tables.table("distill", "abs_rel", "a1", f"abs_rel_at_{SIDE}", f"a1_at_{SIDE}", "cpu_s")
    for name, each in found.items():
        table.add_row(name, *(f"{statistics.median(each[column.header]):.4g}" for column in table.columns[1:]))
    tables.show(Console(), table)
    about = {
        "recipe": to_json(runs.trained(work / "runs" / f"whole-{SEEDS[0]}").recipe),
        "teacher": to_json(runs.trained(work / "runs" / "teacher").recipe),
        "students": {name: {"set": STUDENTS[name][0], "steps": STUDENTS[name][1] * STEPS} for name in students},
        **{"seeds": SEEDS, "samples": SEEN, "test": TEST, "data": {"folder": "rooms drawn by the tests"}},
    }
    figures = {name: {what: spread(one) for what, one in each.items()} for name, each in found.items()}
    rows.append(ROWS, rows.row("distill-learn", figures, verdict=None, **about))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or list(STUDENTS))
