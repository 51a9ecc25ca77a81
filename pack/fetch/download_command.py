"""`david download`: what the command line asks for, and what it shows meanwhile."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from david.pack.errors import DavidError, shown
from david.pack.fetch import chunks, models
from david.pack.fetch.kinds import KINDS, MODEL, ZIP
from david.pack.work.plan import PackOptions

LINE_EVERY_S = 10.0
IDLE = ("waiting", "done")

Report = Callable[[str, str, int, int | None], None]


def download(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the files.")],
    sample: Annotated[bool, typer.Option("--sample", help="Bring the small sample zip.")] = False,
    chunk: Annotated[
        list[str] | None,
        typer.Option("--chunk", metavar="N", help="Bring this zip of 60, 0 to 59, or a range as 10-19; repeatable."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Bring all 60 zips, 330 GB.")] = False,
    all_models: Annotated[
        bool, typer.Option("--models", help="Bring the seven official ONNX models instead, 6.9 GB.")
    ] = False,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="NAME", help="Bring this one of them, as depth-base; repeatable."),
    ] = None,
    lock: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A lock file whose sizes and SHA-256s the files must have."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Read again what is in OUT, against its lock files.")] = False,
    pack: Annotated[
        Path | None, typer.Option(metavar="SHARDS", help="Pack the zips, group by group, as they come; takes --delete.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete each group of zips once it is packed.")] = False,
    zips_on_disk: Annotated[
        int, typer.Option(metavar="N", min=3, help="With --delete: zips to have room for, 8.75 GB each.")
    ] = 6,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="With --pack: an option, as image=webp; repeatable."),
    ] = None,
    on_bad: Annotated[
        str,
        typer.Option(metavar="stop|quarantine", help="With --pack: end at a bad sample, or set it aside and go on."),
    ] = "stop",
    accept: Annotated[
        list[str] | None,
        typer.Option("--accept", metavar="NAME", help="With --pack: as david pack has it; repeatable."),
    ] = None,
    connections: Annotated[int, typer.Option(metavar="N", min=1, max=64, help="Connections at a time, in all.")] = 8,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="A mirror of the files.", show_default="the publisher's")
    ] = None,
) -> None:
    """Bring SynthHuman's zips or the official models here, checked.

    Run it again to go on after any break. With --pack SHARDS --delete there must be room for the shards and a few zips
    only. Samples are then permuted within groups of zips, each from faces, full bodies and upper bodies alike, not over
    the whole set; more --zips-on-disk mix it better.
    """
    from david.pack.fetch import download as work  # urllib3 and ssl: not for `david --help`

    names = asked(sample, chunk or [], everything)
    networks = models.files([*(models.MODELS if all_models else ()), *(model or [])])
    if not names and not networks and not check:
        raise DavidError("nothing asked for: say --sample, --chunk N, --all, --models, or --check for what is there")
    if names and networks:
        raise DavidError("zips and models come from two folders of the publisher's: ask for one, then for the other")
    if networks and pack:
        raise DavidError("--pack is for SynthHuman's zips: leave it out, or --models and --model")
    if (pack is None) == delete or ((set_ or accept) and not pack):
        raise DavidError(
            "--pack SHARDS and --delete go together, --set and --accept with both; to keep the zips, download them, "
            "then david pack"
        )
    kind = MODEL if networks else ZIP
    options = work.DownloadOptions(base_url=base_url or "", lock_file=lock, connections=connections, kind=kind)
    console = Console()
    if pack:
        _download_and_pack(console, out, pack, names, options, set_ or [], zips_on_disk, on_bad, accept or [])
        return
    wanted = networks or names
    kinds = [one for one in KINDS if (out / one.lock).exists()] if check and not wanted else [kind]
    with display(console) as report:
        found = {kind: work.download(out, wanted, options, report)} if wanted else {}
        if check:
            found = {one: work.check(out, report, one) for one in kinds or [kind]}
    for one, entries in found.items():
        size = sum(entry.bytes for entry in entries.values())
        print(
            f"{len(entries)} {one.noun}s, {size / 1e9:,.2f} GB, whole in {out}; sizes and SHA-256s in {out / one.lock}"
        )


def _download_and_pack(
    console: Console,
    out: Path,
    shards: Path,
    names: list[str],
    options: Any,
    settings: list[str],
    zips_on_disk: int,
    on_bad: str,
    accept: list[str],
) -> None:
    from david.pack.fetch.download_pack import download_and_pack
    from david.pack.look import report_page
    from david.pack.work.build import BadPolicy
    from david.pack.work.display import PackDisplay

    with display(console) as report, PackDisplay(console, plain=True) as packing:
        manifest = download_and_pack(
            out,
            shards,
            names,
            options,
            pack_options(settings),
            zips_on_disk=zips_on_disk,
            bad=BadPolicy.parse(on_bad),
            accept=accept,
            report=report,
            hear=packing.hear,
            planned=packing.planned,
            say=packing.say,
        )
    counts = ", ".join(f"{manifest.samples(split):,} {split}" for split in manifest.splits)
    print(f"{counts} samples under {shards}; the zips are deleted")
    for one in report_page.report_of(manifest).accepted:
        print(shown(str(one)))


def pack_options(settings: list[str]) -> PackOptions:
    """`NAME=VALUE` settings on top of the ordinary options. Raises DavidError where one is none."""
    kinds = {field.name: type(field.default) for field in fields(PackOptions)}
    values = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in kinds:
            raise DavidError(f"--set {setting}: packing knows no `{name}`, only {', '.join(kinds)}")
        try:
            values[name] = kinds[name](value)
        except ValueError as error:
            raise DavidError(f"--set {setting}: {name} must be of type {kinds[name].__name__}") from error
    return PackOptions(**values)


def asked(sample: bool, ranges: list[str], everything: bool) -> list[str]:
    """Names of the zips that the options ask for, in order."""
    numbers = set(range(chunks.CHUNKS)) if everything else set()
    for text in ranges:
        first, _, last = text.partition("-")
        if not (first.isdecimal() and (last or first).isdecimal() and int(first) <= int(last or first)):
            raise DavidError(f"--chunk {text}: must be a number like 7 or a range like 10-19")
        numbers |= {int(first), int(last or first)} | set(range(int(first), min(int(last or first), chunks.CHUNKS)))
    return [chunks.SAMPLE] * sample + [chunks.name(number) for number in sorted(numbers)]


@contextmanager
def display(console: Console) -> Iterator[Report]:
    """Where to report to: a bar for each zip under way and one for all; off a terminal, plain lines."""
    if not console.is_terminal:
        yield Lines().report
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        yield Bars(progress).report


class Tally:
    """What is known of each zip, and of all together; `show` draws it."""

    def __init__(self) -> None:
        self.zips: dict[str, tuple[str, int, int]] = {}  # what is being done, bytes done, bytes in all
        self._changing = threading.Lock()

    def report(self, name: str, doing: str, done: int, total: int | None) -> None:
        with self._changing:
            seen = name in self.zips
            self.zips[name] = doing, done, total or done
            self.show(name, seen)

    def show(self, name: str, seen: bool) -> None:
        """Called after each change of a zip, by one thread at a time. seen: it was under way before."""
        raise NotImplementedError

    @property
    def arrived(self) -> int:
        """Bytes, of all zips."""
        return sum(total if doing in ("checking", "done") else done for doing, done, total in self.zips.values())

    @property
    def asked(self) -> int:
        """Bytes, of all zips."""
        return sum(total for _, _, total in self.zips.values())


class Bars(Tally):
    def __init__(self, progress: Progress):
        super().__init__()
        self._progress = progress
        self._bars: dict[str, TaskID] = {}
        self._all: TaskID | None = None

    def show(self, name: str, seen: bool) -> None:
        doing, done, total = self.zips[name]
        if doing == "waiting":
            return
        if doing == "done":
            if name in self._bars:
                self._progress.remove_task(self._bars.pop(name))
            if seen:
                self._progress.console.print(f"{name}: whole, {total / 1e9:,.2f} GB", highlight=False)
        elif name not in self._bars:
            self._bars[name] = self._progress.add_task(f"{name} {doing}", total=total, completed=done)
        else:
            self._progress.update(self._bars[name], description=f"{name} {doing}", total=total, completed=done)
        if self._all is None:  # what was there before doesn't count into the rate
            self._all = self._progress.add_task("all", total=self.asked, completed=self.arrived)
        self._progress.update(self._all, total=self.asked, completed=self.arrived)


class Lines(Tally):
    def __init__(self) -> None:
        super().__init__()
        self._start: tuple[float, int] | None = None
        self._printed_s = 0.0

    def show(self, name: str, seen: bool) -> None:
        doing, _, total = self.zips[name]
        now_s = time.monotonic()
        if doing == "waiting":
            return
        if doing == "done":
            if seen:
                print(f"{name}: whole, {total / 1e9:,.2f} GB", flush=True)
            return
        if self._start is None:
            self._start, self._printed_s = (now_s, self.arrived), now_s
        if now_s - self._printed_s < LINE_EVERY_S:
            return
        self._printed_s = now_s
        rate = (self.arrived - self._start[1]) / (now_s - self._start[0])
        left = f", {(self.asked - self.arrived) / rate / 60:,.0f} min left" if rate else ""
        busy = ", ".join(f"{name} {doing}" for name, (doing, _, _) in self.zips.items() if doing not in IDLE)
        print(
            f"{self.arrived / 1e9:,.2f} of {self.asked / 1e9:,.2f} GB, {rate / 1e6:,.1f} MB/s{left}: {busy}", flush=True
        )
