"""Videos to write, by PyAV: an H.264 stream that plays everywhere. Needs the extra `video`.

H rows, W columns; B, G, R are not used here: pictures are RGB.
"""

from fractions import Fraction
from typing import Any

import numpy as np

from david.pack.errors import DavidError

INSTALL = 'pip install -c constraints.txt -e ".[video]"'
FINEST = Fraction(1, 90_000)  # seconds; a clock's tick where a video names none
_EVEN = 2  # pixels: what H.264's halved colours need of both sides


def pyav() -> Any:
    """PyAV. Raises DavidError where it is not installed."""
    try:
        import av
        import av.error
    except ImportError as error:
        raise DavidError(f"videos need PyAV, which is not installed: {INSTALL}") from error
    return av


class Stream:
    """Pictures to an H.264 stream of an open PyAV container, each at its own time.

    rate: pictures a second, for players that ask; tick: the seconds that times count; crf: x264's, 0 lossless to 51;
    threads: of the encoder, 0 for as many as it likes, on which its bytes depend; same: without x264's tree of
    macroblocks, which saves bits and gives small pictures other bytes each time"""

    def __init__(
        self,
        container: Any,
        shape: tuple[int, int],
        rate: Fraction,
        tick: Fraction | None = None,
        crf: int = 18,
        threads: int = 0,
        same: bool = False,
    ):
        self.container, self.shape, self.tick = container, shape, tick or 1 / rate
        height, width = (side + side % _EVEN for side in shape)
        options = {"crf": str(crf), **({"x264-params": "mbtree=0"} if same else {})}
        self.stream = container.add_stream("libx264", rate=rate, options=options)
        context = self.stream.codec_context
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base, context.thread_count = self.tick, threads
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 1, 1, 1, 1  # BT.709

    def add(self, rgb: np.ndarray, time: int) -> None:
        """rgb: (H, W, 3) uint8; time: in ticks, later than the one before. An odd side is a pixel longer in the video,
        its last row or column shown twice."""
        av = pyav()
        odd = [(0, side % _EVEN) for side in self.shape]
        picture = np.pad(rgb, (*odd, (0, 0)), mode="edge") if any(after for _, after in odd) else rgb
        whole = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame = whole.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        frame.pts, frame.time_base = time, self.tick
        self.container.mux(self.stream.encode(frame))

    def end(self) -> None:
        """What the encoder still holds; once, after the last picture."""
        self.container.mux(self.stream.encode(None))
