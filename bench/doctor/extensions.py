"""david's own C code, and the libraries that it calls in place: each is asked for something known."""

import numpy as np

from david.bench.doctor.check import Asked, Said
from david.bench.doctor.machine import INSTALL

SLOWER = "david reads all the same, and slower: pip install -c constraints.txt --force-reinstall {}"


def codecs(asked: Asked) -> Said:
    """pack/shards/_codecs: normals to codes; NumPy's own decoder reads them back."""
    from david.pack.shards import codecs

    rng = np.random.default_rng(0)
    normals = rng.normal(size=(48, 36, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    planes = codecs.split_normals(normals, np.ones((48, 36), bool))
    worst = float(codecs.angle_degrees(codecs.join_normals(planes).astype(np.float32), normals).max())
    depth = rng.uniform(0.9, 1.1, (48, 36)).astype(np.float32)
    relative, offset, scale = codecs.normalise_depth(depth, np.ones((48, 36), bool))
    error = float(np.abs(relative.astype(np.float64) * scale + offset - depth).max())
    if not (worst < 0.1 and error < 1e-3):
        raise RuntimeError(f"normals come back {worst:.2f} degrees off, depth {1000 * error:.2f} mm")
    return Said("works")


def members(asked: Asked) -> Said:
    """pipeline/reading/_members: what it inflates are the bytes that were packed."""
    from david.pack.shards import codecs
    from david.pipeline.reading import members

    planes = (np.arange(3 * 200 * 150) // 89 % 251).astype(np.uint8).reshape(3, 200, 150)
    out = np.zeros_like(planes)
    member = memoryview(codecs.encode_planes(planes, "lz4"))
    members.inflate({"depth": member}, "lz4", {"depth": out}, "a drawn sample")
    if not np.array_equal(out, planes):
        raise RuntimeError("planes of LZ4 come back with other bytes")
    return Said("works")


def planes(asked: Asked) -> Said:
    """pipeline/engines/_planes: what lies within a sample that is placed beside the middle of a larger frame."""
    from david.pipeline.engines import planes
    from david.pipeline.sampling import draws, placement

    placed = placement.place(draws.none(1), 0, (40, 30), (64, 48), "contain")
    inside = planes.within(placed)
    (xx, xy, x0), (yx, yy, y0) = placed.where().tolist()
    y, x = np.mgrid[:64, :48]
    rows, columns = (yx * x + yy * y + y0) // placement.ONE, (xx * x + xy * y + x0) // placement.ONE
    if not np.array_equal(inside, (rows >= 0) & (rows < 40) & (columns >= 0) & (columns < 30)):
        raise RuntimeError("it places pixels elsewhere than NumPy does")
    return Said("works")


def xxhash(asked: Asked) -> Said:
    from david.pipeline.reading import members

    return _in_place("xxhash", bool(members.XXH3), "a sample's hashes are checked in one call, outside Python's lock")


def lz4(asked: Asked) -> Said:
    from david.pipeline.reading import members

    return _in_place("lz4", bool(members.LZ4), "a sample's blocks are inflated in one call, outside Python's lock")


def _in_place(package: str, fast: bool, told: str) -> Said:
    if fast:
        return Said(f"the fast way: {told}")
    return Said(f"the slow way: this build of {package} hides its C function", SLOWER.format(package), ok=False)


BROKEN = f"build david's C code again, which needs a C compiler: {INSTALL}"
