"""Float32 channels of an OpenEXR file held in memory."""

import io

import numpy as np
import OpenEXR

from david.pack.archive import Member
from david.pack.errors import BadSample


def decode(member: Member, data: bytes, channels: tuple[str, ...]) -> list[np.ndarray]:
    """The named channels, each (H, W) float32. Raises BadSample where the file is no such EXR.

    One thread: packing runs one process a core."""
    where = f"{member.archive}, {member.name}"
    try:
        file = OpenEXR.File(io.BytesIO(data), separate_channels=True, num_threads=0)
        found = file.channels()
    except (RuntimeError, ValueError, TypeError) as error:
        raise BadSample(where, f"no EXR that can be decoded: {error}") from error
    pixels = {name: found[name].pixels for name in found}
    if set(pixels) != set(channels) or any(plane.dtype != np.float32 or plane.ndim != 2 for plane in pixels.values()):
        told = ", ".join(f"{name} {plane.dtype}" for name, plane in pixels.items())
        raise BadSample(where, f"expected float32 channels {', '.join(channels)}, found {told}")
    return [pixels[name] for name in channels]
