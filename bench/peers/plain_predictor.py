"""Pictures predicted by a plain loop that does as the official demo does: read, pad, resize, run, resize back, draw,
write, one after the other, with OpenCV, NumPy and onnxruntime on an ONNX file of the official contract.

It writes what `david predict` writes, `picture`, `depth`, `normals` and `alpha`. Legend: H rows, W columns.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

DARK = (24, 26, 31)  # what is not drawn, R, G, B
SAVES = ("picture", "depth", "normals", "alpha")


class PlainPredictor:
    """file: of the multi-task contract; threads: of onnxruntime and of OpenCV"""

    def __init__(self, file: Path, threads: int):
        import onnxruntime

        cv2.setNumThreads(threads)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session: Any = onnxruntime.InferenceSession(file, options, ["CPUExecutionProvider"])
        seen = self.session.get_inputs()[0]
        self.name, self.side = seen.name, seen.shape[2]

    def predict(self, bgr: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Depth (H, W), normals (H, W, 3) and the foreground's probability (H, W) of a picture, (H, W, 3) uint8."""
        height, width = bgr.shape[:2]
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        image = cv2.copyMakeBorder(bgr, top, side - height - top, left, side - width - left, cv2.BORDER_REPLICATE)
        while max(image.shape[:2]) > 1536:
            image = cv2.pyrDown(image)
        image = cv2.resize(image, (self.side, self.side), interpolation=cv2.INTER_LINEAR)
        tensor = (image.astype(np.float32) / 255).transpose(2, 0, 1)[None]
        depth, normals, alpha = self.session.run(None, {self.name: np.ascontiguousarray(tensor)})

        def back(said: np.ndarray) -> np.ndarray:
            return cv2.resize(said, (side, side), interpolation=cv2.INTER_CUBIC)[
                top : top + height, left : left + width
            ]

        unit = back(np.ascontiguousarray(normals[0].transpose(1, 2, 0)))
        unit = unit / np.maximum(np.linalg.norm(unit, axis=-1, keepdims=True), 1e-6)
        return back(depth[0]), unit, np.clip(back(alpha[0, 0]), 0, 1)

    def write(self, path: Path, out: Path, saves: Sequence[str]) -> None:
        """Read a picture, predict it, and write what is asked for."""
        bgr = cv2.imread(str(path))
        assert bgr is not None, path
        depth, normals, alpha = self.predict(bgr)
        if "picture" in saves:
            sheet = np.hstack(
                [bgr[..., ::-1], draw_depth(depth, alpha), draw_normals(normals, alpha), draw_alpha(alpha)]
            )
            how = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
            cv2.imwrite(str(out / f"{path.stem}_picture.jpg"), sheet[..., ::-1], how)
        if "depth" in saves:
            share = (depth - depth.min()) / (depth.max() - depth.min())
            cv2.imwrite(str(out / f"{path.stem}_depth.png"), np.round(share * 65535).astype(np.uint16))
        if "normals" in saves:
            drawn = np.round(normals * 127.5 + 127.5).clip(0, 255).astype(np.uint8)
            cv2.imwrite(str(out / f"{path.stem}_normals.png"), drawn[..., ::-1])
        if "alpha" in saves:
            cv2.imwrite(str(out / f"{path.stem}_alpha.png"), np.round(alpha * 255).astype(np.uint8))


def draw_depth(depth: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Near is warm, the range that of the foreground but for 0.5 % at each end, of a million pixels at most."""
    step = max(1, round((depth.size / (1 << 20)) ** 0.5))
    some, inside = depth[::step, ::step], alpha[::step, ::step] > 0.5
    near, far = np.quantile(some[inside], (0.005, 0.995)) if inside.any() else (0.0, 0.0)
    warmth = np.clip((far - depth) / max(far - near, 1e-6), 0, 1)
    drawn = cv2.applyColorMap(np.round(warmth * 255).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where(alpha[..., None] > 0.5, drawn, np.array(DARK, np.uint8))


def draw_normals(normals: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    drawn = np.round(normals * 127.5 + 127.5).clip(0, 255).astype(np.uint8)
    return np.where(alpha[..., None] > 0.5, drawn, np.array(DARK, np.uint8))


def draw_alpha(alpha: np.ndarray) -> np.ndarray:
    return np.repeat(np.round(alpha * 255).astype(np.uint8)[..., None], 3, axis=-1)
