"""The shard format, version 1: enough for someone else to write a reader.

A **shard set** is a folder::

    dataset.json                     the manifest (see `manifest.py`), written last
    train-000000.tar  .idx           samples in order; the index is DALI's (`v1.2`)
    val-000000.tar    .idx

A **shard** is an uncompressed USTAR archive. A sample is five members that stand side by side in this order, named
`KEY.EXTENSION`; KEY is the sample's id in its source and holds no dot and no slash:

| member                      | holds                                                                                |
|-----------------------------|--------------------------------------------------------------------------------------|
| `rgb.jpg` or `rgb.webp`     | (H, W, 3) sRGB: JPEG 4:4:4 quality 95 (default), or lossless WebP                    |
| `alpha.lz4` or `alpha.zst`  | 1 plane: soft foreground, 0 .. 255                                                   |
| `depth.lz4` or `depth.zst`  | 2 planes: high byte, then low byte, of float16 relative depth; NaN where invalid     |
| `normals.lz4` or `.zst`     | 3 planes: octahedral codes u, v of 12 bits each (below); 4095, 4095 where invalid    |
| `json`                      | `id`, `height`, `width`, `depth_offset_cm`, `depth_scale_cm`, `intrinsics` (3 x 3, in|
|                             | pixels, or null), `scenario` (or null), `source` (archive, members and their CRC-32) |

One shard set uses one image codec and one compression for all its samples. A member's tar header names `xxh3` as its
owner and the XXH3-64 of its data (16 hex digits) as its group, so that each sample can be checked by itself, in a
hundredth of the time that decoding it takes; times, modes and numeric ids are constant, so a header depends on name and
data alone.

**Planes.** A plane is (H, W) uint8, row-major. A member's planes are joined, zero-padded to a multiple of 65,536
bytes, cut into blocks of 65,536, and each block is compressed by itself (LZ4 block format without a size, or one
Zstandard frame). The member is n little-endian uint32 sizes, then the n compressed blocks; n follows from H, W and
the number of planes. Blocks of equal size inflate side by side on a GPU (nvCOMP, DALI's `decoders.inflate`) and
stay in a CPU's cache; at 384 x 512 a plane is exactly three of them.

**Depth.** `depth_cm = relative * depth_scale_cm + depth_offset_cm` along the optical axis, growing with distance.
Offset and scale are the middle and the half range of the valid pixels, so relative depth spans [-1, 1]. A sample
without a valid pixel is refused. `valid` is "the stored float16 is not NaN": validity is exact.

**Normals.** Unit vectors, X right, Y up, Z towards the camera. Octahedral map (Cigolle et al., "A Survey of Efficient
Representations for Independent Unit Vectors", JCGT 2014): p = (x, y) / (|x| + |y| + |z|); where z < 0,
p = (1 - |p_yx|) * sign(p_xy). Codes are u = round(2047 p_x) + 2047 and v alike, 0 .. 4094, so that 2047 is exactly 0
and a mirror image is u -> 4094 - u. Planes: `(u >> 8) << 4 | v >> 8`, `u & 255`, `v & 255`. The largest error is 0.06
degrees. Codes of 4095, 4095, which no normal has, say that there is none: all 24 bits of such a pixel are set, so a
reader looks for them before it mirrors. `normals_valid` is "`valid`, and the codes are not 4095, 4095": exact as well,
and right for sets packed before normals had a mask of their own, where they are 2047, 2047 wherever depth is invalid.

Why these codecs (real SynthHuman faces, one core): JPEG 4:4:4 at quality 95 is 46 dB in 44 kB, 0.8 ms to decode, and
the only one with a hardware decoder; LZ4 decodes three times as fast as Zstandard for 6 % more bytes; the smooth top
bits of the normals in a plane of their own save 9 % over high bytes and nibbles.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

VERSION = 1
BLOCK_BYTES = 65_536
SCENARIOS = ("face", "full_body", "upper_body")
SPLITS = ("train", "val")

ImageCodec = Literal["jpeg", "webp"]
Compression = Literal["lz4", "zstd"]
IMAGE_EXTENSION: dict[str, str] = {"jpeg": "jpg", "webp": "webp"}
PLANE_EXTENSION: dict[str, str] = {"lz4": "lz4", "zstd": "zst"}


@dataclass(frozen=True)
class Coding:
    """How a field's values become bytes.

    planes: of (H, W) uint8; 0 for an image codec
    low: how many of the last planes are low bytes, all but noise
    resample: how a field of this coding may be resized
    vector: whether its values turn and mirror with the image
    """

    name: str
    planes: int
    low: int = 0
    resample: Literal["linear", "nearest"] = "linear"
    vector: bool = False


CODINGS: dict[str, Coding] = {
    one.name: one
    for one in (
        Coding("image", planes=0),
        Coding("u8", planes=1),
        Coding("f16-affine", planes=2, low=1, resample="nearest"),
        Coding("u16-linear", planes=2, low=1, resample="nearest"),
        Coding("octahedral-12", planes=3, low=2, resample="nearest", vector=True),
    )
}


@dataclass(frozen=True)
class Field:
    """One field of a shard set. coding: a name of `CODINGS`; within: the field whose mask bounds this one's."""

    name: str
    coding: str
    within: str | None = None

    @property
    def planes(self) -> int:
        return CODINGS[self.coding].planes

    @property
    def low(self) -> int:
        return CODINGS[self.coding].low


FIELDS_V1 = (
    Field("rgb", "image"),
    Field("alpha", "u8"),
    Field("depth", "f16-affine"),
    Field("normals", "octahedral-12", within="depth"),
)
FIELDS = tuple(one.name for one in FIELDS_V1)
PLANES = {one.name: one.planes for one in FIELDS_V1 if one.planes}
LOW_PLANES = {one.name: one.low for one in FIELDS_V1 if one.planes}


def extensions(image: ImageCodec, compression: Compression, fields: tuple[Field, ...] = FIELDS_V1) -> tuple[str, ...]:
    """The member extensions of a sample, in the order in which they stand in a shard: its fields, and `json`."""
    image_extension, plane = IMAGE_EXTENSION[image], PLANE_EXTENSION[compression]
    return (*(f"{one.name}.{plane if one.planes else image_extension}" for one in fields), "json")


def blocks(height: int, width: int, planes: int) -> int:
    """How many 65,536-byte blocks `planes` planes of height x width bytes fill."""
    return -(-planes * height * width // BLOCK_BYTES)


@dataclass(frozen=True)
class Sample:
    """One sample in the units of its source, as a source delivers it and as `david.pack.read` gives it back.

    key: the id, without dot or slash
    rgb: (H, W, 3) uint8, sRGB
    alpha: (H, W) uint8, soft foreground
    depth_cm: (H, W) float32, along the optical axis, growing with distance; NaN where invalid
    normals: (H, W, 3) float32, unit X (right), Y (up), Z (towards the camera); meaningless where not `normals_valid`
    valid: (H, W) bool, where depth means something
    normals_valid: (H, W) bool, where normals mean something: nowhere but where `valid` is True
    intrinsics: (3, 3) float64 in pixels, or None where the source gives none
    meta: `scenario`, `source` and whatever else the JSON member holds
    """

    key: str
    rgb: np.ndarray
    alpha: np.ndarray
    depth_cm: np.ndarray
    normals: np.ndarray
    valid: np.ndarray
    normals_valid: np.ndarray
    intrinsics: np.ndarray | None
    meta: dict[str, Any] = field(default_factory=dict)
