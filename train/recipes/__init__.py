"""The recipes by name. A recipe is a function without arguments that returns one; a new one is a row here."""

from collections.abc import Callable
from dataclasses import replace

from david.pack.errors import DavidError
from david.train.recipe import Recipe
from david.train.recipes import own
from david.train.recipes.david import base, large
from david.train.recipes.smoke import smoke
from david.train.recipes.unofficial import unofficial, unofficial_berhu, unofficial_one_gpu


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
}

ABOUT = {  # what each is for
    "smoke": "a toy, for a first look: learns from nothing on a CPU in two minutes",
    "david-base": "the paper's Base: depth, normals and foreground in one network",
    "david-base-depth": "the paper's Base, relative depth alone",
    "david-base-normals": "the paper's Base, normals alone",
    "david-base-alpha": "the paper's Base, foreground alone",
    "david-large": "the paper's Large: depth, normals and foreground in one network",
    "david-large-depth": "the paper's Large, relative depth alone",
    "david-large-normals": "the paper's Large, normals alone",
    "david-large-alpha": "the paper's Large, foreground alone",
    "unofficial": "the unofficial README's numbers, four GPUs",
    "unofficial-one-gpu": "the unofficial README's numbers, one GPU",
    "unofficial-berhu": "the unofficial training guide's numbers, BerHu depth",
}


def recipe(name: str) -> Recipe:
    """The recipe of that name, or of a user's own file. Raises DavidError, listing those there are, for any other."""
    if own.is_path(name):
        return own.recipe(name)
    if name not in RECIPES:
        raise DavidError(f"no recipe `{name}`; there are {', '.join(RECIPES)}, and your own as FILE.py:FUNCTION")
    return RECIPES[name]()
