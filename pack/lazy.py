"""What a table names without loading it: `module:name`, imported when it is first asked for.

So a table of networks or losses is read without torch, which takes seconds. Whoever adds a row from a file of their own
gives the thing itself.
"""

from importlib import import_module
from typing import Any

Lazy = str | Any  # "package.module:name", or what would be found there


def load(place: Lazy) -> Any:
    """What stands at `place`; `place` itself where it is no text."""
    if not isinstance(place, str):
        return place
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
