"""A recipe of the user's own: `path/to/file.py:function`, an ordinary Python file with a function that returns one.

It is the user's code and runs as such. What it returns is stored in the run as JSON, like any recipe, so going on
with the run needs no file, unless the file adds rows to david's tables (`docs/extending.md`): then the run is gone on
with by the same --recipe.
"""

import importlib.util
import sys
import traceback
from pathlib import Path

from david.pack.errors import DavidError
from david.train.recipe import Recipe

MODULE = "own_recipe"  # what the file is called as a module, whatever its own name
FUNCTION = "recipe"  # the one that is called where none is named


def is_path(name: str) -> bool:
    return name.partition(":")[0].endswith(".py")


def recipe(name: str) -> Recipe:
    """What the function in the file returns. Raises DavidError where there is no such file, function or recipe."""
    file, _, function = name.partition(":")
    path, function = Path(file), function or FUNCTION
    if not path.is_file():
        raise DavidError(f"{path}: no such file; expected Python with a function `{function}` that returns a Recipe")
    spec = importlib.util.spec_from_file_location(MODULE, path)
    assert spec and spec.loader
    module = sys.modules[MODULE] = importlib.util.module_from_spec(spec)  # where its dataclasses look for themselves
    try:
        spec.loader.exec_module(module)
        call = getattr(module, function, None)
        made = call() if callable(call) else None
    except DavidError as error:
        raise DavidError(f"{path}: {error}") from error
    except Exception as error:  # the user's own
        raise DavidError(f"{path}, line {_line(path, error)}: {type(error).__name__}: {error}") from error
    if not callable(call):
        own = [n for n, value in vars(module).items() if getattr(value, "__module__", None) == MODULE]
        raise DavidError(f"{path}: no function `{function}` there; there are {', '.join(own) or 'none'}")
    if not isinstance(made, Recipe):
        raise DavidError(f"{path}: `{function}` gave {type(made).__name__}, expected a david.train.recipe.Recipe")
    return made


def _line(path: Path, error: Exception) -> int | None:
    """The last line of the file that the error came through."""
    if isinstance(error, SyntaxError):
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if Path(frame.filename) == path.absolute()), None)
