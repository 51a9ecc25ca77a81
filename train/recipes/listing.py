"""The recipes as a table: what each is for, how large it is, and what it asks for."""

from typing import Any

from rich.console import Console
from rich.table import Table

from david.model.size import STATE_BYTES
from david.pack import tables
from david.train.recipes import ABOUT, RECIPES


def rows() -> list[dict[str, Any]]:
    """A row each. state_bytes: weights, gradients and AdamW's moments; null where the size is not known."""
    found = []
    for name, make in RECIPES.items():
        recipe = make()
        count = recipe.model.parameters()
        found.append(
            {
                **{"name": name, "for": ABOUT[name], "heads": list(recipe.model.heads), "parameters": count},
                **{"height": recipe.data.height, "width": recipe.data.width, "batch_size": recipe.batch_size},
                **{"steps": recipe.steps, "state_bytes": count and count * STATE_BYTES},
            }
        )
    return found


def table() -> Table:
    figures = ("million\nweights", "GB of\nstate", "batch", "steps")
    drawn = tables.table("recipe", "for", *figures, right=figures)
    for row in rows():
        size = f"{row['parameters'] / 1e6:,.1f}", f"{row['state_bytes'] / 1e9:,.2f}"
        drawn.add_row(row["name"], row["for"], *size, f"{row['batch_size']}", f"{row['steps']:,}")
    return drawn


def show() -> None:
    console = Console()
    tables.show(console, table())
    console.print(
        "\nState: float32 weights, their gradients and AdamW's two moments, 16 bytes a parameter, on every GPU. What a "
        "step computes comes on top and grows with batch and image; --batch-size auto finds what fits.",
        highlight=False,
    )
    console.print("david recipes NAME prints one whole; your own is a function in a file: FILE.py:FUNCTION.")
