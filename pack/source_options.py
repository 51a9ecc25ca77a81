"""What `david pack` may be told of its raw data: the options of all sources, by the names of their fields."""

from pathlib import Path
from typing import Annotated

import typer

PANEL = "Of one source alone"


def _option(*names: str, metavar: str, help: str) -> typer.models.OptionInfo:
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=PANEL, show_default=False)


List = Annotated[
    Path | None,
    _option("--list", metavar="FILE", help="Folder: CSV with a header, JSON or JSONL, of each sample's files."),
]
Columns = Annotated[str | None, _option(metavar="NAMES", help="Folder: what --list calls them, as rgb=image,depth=gt.")]
Rgb = Annotated[str | None, _option(metavar="PATTERN", help="Folder: images, as 'rgb/*.jpg'.")]
Depth = Annotated[str | None, _option(metavar="PATTERN", help="Folder: depth, as 'depth/*.png', by --rgb's stars.")]
Normals = Annotated[str | None, _option(metavar="PATTERN", help="Folder: normals.")]
Alpha = Annotated[str | None, _option(metavar="PATTERN", help="Folder: soft foreground.")]
Camera = Annotated[str | None, _option(metavar="PATTERN", help="Folder: texts of intrinsics.")]
Intrinsics = Annotated[str | None, _option(metavar="NUMBERS", help="Folder: fx,fy,cx,cy of all images, in pixels.")]
DepthScale = Annotated[
    float | None, _option(metavar="METRES", help="Folder, rendered: metres a step of depth, as 0.001.")
]
DepthBits = Annotated[str | None, _option(metavar="plain|rotated", help="Folder: rotated is SUN RGB-D's raw depth.")]
DepthInvalid = Annotated[
    str | None, _option(metavar="NUMBERS", help="Folder, rendered: numbers that are no depth, and 0 of PNGs.")
]
DepthSky = Annotated[float | None, _option(metavar="N", help="Folder: the number that is sky.")]
NormalsAxes = Annotated[
    str | None, _option(metavar="AXES", help="Folder, rendered: channels right, up, to the camera, as x,-y,-z.")
]
Splits = Annotated[
    Path | None,
    _option(metavar="FILE", help="NYU, SUN RGB-D, Hypersim: the split, if not where it usually is."),
]
DepthKind = Annotated[str | None, _option(metavar="KIND", help="NYU: raw or filled; SUN RGB-D: depth or depth_bfx.")]
TrainList = Annotated[
    Path | None, _option(metavar="FILE", help="NYU, KITTI: lines of rgb, depth, focal length to train on.")
]
Crop = Annotated[str | None, _option(metavar="none|kb", help="KITTI: keep 352 rows and 1216 columns.")]
PairsSplit = Annotated[str | None, _option(metavar="test|train", help="DA-2K: train, to train on its pairs.")]
TestList = Annotated[Path | None, _option(metavar="FILE", help="NYU, KITTI: likewise, to test on.")]
