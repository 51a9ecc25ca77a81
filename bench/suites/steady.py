"""What `david predict --steady` is worth: rendered clips through the product's own path, without it and with it.

The clips are `david synth --sequence`'s: compressed videos of people who partly move, with the truth of each frame.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from david.bench.result import Result
from david.bench.suites.flicker import Flicker
from david.model.predict import clips as films
from david.model.predict.inputs import VIDEO, Input
from david.model.predict.predictor import Predictor
from david.model.predict.runner import Job
from david.pack import tables
from david.pack.errors import DavidError
from david.pack.shards.sample import Sample
from david.pack.sources.synthhuman import SynthHuman
from david.pack.synth import sequence

SEED, FPS = 1000, 24.0  # of the first clip; other people than the seeds that anybody trains on show
UNITS = {"still_mm": "mm", "abs_rel": "", "abs_rel_one": "", "normals_deg": "degrees", "alpha_mae": ""}
WAYS = {"as said": False, "steady": True}


def measure(predictor: Predictor, frames: int, clips: int, console: Console) -> Result:
    """Figures are means over the clips. Raises DavidError where the network says no depth."""
    if "relative_depth" not in predictor.fields:
        raise DavidError(f"{predictor.name}: says {', '.join(predictor.fields)}, and no depth that could flicker")
    found: list[dict[str, dict[str, float]]] = []
    for seed in range(SEED, SEED + clips):
        with tempfile.TemporaryDirectory() as folder:
            console.print(f"clip {seed - SEED + 1} of {clips}: {sequence.TAKE[seed % len(sequence.TAKE)]}")
            found.append(of_clip(predictor, Path(folder), seed, frames))
    figures: dict[str, Any] = {
        way: {name: float(np.mean([one[way][name] for one in found])) for name in found[0][way]} for way in WAYS
    }
    figures["clips"] = found
    about = {"data": {"folder": "synth --sequence", "clips": clips, "frames": frames}, "network": predictor.about}
    return Result("steady", figures, _table(figures), sentence(figures), about)


def of_clip(
    predictor: Predictor, folder: Path, seed: int, frames: int, shape: tuple[int, int] = (512, 384)
) -> dict[str, dict[str, float]]:
    """The figures of one clip, way -> quantity; made in `folder`."""
    sequence.write(folder / "clip", frames, FPS, seed, shape=shape)
    source = SynthHuman()
    truth = [source.load(key, entry) for key, entry in source.scan(folder / "clip").items()]
    return {way: _scored(_said(predictor, folder / way, folder / "clip", on), truth) for way, on in WAYS.items()}


def _said(predictor: Predictor, out: Path, clip: Path, steady: bool) -> Iterator[dict[str, np.ndarray]]:
    """What is said of each frame, as `david predict --save npz` writes it."""
    one = Input(sequence.CLIP, clip / sequence.CLIP, VIDEO, "clip")
    outcome = films.predict(Job(predictor, out, ("npz",)), one, films.Filming(steady), lambda done, total: None)
    if outcome.error:
        raise DavidError(outcome.error)
    for name in sorted(outcome.files):
        with np.load(out / name, allow_pickle=False) as arrays:
            yield dict(arrays)
        (out / name).unlink()


def _scored(said: Iterator[dict[str, np.ndarray]], truth: list[Sample]) -> dict[str, float]:
    """normals_deg: the mean angle; alpha_mae: the mean error; the rest as `Flicker` has it"""
    flicker, angles, alphas = Flicker(), [], []
    for fields, true in zip(said, truth, strict=True):
        flicker.add(fields["relative_depth"], np.where(true.depth_valid, true.depth_m, np.float32(np.nan)))
        if "normals" in fields:
            cosine = (fields["normals"] * true.normals).sum(-1)[true.normals_valid]
            angles.append(float(np.rad2deg(np.arccos(cosine.clip(-1, 1))).mean()))
        if "alpha" in fields:
            alphas.append(float(np.abs(fields["alpha"] - true.alpha / np.float32(255)).mean()))
    found = flicker.measured()
    return found | {
        name: float(np.mean(all_)) for name, all_ in (("normals_deg", angles), ("alpha_mae", alphas)) if all_
    }


def _table(figures: dict[str, Any]) -> Any:
    table = tables.table("quantity", *WAYS, "unit", title="rendered clips", right=tuple(WAYS))
    for name, unit in UNITS.items():
        if name in figures["steady"]:
            table.add_row(name, *(f"{figures[way][name]:.4g}" for way in WAYS), unit)
    return table


def sentence(figures: dict[str, Any]) -> str:
    """What a row says."""
    before, after = (figures[way] for way in WAYS)
    worse = 100 * (after["abs_rel"] / before["abs_rel"] - 1)
    return (
        f"Where nothing moves, depth changes by {before['still_mm']:.2g} mm from frame to frame as it is said and by "
        f"{after['still_mm']:.2g} mm with --steady, {before['still_mm'] / after['still_mm']:.1f} times less; AbsRel "
        f"{before['abs_rel']:.4f} and {after['abs_rel']:.4f} ({worse:+.1f} %)."
    )
