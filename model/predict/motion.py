"""Where each pixel of a frame was in the frame before, and how far that can be believed.

H rows, W columns. Flow is that of "Fast Optical Flow using Dense Inverse Search" (Kroeger et al., ECCV 2016), as OpenCV
has it. A vector is believed where the way back ends where it began (Sundaram et al., ECCV 2010, eq. 5), and where both
frames show the same there, but for the exposure.
"""

from dataclasses import dataclass

import cv2
import numpy as np

BLUR = 1.2  # pixels: frames are compared without most of their noise
NOISE_FLOOR = 0.6  # of 255: below it a difference tells nothing, in frames without noise either
SAME = 3.0  # times the noise, where the belief in a difference has fallen to 0.6
STILL_PX = 0.5  # flow that noise makes where nothing moves
MAD = 1.4826  # of a normal distribution, from the median of the absolute values to the standard deviation
_DARK = 12.0  # of 255; ratios of darker pixels tell nothing about the exposure


@dataclass(frozen=True)
class Motion:
    """flow: (H, W, 2) float32, x and y in pixels, from here to the frame before; exactly 0 where nothing moved
    belief: (H, W) float32, 0 .. 1; still: (H, W) bool, where nothing moved"""

    flow: np.ndarray
    belief: np.ndarray
    still: np.ndarray

    def before(self, values: np.ndarray) -> np.ndarray:
        """(H, W) or (H, W, C) float32 of the frame before, where this frame's pixels were then; linear between them."""
        return warped(values, self.flow)


def seen(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 to (H, W) uint8, what motion is looked for in."""
    return cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), (0, 0), BLUR)


def between(now: np.ndarray, then: np.ndarray) -> Motion:
    """The motion from one frame to the next, of what `seen` gave of both."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    flow, back = search.calc(now, then, None), search.calc(then, now, None)  # type: ignore[call-overload]
    new, old = now.astype(np.float32), then.astype(np.float32)
    gain = _gain(new, warped(old, flow))
    at_rest = cv2.blur(np.abs(new - gain * old), (5, 5))
    noise = max(MAD * float(np.median(np.abs(new - gain * warped(old, flow)))), NOISE_FLOOR)
    still = (np.linalg.norm(flow, axis=-1) < STILL_PX) & (at_rest < 2 * noise)
    flow[still] = 0
    round_trip = flow + warped(back, flow)
    square = (flow * flow).sum(-1) + (warped(back, flow) ** 2).sum(-1)
    returns = (round_trip * round_trip).sum(-1) < 0.01 * square + 0.5
    apart = np.maximum(cv2.blur(np.abs(new - gain * warped(old, flow)), (3, 3)) - noise, 0)
    belief = np.exp(-0.5 * (apart / np.float32(SAME * noise)) ** 2) * (returns | still) * _inside(flow)
    return Motion(flow, belief.astype(np.float32), still)


def warped(values: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """values at each pixel's place plus its flow; beyond the border, the border's."""
    x, y = _places(flow)
    return cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _places(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    height, width = flow.shape[:2]
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    return flow[..., 0] + x, flow[..., 1] + y


def _inside(flow: np.ndarray) -> np.ndarray:
    height, width = flow.shape[:2]
    x, y = _places(flow)
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def _gain(new: np.ndarray, old: np.ndarray) -> np.float32:
    """How much brighter a frame is than the one before."""
    lit = (old > _DARK) & (old < 243) & (new < 243)
    return np.float32(np.median(new[lit] / old[lit])) if lit.any() else np.float32(1)
