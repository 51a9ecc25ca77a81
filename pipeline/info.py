"""`david info SHARDS`: what a shard set or a sidecar says of itself, read from its manifest and its first sample."""

import json
import tempfile
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from david.pack import tables
from david.pack.look.report_page import report_of
from david.pack.options import AsJson
from david.pack.shards import dataset, manifest
from david.pack.shards.manifest import Manifest
from david.pipeline.options import ShardSet


def register(app: typer.Typer) -> None:
    app.command("info")(info)


def info(
    shards: ShardSet,
    as_json: AsJson = False,
) -> None:
    """Tell what a shard set holds, and what made it.

    Splits, samples, members, image size, options, libraries, what was set aside; of labels which set they belong to,
    and which teacher said them.
    """
    found = described(shards)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        show(found, Console())


def described(shards: str) -> dict[str, Any]:
    """What `david info --json` prints. Of a set at an address only the manifest is fetched, so no image size is known.

    Raises DavidError where there is no shard set."""
    if "://" not in shards:
        return _describe(shards, manifest.load_any(Path(shards)), here=True)
    from david.pipeline.reading.cache import mount

    with tempfile.TemporaryDirectory() as folder:
        return _describe(shards, manifest.load_any(mount(shards, Path(folder), 0)), here=False)


def _describe(name: str, found: Manifest, here: bool) -> dict[str, Any]:
    splits = {
        split: {
            **{"samples": found.samples(split), "shards": len(rows)},
            **{"bytes": sum(shard.bytes for shard in rows)},
        }
        for split, rows in found.splits.items()
    }
    size = None
    for split in (split for split in splits if here and splits[split]["samples"] and not found.belongs):
        for sample in islice(dataset.read(found.folder, split), 1):
            size = {"height": sample.rgb.shape[0], "width": sample.rgb.shape[1]}
        break
    return {
        **{"shards": name, "fingerprint": found.fingerprint, "splits": splits, "first_sample": size},
        **{"version": found.version, "fields": [asdict(one) for one in found.fields]},
        **{"members": list(found.extensions), "options": found.options, "libraries": found.libraries},
        **{"raw_samples": found.raw.get("samples"), "quarantined": found.quarantined},
        **{"accepted": [asdict(one) for one in report_of(found).accepted]},
        **({"belongs": found.belongs} if found.belongs else {}),
    }


def show(found: dict[str, Any], console: Console) -> None:
    figures = ("samples", "shards", "GB", "kB a sample")
    table = tables.table("split", *figures, right=figures)
    for name, split in found["splits"].items():
        each = f"{split['bytes'] / 1e3 / split['samples']:,.0f}" if split["samples"] else ""
        table.add_row(name, f"{split['samples']:,}", f"{split['shards']:,}", f"{split['bytes'] / 1e9:,.3f}", each)
    tables.show(console, table)
    size, options = found["first_sample"], found["options"]
    belongs = found.get("belongs", {})
    facts = {
        "belongs to": belongs.get("shards", ""),
        "teacher": "  ".join(f"{name}={value}" for name, value in belongs.get("teacher", {}).items()),
        "image": f"{size['width']} x {size['height']} pixels, the first sample's" if size else "known once it is read",
        "members": "  ".join(found["members"]),
        "packed with": "  ".join(f"{name}={value}" for name, value in options.items()),
        "libraries": "  ".join(f"{name} {value}" for name, value in found["libraries"].items()),
        "quarantined": f"{len(found['quarantined']):,} of {found['raw_samples'] or 0:,} raw samples",
        "fingerprint": found["fingerprint"],
    }
    if found["accepted"]:
        facts["accepted"] = ", ".join(dict.fromkeys(one["convention"] for one in found["accepted"]))
    if belongs:
        del facts["image"], facts["quarantined"]
    console.print()
    tables.tell(console, {name: one for name, one in facts.items() if one})
