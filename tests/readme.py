"""What the README says of kept rows: `python tests/readme.py` writes each figure where its marker stands, and draws the
picture of the loaders."""

import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peers_picture

from david.bench.raw import told
from david.bench.suites import learn

ROOT = Path(__file__).resolve().parent.parent
README, RESULTS = ROOT / "README.md", ROOT / "bench" / "results"
PICTURE = RESULTS / "loaders.png"
Row = dict[str, Any]
NAMES = {
    "david": "**david**",
    "floor": "the decoders alone, bytes in memory",
    "raw": "raw PNG and EXR in a DataLoader",
    "dali": "DALI's own reader (uncompressed fp16)",
    "spdl": "SPDL",
    "litdata": "LitData",
    "mosaic": "MosaicML Streaming",
    "webdataset": "webdataset",
}


def newest(name: str) -> Row:
    return json.loads((RESULTS / f"{name}.jsonl").read_text().splitlines()[-1])


def peers(row: Row) -> str:
    """The loaders, fastest first."""
    figures = row["figures"]
    lines = ["| loader | samples/s | CPU ms a sample | kB a sample on disk |", "|---|--:|--:|--:|"]
    for name in sorted(figures, key=lambda name: -figures[name]["rate"]["median"]):
        rate, cpu, size = (figures[name][quantity]["median"] for quantity in ("rate", "cpu", "size"))
        lines.append(f"| {NAMES[name]} | {rate:,.0f} | {cpu:.1f} | {size:,.0f} |")
    return "\n".join(lines)


def hardware(row: Row) -> str:
    """`two cores of an AMD EPYC, no GPU`."""
    here = row["hardware"]
    return f"{here['cores']} cores of an {here['processor']}, {here['gpu'] or 'no GPU'}"


def told_data(row: Row) -> str:
    data = row["data"]
    return told(data, row["samples"]) if "raw_kb" in data else f"{row['samples']} samples of `{data['folder']}`"


def peers_about(row: Row) -> str:
    return (
        f"Medians of {row['rounds']} turns each on {hardware(row)}, batches of {row['batch_size']}, {told_data(row)}."
    )


def pack(row: Row) -> str:
    figures, ratios = row["figures"], row["ratios"]
    rate = next(iter(figures.values()))["rate"]["median"]
    return (
        f"Packing takes {rate:.0f} samples/s on {hardware(row)}: {ratios['over_plain']:.1f} times a plain loop in one "
        f"process, {ratios['of_floor']:.2f} of the C codecs alone ({told_data(row)})."
    )


# marker -> the file of rows, and what its newest row says
BLOCKS: dict[str, tuple[str, Callable[[Row], str]]] = {
    "peers": ("load-peers-cpu", peers),
    "peers-about": ("load-peers-cpu", peers_about),
    "pack": ("pack-cpu", pack),
    "learn": ("learn-cpu", learn.sentence),
}


def block(marker: str) -> re.Pattern[str]:
    """From a marker's line to the next empty one."""
    return re.compile(rf"(?<=<!-- {marker} -->\n)\S.*?(?=\n\n)", re.DOTALL)


def write() -> None:
    text = README.read_text()
    for marker, (name, say) in BLOCKS.items():
        said = say(newest(name))
        said = said if said.startswith("|") else textwrap.fill(said, 120, break_on_hyphens=False)
        text = block(marker).sub(lambda _, said=said: said, text)
    README.write_text(text)
    peers_picture.write(newest("load-peers-cpu"), NAMES, PICTURE)


if __name__ == "__main__":
    write()
