"""Pictures of every format that is promised are read, by whichever reader knows them."""

import io

import numpy as np
import pytest
from PIL import Image

from david.model.predict import pictures


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "MPO", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM"])
def test_a_picture_is_read_whatever_its_format(kind: str) -> None:
    rgb = np.full((30, 40, 3), (200, 100, 10), np.uint8)
    data = io.BytesIO()
    more = {"save_all": True, "append_images": [Image.new("RGB", (40, 30))]} if kind == "MPO" else {}
    Image.fromarray(rgb).save(data, kind, **more)
    read = pictures.decode("picture", data.getvalue())
    assert read.shape == rgb.shape and np.abs(read.astype(int) - rgb).max() <= 8
