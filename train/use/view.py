"""`david view`: samples, a run's pictures, and what networks say of samples and of anybody's pictures beside them."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from david.pack import tables
from david.pack.errors import BadSample, DavidError, shown
from david.pack.files import require_place
from david.pack.look.compared import Scores
from david.pack.options import Device
from david.pack.shards.sample import Sample
from david.train.metrics.table import METRICS
from david.train.use import load

COUNT, COUNT_COMPARED = 60, 20

console = Console()


def register(app: typer.Typer) -> None:
    app.command()(view)


def view(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="A shard set, raw samples, a zip, a run, or with --weights pictures."),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page to write.")] = Path("gallery.html"),
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Show what a run's or file's network says too; repeatable."),
    ] = None,
    onnx: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Show what an ONNX file says too; repeatable.")
    ] = None,
    start_idx: Annotated[
        int, typer.Option("--start-idx", metavar="N", min=0, help="Position of the first sample.")
    ] = 0,
    count: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Samples to show.", show_default=f"{COUNT}, {COUNT_COMPARED} compared"),
    ] = None,
    split: Annotated[str | None, typer.Option(metavar="NAME", help="Split of a shard set.", show_default="all")] = None,
    source: Annotated[
        str | None, typer.Option(metavar="NAME", help="What raw data is, as david pack has it.", show_default="guessed")
    ] = None,
    contact_sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a PNG of the samples instead of a page.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Look at samples, a run's pictures or predictions on a page.

    With --weights or --onnx each sample stands beside what each of these networks says of it: depth fitted to the truth
    and in its colours, normals, alpha, their errors, and figures. A folder of ordinary pictures has no truth: there the
    networks stand side by side.
    """
    from david.pack.look import preview
    from david.pack.look import view as views

    if contact_sheet and (path / "recipe.json").is_file():
        raise DavidError(
            f"{path}: a run; its sheets are in {path / 'pictures'}; a contact sheet is of a shard set or raw data"
        )
    if weights or onnx:
        compare(path, weights or [], onnx or [], device, start_idx, count, split, source, out, contact_sheet)
    elif contact_sheet:
        require_place(contact_sheet.parent)
        there = [sample for _, sample in views.samples(path, start_idx, count or COUNT, split, source)]
        preview.contact_sheet(there, contact_sheet)
        console.print(f"{len(there)} samples on {contact_sheet}")
    else:
        entries = views.gallery(path, out, start_idx, count or COUNT, split, source)
        console.print(f"{entries} entries in {out}; open it in a browser", soft_wrap=True)


def compare(
    path: Path,
    weights: list[str],
    onnx: list[str],
    device: str,
    start: int,
    count: int | None,
    split: str | None,
    source: str | None,
    out: Path,
    contact_sheet: Path | None,
) -> None:
    """Write a page or a contact sheet of samples and what these networks say of them, and print the means."""
    from david.pack.look import view as views

    places = load.all_found(weights, onnx)
    if views.is_run(path):
        raise DavidError(f"{path}: a run has no samples; name a shard set, raw samples or pictures to predict")
    require_place((contact_sheet or out).parent)
    found = samples(path, start, count or COUNT_COMPARED, split, source)
    first = next(found)

    from david.pack.look import compared
    from david.train.eval import beside  # torch and timm: seconds, that no refusal waits for

    names = distinct([place.name for place in places], [*weights, *onnx])
    against = beside.compared([load.loaded([place], device) for place in places], names)
    if contact_sheet:
        many, means = compared.sheet(chain([first], found), against, contact_sheet)
        console.print(f"{many} samples on {contact_sheet}", soft_wrap=True)
    else:
        many, means = compared.page(path.name, chain([first], found), against, out)
        console.print(f"{many} entries in {out}; open it in a browser", soft_wrap=True)
    if means:
        tables.show(console, table(means, names))


def samples(path: Path, start: int, count: int, split: str | None, source: str | None) -> Iterator[tuple[str, Sample]]:
    """(split, sample) as `david.pack.look.view.samples` gives them; of a picture or a folder of ordinary ones, samples
    of RGB alone. Of these one that can't be read is named and left out.

    Raises DavidError where there is none at position `start`."""
    from david.pack.look import view as views

    if not _is_ordinary(path, source):
        yield from views.samples(path, start, count, split, source)
        return
    from david.model.predict import inputs, pictures

    listed, good = inputs.listed([str(path)]).inputs, 0
    for one in listed[start : start + count]:
        try:
            rgb = pictures.read(one.path)
        except BadSample as error:
            console.print(shown(f"left out: {error}"), soft_wrap=True, style="red", highlight=False, markup=False)
        else:
            good += 1
            yield "pictures", Sample(one.stem, rgb, meta={"source": {"archive": one.name}})
    if not good:
        raise DavidError(f"{path}: no picture that can be read from position {start} on, of {len(listed)}")


def _is_ordinary(path: Path, source: str | None) -> bool:
    """Whether it is a picture or a folder of pictures, and no data set that is known."""
    from david.pack.look import view as views
    from david.pack.sources import synthhuman
    from david.pack.sources.table import SOURCES

    if source or not path.exists() or views.is_shards(path) or any(one.recognises(path) for one in SOURCES.values()):
        return False
    if path.is_file():
        return path.suffix.lower() != ".zip"
    try:
        synthhuman.scan(path, {})
    except BadSample:
        return False
    except DavidError:  # none there
        return True
    return False


def distinct(names: Sequence[str], given: Sequence[str]) -> list[str]:
    """A name for each: its own where no other has it, else all that was given to find it, else with its number too."""
    longer = [name if names.count(name) == 1 else str(Path(path)) for name, path in zip(names, given, strict=True)]
    return [name if longer.count(name) == 1 else f"{name} ({at})" for at, name in enumerate(longer, start=1)]


def table(means: Scores, names: Sequence[str]) -> Table:
    """The means over the samples shown: a row a metric, a column for each who is compared."""
    drawn = tables.table("metric, mean", *names, "unit", "better", right=names)
    for name, values in means.items():
        metric = METRICS[name]
        figures = ["" if value is None else f"{value:.4g}" for value in values]
        drawn.add_row(name, *figures, metric.unit, "higher" if metric.grows else "lower")
    return drawn
