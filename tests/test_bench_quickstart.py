"""The quickstart in small: every file that it names at its end is there."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from david.bench import quickstart
from david.train import recipes
from david.train.recipe import override

SMALL = [
    *("data.height=48", "data.width=32", "model.backbone_size=32", "model.width=16", "model.head_widths=8,8"),
    *("model.reassemble=8,8,8,8", "batch_size=4", "parallel=ddp"),
]


def test_every_file_that_the_quickstart_names_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = override(recipes.recipe("smoke"), SMALL)
    monkeypatch.setattr(recipes, "recipe", lambda name: small)
    said = io.StringIO()
    quickstart.run(tmp_path / "q", samples=40, steps=2, seed=0, console=Console(file=said, width=200))
    named = [line.split()[0] for line in said.getvalue().splitlines()[-5:]]
    assert len(named) == 5
    for path in named:
        assert Path(path).stat().st_size > 500
