"""ARCHITECTURE.md, made from what each module's docstring says first: `python tests/architecture.py` writes it."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "ARCHITECTURE.md"
ROOMS = ("pack", "pipeline", "model", "train", "bench")
HEAD = """# The tree

The rooms, from raw data to evidence; a room imports only from those above it (`model` and `pipeline` not each other).
"""


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def told(path: Path) -> str:
    """The first sentence of a module's docstring."""
    text = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split())
    return re.split(r"[.?](?=\s|$)", text)[0]


def page() -> str:
    """Every module of the rooms, with what its own docstring says first."""
    lines = [HEAD]
    for room in ROOMS:
        for folder in sorted({path.parent for path in files(room)}):
            lines.append(
                f"## `{folder.relative_to(ROOT)}/`\n\n{told(folder / '__init__.py')}\n\n| file | holds |\n|---|---|"
            )
            inside = [path for path in files(room) if path.parent == folder and path.name != "__init__.py"]
            lines += [f"| [`{path.name}`]({path.relative_to(ROOT)}) | {told(path)} |" for path in inside]
            lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())
