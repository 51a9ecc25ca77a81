"""iBims-1 (Koch et al., "Evaluation of CNN-based Single-Image Depth Estimation Methods", ECCV Workshops 2018): 100
rooms with a laser's depth, and what measures depth at edges and on planes. Units are converted here.

**ibims1_core_mat**: a MATLAB file an image, with one structure `data` of `rgb`, `depth` (metres, 0 for none), `edges`,
`calib` (transposed), `mask_invalid` and `mask_transp` (1 where depth holds), and of wall, table and floor each a mask,
in which plane n has the number n, and `mask_..._paras`, a row a plane. So a sample has the fields

- `edges`: 255 where depth has an edge, else 0
- `wall`, `table`, `floor`: n where plane n is seen, else 0

and its `meta["planes"]` the rows, by these names.

**ibims1_core_raw**: folders `rgb`, `depth` (16-bit PNG, 50 / 65535 metres a step), `mask_invalid`, `mask_transp` (black
where depth does not hold), and `calib` with fx,fy,cx,cy; it has neither edges nor planes. Where both are there, the
MATLAB files are taken.

Depth is kept in the PNG's steps either way, so that both give the same set: 0.4 mm off at most. `imagelist.txt` names
the images. Cameras count pixels from 1; ours have the image's corner at 0.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from david.pack.check.conventions import PlausibleDepth
from david.pack.errors import BadSample, DavidError
from david.pack.raw import archive, matlab, picture
from david.pack.raw.archive import MAX_PIXELS, Entry, Found
from david.pack.shards.codings import MOST_STEPS
from david.pack.shards.sample import Sample
from david.pack.shards.schema import RGB, Field, Fields
from david.pack.sources import listing, metres
from david.pack.sources.camera import HALF, intrinsics
from david.pack.sources.listing import Row
from david.pack.sources.source import Raw, Source

RAW, MAT, LIST = "ibims1_core_raw", "ibims1_core_mat", "imagelist.txt"
STEP_M = 50 / 65535
PLANES = ("wall", "table", "floor")
FOLDERS = {"rgb": "rgb", "depth": "depth", "invalid": "mask_invalid", "transparent": "mask_transp"}
SPLIT = "test"
_MAT_BYTES = 160  # for a pixel of a MATLAB file: colours, and eight arrays of doubles at most


@dataclass(frozen=True)
class Ibims(Source):
    """Without options."""

    name = "ibims"
    checks = (PlausibleDepth((0.8, 15.0), (0.4, 25.0), "0", unit="65535ths of 50 metres", smooth=False),)

    @classmethod
    def recognises(cls, raw: Path) -> bool:
        return _mat(raw) is not None or _raw(raw) is not None

    def scan(self, raw: Raw, bad: dict[str, BadSample] | None = None) -> Found:
        raw = metres.folder(raw, self.name, f"{MAT} or {RAW}")
        mat, core = _mat(raw), _raw(raw)
        if mat is not None:
            files, places = {"rgb": ".mat"}, {"rgb": ("",)}
        elif core is not None:
            mat, files = core, dict.fromkeys(FOLDERS, ".png")
            places = {kind: (folder,) for kind, folder in FOLDERS.items()}
            if (core / "calib").is_dir():
                files, places = files | {"camera": ".txt"}, places | {"camera": ("calib",)}
        else:
            raise DavidError(
                f"{raw}: no iBims-1 there: neither MATLAB files, as in {MAT}, nor folders "
                f"{', '.join(FOLDERS.values())}, as in {RAW}"
            )
        rows = [
            Row(where, {kind: name + ending for kind, ending in files.items()}, SPLIT, name)
            for where, name in _named(raw, mat, files["rgb"], places["rgb"][0])
        ]
        return metres.listed(mat, rows, {SPLIT: places}, bad)

    def fields(self, found: Found) -> Fields:
        whole = (RGB, Field("depth", "u16-linear"))
        geometry = tuple(Field(name, "u8") for name in ("edges", *PLANES))
        return whole + geometry if any("depth" not in entry.members for entry in found.values()) else whole

    def read(self, entry: Entry, max_pixels: int = MAX_PIXELS) -> dict[str, bytes]:
        if "depth" in entry.members:
            return metres.read(entry, max_pixels)
        return {"rgb": archive.read(entry.members["rgb"], min(_MAT_BYTES * max_pixels, matlab.MOST_BYTES))}

    def decode(self, key: str, entry: Entry, data: dict[str, bytes], max_pixels: int = MAX_PIXELS) -> Sample:
        if "depth" in entry.members:
            return self._of_files(key, entry, data, max_pixels)
        return self._of_matlab(key, entry, data, max_pixels)

    def _of_files(self, key: str, entry: Entry, data: dict[str, bytes], max_pixels: int) -> Sample:
        members = entry.members
        rgb = picture.rgb(members["rgb"], data["rgb"], max_pixels)
        stored = metres.steps(members["depth"], data["depth"], max_pixels)
        metres.require_size(entry, "depth", stored, rgb)
        known = (stored > 0) & (stored <= MOST_STEPS)  # the last step is 50 m or more
        for kind in ("invalid", "transparent"):
            mask = picture.grey(members[kind], data[kind], max_pixels)
            metres.require_size(entry, kind, mask, rgb)
            known &= mask > 0
        camera = None
        if "camera" in members:
            camera = intrinsics(members["camera"].where, data["camera"], *rgb.shape[:2]) - HALF
        return metres.sample(key, entry, data, rgb, stored, known, step_m=STEP_M, intrinsics=camera)

    def _of_matlab(self, key: str, entry: Entry, data: dict[str, bytes], max_pixels: int) -> Sample:
        where = entry.members["rgb"].where
        try:
            content = matlab.load(Path(where), data["rgb"], min(_MAT_BYTES * max_pixels, matlab.MOST_BYTES))
            held = content["data"][0, 0]
            taken = {name: np.asarray(held[name]) for name in ("rgb", "depth", "edges", "calib", *_masks(), *_rows())}
        except (DavidError, KeyError, IndexError, ValueError, TypeError) as error:
            raise BadSample(where, f"no image of iBims-1 ({error})") from error
        rgb, depth = taken["rgb"], taken["depth"]
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise BadSample(where, f"its rgb is {rgb.dtype} of shape {rgb.shape}, expected uint8 of (H, W, 3)")
        for name in ("depth", "edges", *_masks()):
            if taken[name].shape != rgb.shape[:2]:
                raise BadSample(where, f"its {name} is of shape {taken[name].shape}, its picture of {rgb.shape[:2]}")
        steps = np.rint(np.nan_to_num(depth.astype(np.float64), nan=0, posinf=0, neginf=0) / STEP_M)
        if (most := steps.max() * STEP_M) > 50.5:
            raise BadSample(where, f"its depth reaches {most:,.4g}, expected metres up to 50")
        known = (steps >= 1) & (steps <= MOST_STEPS) & (taken["mask_invalid"] != 0) & (taken["mask_transp"] != 0)
        planes = {name: _plane(where, name, taken) for name in PLANES}
        camera = intrinsics(where, " ".join(map(str, taken["calib"].T.ravel())).encode(), *rgb.shape[:2]) - HALF
        return metres.sample(
            key,
            entry,
            data,
            np.ascontiguousarray(rgb),
            steps,
            known,
            step_m=STEP_M,
            intrinsics=camera,
            fields={"edges": np.where(taken["edges"] != 0, 255, 0).astype(np.uint8)}
            | {name: mask for name, (mask, _) in planes.items()},
            planes={name: rows for name, (_, rows) in planes.items()},
        )


def _masks() -> tuple[str, ...]:
    return ("mask_invalid", "mask_transp", *(f"mask_{name}" for name in PLANES))


def _rows() -> tuple[str, ...]:
    return tuple(f"mask_{name}_paras" for name in PLANES)


def _plane(where: str, name: str, taken: dict[str, np.ndarray]) -> tuple[np.ndarray, list[list[float]]]:
    """A mask with planes' numbers, (H, W) uint8, and their rows. Raises BadSample where they are not of each other."""
    mask, rows = taken[f"mask_{name}"], taken[f"mask_{name}_paras"].astype(np.float64)
    if rows.size and (rows.ndim != 2 or rows.shape[1] < 7 or not np.isfinite(rows).all()):
        raise BadSample(where, f"mask_{name}_paras is of shape {rows.shape}, expected 7 numbers or more a plane")
    count = len(rows) if rows.size else 0
    if not count <= 255 or mask.min() < 0 or mask.max() > 255 or not np.array_equal(mask, np.rint(mask)):
        raise BadSample(
            where, f"mask_{name} holds {mask.min()} to {mask.max()}, expected the numbers of {count} planes"
        )
    return mask.astype(np.uint8), rows.tolist() if count else []


def _mat(raw: Path) -> Path | None:
    """The folder with the MATLAB files: of a list of images, or of that name."""
    for folder in (raw, raw / MAT):
        if folder.is_dir() and (folder.name == MAT or _list(raw, folder) is not None) and any(folder.glob("*.mat")):
            return folder
    return None


def _raw(raw: Path) -> Path | None:
    folders = (raw, raw / RAW)
    return next((one for one in folders if all((one / inside).is_dir() for inside in FOLDERS.values())), None)


def _list(raw: Path, folder: Path) -> Path | None:
    return next((one / LIST for one in (folder, raw, folder.parent) if (one / LIST).is_file()), None)


def _named(raw: Path, folder: Path, ending: str, inside: str) -> list[tuple[str, str]]:
    """Where each image is named, and its name; all that are there, without a list. Raises DavidError where none is."""
    path = _list(raw, folder)
    if path is None:
        found = sorted((folder / inside).glob(f"*{ending}"))
        return [(str(one), one.stem) for one in found if not one.name.startswith(".")]
    lines = io.StringIO(listing.read_text(path))
    named = [(f"{path}, line {n}", line.strip()) for n, line in enumerate(lines, 1) if line.strip()]
    if not named or any("/" in name or ".." in name for _, name in named):
        raise DavidError(f"{path}: expected a name of an image a line, such as corridor_01")
    return named
