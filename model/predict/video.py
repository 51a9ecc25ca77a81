"""Videos as frames with their times, and frames as videos: by PyAV, the extra `video`.

    with video.opened(path) as clip:
        with video.written(out, (height, width), clip) as add:
            for frame in clip:
                add(drawn(frame.rgb), frame.time)

Frames stream, so that memory does not depend on how long a video is. A frame's time is kept as the file tells it, so a
variable frame rate stays what it is, and sound is copied beside it, packet by packet.

H rows, W columns: of a frame, upright.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from david.pack.errors import DavidError, many
from david.pack.files import whole
from david.pack.raw.video import FINEST, Stream, pyav

SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv", ".flv",
            ".3gp", ".ogv", ".gif")  # fmt: skip
# Containers of moving pictures by FFmpeg's names. Not among them: playlists, which lead to other files and addresses,
# and what it takes any text or picture for.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,asf,flv,ogg,gif,nut,ivf,mxf,dv,h264,hevc,av1,m4v"
)
SOUND_IN_MP4 = {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac", "mp2"}  # what players find there
MOST_PIXELS = 2**26  # of a frame: 8,192 x 8,192
MISSING_S, MISSING = 0.5, 0.05  # a video that ends sooner than it says by this, and this share of it, was cut short
SOUND_AHEAD_S = 0.5  # sound is written so far ahead of the pictures
NO_RATE = Fraction(25)  # pictures a second, of a file that says nothing about it


@dataclass(frozen=True)
class Frame:
    """rgb: (H, W, 3) uint8, upright, sRGB; time: in ticks of the clip"""

    rgb: np.ndarray
    time: int


@dataclass(frozen=True)
class Clip:
    """A video that is open. rate: frames a second, on average; tick: seconds that times count; frames: how many there
    are, as the file says, or None; length_s: of it, or None; pixels: of a frame; most_pixels: that one may have"""

    path: Path
    rate: Fraction
    tick: Fraction
    frames: int | None
    length_s: float | None
    container: Any
    pixels: int
    most_pixels: int

    def __iter__(self) -> Iterator[Frame]:
        """Frames from the first on, once, times growing. Another size within a video is resized to the first, as FFmpeg
        does. Raises DavidError where a frame can't be decoded, none is there, or the end is missing."""
        return _frames(self)

    def near(self, times_s: list[float]) -> Iterator[Frame]:
        """For each time, in order, a frame at or before it that can be decoded without others: for a first look.
        Nothing where the file can't be moved in; ends early where it is broken."""
        av, stream = pyav(), self.container.streams.video[0]
        began = stream.start_time or 0
        with suppress(av.error.FFmpegError):
            for time_s in times_s:
                self.container.seek(began + int(time_s / stream.time_base), stream=stream, backward=True)
                for frame in self.container.decode(stream):
                    yield Frame(_upright(frame, None), frame.pts or 0)
                    break


@contextmanager
def opened(path: Path, most_pixels: int = MOST_PIXELS) -> Iterator[Clip]:
    """A video to read. Raises DavidError where it is none, holds no pictures, or declares larger ones than
    `most_pixels`."""
    with _container(path) as container:
        if not container.streams.video:
            raise DavidError(f"{path}: a file without moving pictures; expected a video")
        stream = container.streams.video[0]
        context = stream.codec_context
        if context is None or context.codec is None:
            raise DavidError(f"{path}: its pictures are in a form that this PyAV can't decode")
        _require_size(path, context.width, context.height, most_pixels)
        stream.thread_type = "AUTO"
        rate = stream.average_rate or stream.guessed_rate or NO_RATE
        yield Clip(path, Fraction(rate), Fraction(stream.time_base or FINEST), stream.frames or None,
                   _length_s(container, stream), container, context.width * context.height, most_pixels)  # fmt: skip


def _require_size(path: Path, width: int, height: int, most_pixels: int) -> None:
    if width * height > most_pixels:
        size = f"{width} x {height} pixels"
        raise DavidError(f"{path}: frames of {size}, more than {most_pixels / 1e6:,.3g} million")


def _container(path: Path) -> Any:
    av = pyav()
    try:
        return av.open(str(path.absolute()), options={"format_whitelist": CONTAINERS, "protocol_whitelist": "file"})
    except av.error.FFmpegError as error:
        if isinstance(error, OSError) and not isinstance(error, ValueError):
            path.open("rb").close()  # says it as the system does
        raise DavidError(f"{path}: not a video that FFmpeg can read ({_short(error)})") from error


def _frames(clip: Clip) -> Iterator[Frame]:
    av, stream = pyav(), clip.container.streams.video[0]
    count, last, shape, step = 0, None, None, max(1, round(1 / clip.rate / clip.tick))
    try:
        for frame in clip.container.decode(stream):
            time = frame.pts if frame.pts is not None else (0 if last is None else last + step)
            time = time if last is None else max(time, last + 1)
            _require_size(clip.path, frame.width, frame.height, clip.most_pixels)
            rgb = _upright(frame, shape)
            count, last, shape = count + 1, time, shape or (rgb.shape[0], rgb.shape[1])
            yield Frame(rgb, time)
    except av.error.FFmpegError as error:
        where = "before its first frame" if last is None else f"after {many(count, 'frame')}"
        raise DavidError(f"{clip.path}: broken {where} ({_short(error)}); was it cut short?") from error
    if last is None:
        raise DavidError(f"{clip.path}: a video without frames")
    ends_s = float((last + step - (stream.start_time or 0)) * clip.tick)
    if clip.length_s and clip.length_s - ends_s > max(MISSING_S, MISSING * clip.length_s):
        ends = f"at {ends_s:.1f} of {clip.length_s:.1f} s"
        raise DavidError(f"{clip.path}: ends after {many(count, 'frame')}, {ends}: it was cut short")


def _upright(frame: Any, shape: tuple[int, int] | None) -> np.ndarray:
    """(H, W, 3) uint8 as it is to be seen: colours by what the frame says of its own (BT.709 for what is as large as
    high definition and says nothing), turned as the file tells; of `shape` where one is given."""
    av = pyav()
    space = frame.colorspace
    if space == 2:  # not said
        space = "ITU709" if frame.height >= 720 else "ITU601"
    whole = frame.reformat(format="rgb24", src_colorspace=space)
    rgb = np.rot90(whole.to_ndarray(), round(frame.rotation / 90) % 4)  # degrees, against the clock
    if shape is not None and rgb.shape[:2] != shape:
        resized = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        rgb = resized.reformat(width=shape[1], height=shape[0]).to_ndarray()
    return np.ascontiguousarray(rgb)


def _length_s(container: Any, stream: Any) -> float | None:
    """Of the pictures; of the whole file where only they are in it; None where nothing tells."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    before_s = 0.0  # Matroska tells when the last picture ends, which is not how long they last where they begin later
    if stream.start_time and "matroska" in container.format.name:
        before_s = max(0.0, float(stream.start_time * stream.time_base))
    told = stream.metadata.get("DURATION", "").split(":")  # Matroska's: hours, minutes, seconds
    with suppress(ValueError):
        if len(told) == 3:
            return 3600 * int(told[0]) + 60 * int(told[1]) + float(told[2]) - before_s
    if container.duration and len(container.streams) == 1:
        return container.duration / 1e6 - before_s
    return None


@contextmanager
def written(
    path: Path, shape: tuple[int, int], rate: Fraction, tick: Fraction, sound_of: Path | None = None
) -> Iterator[Callable[[np.ndarray, int], None]]:
    """An MP4 of H.264, whole or absent, as a function of a frame, (H, W, 3) uint8, and its time in ticks.

    sound_of: a video whose first sound is copied beside, without encoding it anew where MP4 can hold it; other sound
    becomes AAC. It goes on to the end of the last frame."""
    av = pyav()
    with whole(path) as file, av.open(file, "w", format="mp4") as container:
        pictures = Stream(container, shape, rate, tick, same=True)
        with _sound(sound_of, container) as sound_until:
            last = 0

            def add(rgb: np.ndarray, time: int) -> None:
                nonlocal last
                last = time
                pictures.add(rgb, time)
                sound_until(float(time * tick) + SOUND_AHEAD_S)

            yield add
            pictures.end()
            sound_until(float(last * tick + 1 / rate))


@contextmanager
def _sound(path: Path | None, to: Any) -> Iterator[Callable[[float], None]]:
    """The sound of a video to a container that was not begun, as a function that writes it up to a time in seconds."""
    if path is None:
        yield lambda until_s: None
        return
    with _container(path) as source:
        if not source.streams.audio or source.streams.audio[0].codec_context is None:
            yield lambda until_s: None
            return
        stream = source.streams.audio[0]
        copies = stream.codec_context.codec.canonical_name in SOUND_IN_MP4
        target = to.add_stream_from_template(stream) if copies else to.add_stream("aac", rate=stream.rate)
        packets = _packets(source, stream, target, copies)
        waiting = next(packets, None)

        def until(time_s: float) -> None:
            nonlocal waiting
            while waiting is not None and waiting[0] <= time_s:
                to.mux(waiting[1])
                waiting = next(packets, None)

        yield until
        packets.close()
        if not copies:
            to.mux(target.encode(None))


def _packets(source: Any, stream: Any, target: Any, copies: bool) -> Generator[tuple[float, Any], None, None]:
    """Packets of sound, each with when it begins, in seconds. Sound that breaks off ends there."""
    av = pyav()
    with suppress(av.error.FFmpegError):
        for packet in source.demux(stream):
            if packet.dts is None:
                continue
            begins_s = float((packet.pts if packet.pts is not None else packet.dts) * packet.time_base)
            if copies:
                packet.stream = target
                yield begins_s, [packet]
            else:
                yield begins_s, [out for frame in packet.decode() for out in target.encode(frame)]


def _short(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).splitlines()[0]
