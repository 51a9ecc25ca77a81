"""`david synth OUT --sequence N`: a clip of one person who moves, as a real camera films it, with the exact truth.

One arm swings, the head turns, rests and turns back; all else stands still, as do camera, light and background. Frame
i shows the time i / fps. What is filmed differs from what is drawn as a camera's pictures do, which makes networks that
see one frame at a time flicker: its exposure wanders a little, its sensor counts photons, and `clip.mp4` is compressed.
Depth, normals and alpha stay those of what is drawn.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from math import pi, sin
from pathlib import Path

import cv2
import numpy as np

from david.pack.errors import DavidError
from david.pack.files import whole
from david.pack.raw import video
from david.pack.shards.sample import Sample
from david.pack.shards.schema import SCENARIOS
from david.pack.synth import layout, paint
from david.pack.synth.figure import LEFT, RIGHT
from david.pack.synth.poses import Arm, Pose
from david.pack.synth.scene import render

CLIP = "clip.mp4"
PERSON = 2**32  # the index, beyond all that a data set has, whose person, camera and light a sequence shows
TAKE = ("upper_body", "full_body", "face")  # how seeds are framed, in turn
WANDER, JUMP = 0.03, 0.008  # of the exposure, as shares: slowly over seconds, and from frame to frame
WELL, READ = 2500.0, 6.0  # electrons of white, and the spread of what reading them adds: a phone's, indoors
CLIP_CRF = 23  # as a phone compresses


@dataclass(frozen=True)
class Motion:
    """side: the arm that swings; out, bend: how far, degrees, away from the body and at the elbow; yaw, pitch: how far
    the head turns, degrees; arm_s, head_s: how long both take to be back"""

    side: float
    out: float
    bend: float
    yaw: float
    pitch: float
    arm_s: float
    head_s: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Motion":
        return cls(
            side=float(rng.choice([LEFT, RIGHT])),
            out=rng.uniform(6, 12),
            bend=rng.uniform(12, 30),
            yaw=rng.uniform(16, 30) * rng.choice([-1, 1]),
            pitch=rng.uniform(-6, 6),
            arm_s=rng.uniform(1.8, 3.0),
            head_s=rng.uniform(3.0, 5.0),
        )

    def at(self, time_s: float, pose: Pose) -> Pose:
        """The pose at a time; at 0 it is the one given."""
        swing = sin(2 * pi * time_s / self.arm_s)
        arm = pose.arms[self.side]
        moved = Arm(arm.out + self.out * swing, arm.front, max(arm.bend + self.bend * swing, 2.0), arm.twist)
        turned = _turn_and_rest(time_s / self.head_s)
        pitch, yaw, roll = pose.head
        away = -1.0 if yaw * self.yaw > 0 else 1.0  # to the other side, so that no head turns round
        head = (pitch + self.pitch * turned, yaw + away * self.yaw * turned, roll)
        return replace(pose, head=head, arms=pose.arms | {self.side: moved})


def _turn_and_rest(turns: float) -> float:
    """0 to 1 and back once a turn: at rest a quarter of the time at either end, smooth between."""
    linear = min(max(0.75 * sin(2 * pi * (turns - 0.25)) + 0.5, 0.0), 1.0)
    return linear * linear * (3 - 2 * linear)


def frame(seed: int, index: int, fps: float = 24.0, height: int = 512, width: int = 384) -> Sample:
    """A frame of the sequence of a seed; depends on its arguments alone."""
    motion = Motion.draw(_rng(seed, 0))
    moved = partial(motion.at, index / fps)
    sample = render(seed, PERSON, TAKE[seed % len(TAKE)], height, width, moved)
    return replace(sample, key=f"{index:07d}", rgb=filmed(sample.rgb, seed, index, fps))


def filmed(rgb: np.ndarray, seed: int, index: int, fps: float) -> np.ndarray:
    """(H, W, 3) uint8 as a camera takes it at frame `index`: exposed a little otherwise, with the noise of its photons,
    whose variance is their number (Foi et al., IEEE TIP 2008), and of reading them."""
    rng = _rng(seed, index + 1)
    wander = sin(2 * pi * index / fps / 3.7) + 0.5 * sin(2 * pi * index / fps / 1.3)
    exposure = 1 + WANDER * wander + JUMP * float(rng.standard_normal())
    light = paint.to_linear(rgb.astype(np.float32) / 255) * np.float32(exposure)
    spread = np.sqrt(light / np.float32(WELL) + np.float32((READ / WELL) ** 2))
    light += spread * rng.standard_normal(rgb.shape, dtype=np.float32)
    return cv2.convertScaleAbs(paint.to_display(light), alpha=255)


def _rng(seed: int, stream: int) -> np.random.Generator:
    """A stream of a sequence's chance; none is that of a person, see `scene.render`."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, 2**63 + stream], dtype=np.uint64)))


def _make(seed: int, fps: float, shape: tuple[int, int], index: int) -> dict[str, bytes]:
    return layout.encode(frame(seed, index, fps, *shape))


def write(
    out: Path,
    frames: int,
    fps: float = 24.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
    shape: tuple[int, int] = (512, 384),
    clip: bool = True,
) -> None:
    """Write the frames into one zip of SynthHuman's layout under `out`, ids by time, and, where `clip`, `clip.mp4`
    beside it, which needs PyAV; `progress` is called with (done, total).

    shape: H, W of a frame; workers: as in `layout.made`. Raises DavidError where `out` holds other zips."""
    if frames < 1 or not 1 <= fps <= 1000:
        raise DavidError(f"{frames} frames at {fps:g} a second: expected at least one, at 1 to 1,000 a second")
    layout.require_seed(seed)
    path = layout.zip_path(out, 0)
    layout.require_no_other(out, [path])
    if clip:
        video.pyav()
    out.mkdir(parents=True, exist_ok=True)
    last = SCENARIOS.index(TAKE[seed % len(TAKE)])
    ends = tuple(0 if place < last else frames for place in range(len(SCENARIOS)))
    made = layout.made(partial(_make, seed, fps, shape), frames, workers)
    with layout.zipped(path, ends) as add, _clip(out / CLIP, fps, shape) if clip else nullcontext() as show:
        for index, members in enumerate(made):
            add(members)
            if show is not None:
                png = np.frombuffer(members[f"rgb_{index:07d}.png"], np.uint8)
                show(np.asarray(cv2.imdecode(png, cv2.IMREAD_COLOR_RGB)), index)
            if progress is not None:
                progress(index + 1, frames)


@contextmanager
def _clip(path: Path, fps: float, shape: tuple[int, int]) -> Iterator[Callable[[np.ndarray, int], None]]:
    """The video at `path`, whole or absent, as a function of a picture and its number; the same bytes every time."""
    av = video.pyav()
    rate = Fraction(fps).limit_denominator(1001)
    with whole(path) as file, av.open(file, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        stream = video.Stream(container, shape, rate, crf=CLIP_CRF, threads=1)
        yield stream.add
        stream.end()
