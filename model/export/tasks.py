"""What an exported file may say, and how it may be written. Without torch: a wrong choice is refused at once."""

from collections.abc import Sequence
from typing import Literal, get_args

from david.pack.errors import DavidError

Task = Literal["multi", "depth", "normals", "alpha", "metric_depth", "disparity"]
Precision = Literal["fp32", "fp16"]
Format = Literal["onnx", "pt2"]
TASKS: dict[Task, tuple[str, ...]] = {  # the heads whose outputs a file has, in its order
    "multi": ("depth", "normals", "alpha"),
    "depth": ("depth",),
    "normals": ("normals",),
    "alpha": ("alpha",),
    "metric_depth": ("metric_depth",),
    "disparity": ("disparity",),
}
# Of the side in pixels: DAViD's smallest map has a pixel for so many of the image's, each way; DINOv2 has patches.
DEEPEST_MULTIPLE, PATCH = 16, 14
LARGEST_SIDE = 4096
USUAL = 512


def require(task: str | None, precision: str, form: str, size: int | None) -> None:
    """Raise DavidError where such a file cannot be, whatever the network."""
    for name, value, choices in (("task", task, TASKS), ("precision", precision, get_args(Precision))):
        if value is not None and value not in choices:
            raise DavidError(f"--{name} {value}: there are {', '.join(choices)}")
    if form not in get_args(Format):
        raise DavidError(f"--format {form}: there are {', '.join(get_args(Format))}")
    if precision == "fp16" and form != "onnx":
        raise DavidError(f"--precision fp16: of ONNX files only; leave it out for --format {form}")
    if size is not None and not any(_fits(size, multiple) for multiple in (DEEPEST_MULTIPLE, PATCH)):
        raise _refusal(size, DEEPEST_MULTIPLE)


def side(size: int | None, published: int | None, patches: bool) -> int:
    """Of the square that a network's file sees: `size`, or what is usual for it. published: the side that its published
    weights were trained at; patches: whether it sees patches of 14 pixels. Raises DavidError where it can't be."""
    multiple = PATCH if patches else DEEPEST_MULTIPLE
    size = size if size is not None else (published or USUAL)
    if not _fits(size, multiple):
        raise _refusal(size, multiple)
    return size


def _fits(size: int, multiple: int) -> bool:
    return multiple <= size <= LARGEST_SIDE and size % multiple == 0


def _refusal(size: int, multiple: int) -> DavidError:
    most = LARGEST_SIDE // multiple * multiple
    return DavidError(f"--size {size}: expected a multiple of {multiple} from {multiple} to {most} pixels")


def chosen(task: str | None, heads: Sequence[str]) -> Task:
    """The task of a network with these heads: as it is named, else all three or the only one that there is.

    Raises DavidError where the network lacks a head for it, or where there is a choice and none was made."""
    if task is None:
        fitting: list[Task] = [name for name, needed in TASKS.items() if set(needed) <= set(heads)]
        if not fitting or (len(fitting) > 1 and fitting[0] != "multi"):
            raise DavidError(
                f"the network's heads are {', '.join(heads)}; expected depth, normals and alpha, or one of them: "
                + (f"choose by --task {' or '.join(fitting)}" if fitting else "no file of this kind can be made of it")
            )
        return fitting[0]
    if missing := [name for name in TASKS[task] if name not in heads]:  # type: ignore[index]  # `require` looked
        raise DavidError(f"--task {task}: the network has no head {', '.join(missing)}, only {', '.join(heads)}")
    return task  # type: ignore[return-value]
