"""Raw files, unzipped: PNG by OpenCV and EXR by OpenEXR in the workers of PyTorch's DataLoader, as trainers without a
format of their own do it."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import OpenEXR
import torch
from torch.utils.data import DataLoader, Dataset

from david.bench.peers import endless
from david.pack.raw import archive
from david.pack.sources import synthhuman


def prepare(raw: Path, samples: int, folder: Path) -> int:
    for kinds in islice(synthhuman.scan(raw).values(), samples):
        for member in kinds.values():
            (folder / Path(member.name).name).write_bytes(archive.read(member))
    return sum(path.stat().st_size for path in folder.iterdir())


class Files(Dataset):
    def __init__(self, folder: Path):
        self.keys = sorted(path.stem.removeprefix("rgb_") for path in folder.glob("rgb_*.png"))
        self.folder = folder

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        cv2.setNumThreads(0)
        key = self.keys[number]
        bgr = cv2.imread(str(self.folder / f"rgb_{key}.png"))
        alpha = cv2.imread(str(self.folder / f"alpha_{key}.png"), cv2.IMREAD_GRAYSCALE)
        assert bgr is not None and alpha is not None
        depth_cm = self._exr(f"depth_{key}.exr")["Y"].pixels
        channels = self._exr(f"normal_{key}.exr")
        normals = np.stack([channels[name].pixels for name in "BGR"]).astype(np.float16)
        valid = depth_cm < 65504
        near, far = depth_cm[valid].min(), depth_cm[valid].max()
        depth = np.where(valid, (depth_cm - (near + far) / 2) / ((far - near) / 2), 0).astype(np.float16)
        image = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        fields = {"image": image, "alpha": alpha, "depth": depth, "valid": valid, "normals": normals * valid}
        if np.random.random() < 0.5:
            fields = {name: field[:, ::-1] if name == "image" else field[..., ::-1] for name, field in fields.items()}
            fields["normals"] = fields["normals"] * np.array([-1, 1, 1], np.float16)[:, None, None]
        return {name: torch.from_numpy(np.ascontiguousarray(field)) for name, field in fields.items()}

    def _exr(self, name: str) -> Any:
        return OpenEXR.File(str(self.folder / name), separate_channels=True).channels()


@contextmanager
def batches(folder: Path, batch_size: int, workers: int) -> Iterator[Iterator[Any]]:
    loader = DataLoader(
        Files(folder), batch_size, shuffle=True, num_workers=workers, persistent_workers=True, drop_last=True
    )
    yield endless(loader)
