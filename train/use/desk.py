"""What the page of `david demo` does with a picture: read, predicted, drawn and written to a folder of its own.

Knows nothing of Gradio. H rows, W columns.
"""

import shutil
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np

from david.model.predict import clips, drawing, outputs, pictures, points, video
from david.model.predict.clips import Filming, Unfinished
from david.model.predict.fields import FIELDS, Fields, depth_of
from david.model.predict.inputs import VIDEO, Input
from david.model.predict.outputs import Look, Shot
from david.model.predict.points import Camera
from david.model.predict.predictor import Predictor
from david.model.predict.runner import Job
from david.pack.errors import DavidError, many
from david.pack.files import write_whole

MOST_MEGAPIXELS = 25.0  # of a picture: memory goes with it, about 100 bytes a pixel
LONGEST_SHOWN = 1600  # pixels of a side on the page; files hold all of them
MOST_POINTS = 300_000  # that a browser turns without a stutter; the file to download has all
MOST_FRAMES = 1800  # of a clip: a minute
KEPT = 8  # results, the newest, whose files stay
SHOWN = "shown"  # the folder in a result's of what the page shows
VIEW_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92]
TO_VIEWER_AXES = np.array([1, -1, -1], np.float32)  # Y down and Z away to Y up and Z towards who looks


@dataclass(frozen=True)
class Answer:
    """What the page shows of one picture. input: the picture itself; views: of each field that the predictor says, a
    picture of the same size; cloud: points to turn, None where there are none; files: to download; told: a sentence"""

    input: Path
    views: dict[str, Path]
    cloud: Path | None
    files: list[Path]
    told: str


class Desk:
    """A predictor at work for a page, one picture after the other, in a folder that is there meanwhile. The one above
    holds nothing but it and what is uploaded: what is old there is taken away."""

    def __init__(self, predictor: Predictor, folder: Path, most_megapixels: float = MOST_MEGAPIXELS):
        self.predictor, self.folder = predictor, folder
        self.most_pixels = round(most_megapixels * 1e6)
        self.stopping = threading.Event()  # a clip under way ends
        self._results: deque[Path] = deque()
        self._number = 0

    @property
    def views(self) -> list[str]:
        """The names of what can be laid over a picture, in the order of `FIELDS`, and a cut-out where alpha is said."""
        shown = [name for name in FIELDS if name in self.predictor.fields]
        return [*shown, *(["cut-out"] if "alpha" in shown else [])]

    @property
    def has_cloud(self) -> bool:
        return depth_of(self.predictor.fields) is not None

    def picture(self, path: Path, name: str, fov_degrees: float, kinds: Sequence[str]) -> Answer:
        """Everything of one picture. path: of what was uploaded; name: its own; kinds: what can be downloaded, of
        `outputs.KINDS`. Raises DavidError with a sentence for who uploaded it."""
        camera = Camera(fov_degrees)
        data = pictures.contents(path)
        rgb = pictures.decode(name, data, self.most_pixels)
        begun = perf_counter()
        try:
            fields = self.predictor.predict(rgb)
        except DavidError as error:  # of its shape
            raise DavidError(f"{name}: {error}") from error
        told = f"{name}: {rgb.shape[1]} x {rgb.shape[0]} pixels, predicted in {perf_counter() - begun:.2f} s"
        shot = Shot(rgb, fields, Look(camera=camera))
        folder = self._room()
        stem = _stem(name)
        shown = folder / SHOWN  # apart, since names of uploads are anybody's
        shown.mkdir()
        views = {view: self._view(shown / view, _drawn(view, rgb, fields)) for view in self.views}
        cloud = None
        if self.has_cloud:
            found = points.points(rgb, fields, camera, MOST_POINTS)
            if len(found.xyz):
                cloud = shown / "points.ply"
                write_whole(cloud, for_viewer(found))
            else:
                told += "; no pixel is foreground (alpha above 0.5), so there are no points"
        files = []
        for kind in kinds:
            one = outputs.KINDS[kind]
            files.append(folder / f"{stem}{one.ending}")
            write_whole(files[-1], one.write(shot))
        return Answer(self._view(shown / "input", rgb), views, cloud, files, told)

    def clip(self, path: Path, name: str, steady: bool, tell: Callable[[int, int | None], Any]) -> tuple[Path, str]:
        """A video beside what the network says of its frames, as a video, and a sentence about it; where a file is
        longer than `MOST_FRAMES`, of these. tell: called with frames done, and in all or None. Raises DavidError for
        who uploaded it."""
        try:
            with video.opened(path, self.most_pixels):
                folder, stem = self._room(), _stem(name)
            job = Job(self.predictor, folder, ("picture",))
            filming = Filming(steady, MOST_FRAMES, self.stopping.is_set)
            outcome = clips.predict(job, Input(name, path, VIDEO, stem), filming, tell)
        except Unfinished as error:
            raise DavidError(f"{name}: stopped, as the page ends") from error
        except DavidError as error:
            raise DavidError(str(error).replace(str(path), name)) from error
        if outcome.error:
            raise DavidError(outcome.error.replace(str(path), name))
        told = f"{name}: {many(outcome.facts['frames'], 'frame')}"
        if outcome.facts["frames"] == MOST_FRAMES:
            told += ", the most that this page takes; david predict takes a whole video"
        return folder / (stem + clips.SHOWN), told

    def kinds(self) -> list[str]:
        """The files that this predictor's answers can be saved as."""
        return outputs.possible(self.predictor.fields)

    def _room(self) -> Path:
        """A new folder; of the oldest results one goes."""
        self._number += 1
        folder = self.folder / f"result-{self._number:06d}"
        folder.mkdir(parents=True)
        self._results.append(folder)
        while len(self._results) > KEPT:
            shutil.rmtree(self._results.popleft(), ignore_errors=True)
        return folder

    @staticmethod
    def _view(path: Path, picture: np.ndarray) -> Path:
        """A picture for the page as a JPEG, shrunk where it is large."""
        shrink = LONGEST_SHOWN / max(picture.shape[:2])
        if shrink < 1:
            size = [max(1, round(side * shrink)) for side in picture.shape[1::-1]]
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        file = path.with_suffix(".jpg")
        write_whole(file, cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), VIEW_JPEG)[1].tobytes())
        return file


def _drawn(view: str, rgb: np.ndarray, fields: Fields) -> np.ndarray:
    if view != "cut-out":
        return drawing.draw(fields, view)
    alpha = fields["alpha"][..., None]
    return np.rint(rgb * alpha + np.float32(255) * (1 - alpha)).astype(np.uint8)


def for_viewer(cloud: points.Points) -> bytes:
    """A PLY file of a cloud around the origin as viewers have their axes, X right, Y up, Z towards who looks."""
    xyz = cloud.xyz * TO_VIEWER_AXES
    return points.ply(points.Points(xyz - (xyz.min(axis=0) + xyz.max(axis=0)) / 2, cloud.rgb, metric=cloud.metric))


def _stem(name: str) -> str:
    """Of a file's name, as far as it is safe in another's."""
    kept = "".join(one if one.isalnum() or one in "-_" else "-" for one in Path(name).stem)[:60].strip("-")
    return kept or "picture"
