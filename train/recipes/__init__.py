"""The recipes by name. A recipe is a function without arguments that returns one; a new one is a row here."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from david.pack.errors import DavidError
from david.train.recipe import Recipe
from david.train.recipes import distill, metric, own
from david.train.recipes.david import base, large
from david.train.recipes.smoke import smoke
from david.train.recipes.unofficial import unofficial, unofficial_berhu, unofficial_finetune, unofficial_one_gpu


def single(recipe: Recipe, head: str) -> Recipe:
    """The same recipe for one task alone."""
    return replace(recipe, name=f"{recipe.name}-{head}", model=replace(recipe.model, heads=(head,)))


RECIPES: dict[str, Callable[[], Recipe]] = {
    "smoke": smoke,
    "david-base": base,
    "david-base-depth": lambda: single(base(), "depth"),
    "david-base-normals": lambda: single(base(), "normals"),
    "david-base-alpha": lambda: single(base(), "alpha"),
    "david-large": large,
    "david-large-depth": lambda: single(large(), "depth"),
    "david-large-normals": lambda: single(large(), "normals"),
    "david-large-alpha": lambda: single(large(), "alpha"),
    "unofficial": unofficial,
    "unofficial-one-gpu": unofficial_one_gpu,
    "unofficial-berhu": unofficial_berhu,
    "unofficial-finetune": unofficial_finetune,
    "metric-smoke": metric.smoke,
    "da2-zoe-guide": metric.guide,
    "da2-metric-indoor": metric.indoor,
    "da2-metric-outdoor": metric.outdoor,
    "zoedepth-nyu": metric.zoedepth,
    "distill-smoke": distill.smoke,
    "distill-any-depth": distill.any_depth,
    "distill-guide": distill.guide,
}

ABOUT = {  # what each is for
    "smoke": "a toy: two minutes on a CPU",
    "david-base": "paper's Base, all tasks",
    "david-base-depth": "paper's Base, depth",
    "david-base-normals": "paper's Base, normals",
    "david-base-alpha": "paper's Base, alpha",
    "david-large": "paper's Large, all tasks",
    "david-large-depth": "paper's Large, depth",
    "david-large-normals": "paper's Large, normals",
    "david-large-alpha": "paper's Large, alpha",
    "unofficial": "unofficial README, 4 GPUs",
    "unofficial-one-gpu": "unofficial README, 1 GPU",
    "unofficial-berhu": "unofficial guide, BerHu",
    "unofficial-finetune": "from unofficial .pth",
    "metric-smoke": "a toy in metres, on a CPU",
    "da2-zoe-guide": "the guide, 50 epochs",
    "da2-metric-indoor": "Depth Anything V2, Hypersim",
    "da2-metric-outdoor": "Depth Anything V2, VKITTI2",
    "zoedepth-nyu": "ZoeDepth, NYU Depth V2",
    "distill-smoke": "a toy student, on a CPU",
    "distill-any-depth": "Distill-Any-Depth's paper",
    "distill-guide": "the guide, ViT-L to ViT-B",
}


def recipe(name: str) -> Recipe:
    """The recipe of that name, or of a user's own file. Raises DavidError, listing those there are, for any other."""
    if own.is_path(name):
        return own.recipe(name)
    if name not in RECIPES and Path(name.partition(":")[0]).is_file():
        raise DavidError(f"{name}: the file of a recipe ends in .py; give it as FILE.py:FUNCTION")
    if name not in RECIPES:
        raise DavidError(f"no recipe `{name}`; there are {', '.join(RECIPES)}, and your own as FILE.py:FUNCTION")
    return RECIPES[name]()
