"""The shard format, versions 1 and 2: enough for someone else to write a reader.

A **shard set** is a folder::

    dataset.json                     the manifest (see `manifest.py`), written last
    train-000000.tar  .idx           samples in order; the index is DALI's (`v1.2`)
    test-000000.tar   .idx           a split's name is of a-z, 0-9 and _

A **shard** is an uncompressed USTAR archive. The manifest lists the set's **fields** in order, each with a name, a
coding and, where one field's mask bounds another's, `within`; the first is always `rgb`. A sample is one member for
each field and one more, side by side in that order, named `KEY.FIELD.EXTENSION` and last `KEY.json`. KEY is the
sample's id in its source and holds no dot, no slash and no blank. One shard set uses one image codec and one
compression for all its samples; `EXTENSION` is `jpg` or `webp` for images, `lz4` or `zst` for planes.

| coding          | planes | a pixel                                                                                   |
|-----------------|--------|-------------------------------------------------------------------------------------------|
| `image`         |        | (H, W, 3) sRGB: JPEG 4:4:4 quality 95 (default), or lossless WebP                         |
| `u8`            | 1      | 0 .. 255, valid everywhere                                                                |
| `f16-affine`    | 2      | float16 of (value - offset) / scale, high byte, low byte; NaN unknown, +infinity sky      |
| `f16-relative`  | 2      | the same of values that have no unit; NaN unknown                                         |
| `u16-linear`    | 2      | whole steps 1 .. 65534 as a sensor stores them, high byte, low byte; 0 unknown, 65535 sky |
| `octahedral-12` | 3      | a unit vector, two codes of 12 bits each (below); 4095, 4095 unknown                      |

A member of 0 bytes says that this sample has no such field: no pixel of it is valid. The JSON member holds `id`,
`height`, `width`, `intrinsics` (3 x 3, in pixels of this image, or null), `source` (archive, members and their CRC-32),
whatever else the source tells (SynthHuman: `scenario`), and `fields`, for each field that is stored in steps or
relative to its range: `offset_m` and `scale_m`, the middle and the half range of the sample's valid pixels, and with
`u16-linear` also `step_m`, metres a step; with `f16-relative` they are `offset` and `scale`.

**Version 1** has these fields and no others, and its manifest does not list them: `rgb` (image), `alpha` (u8), `depth`
(f16-affine) and `normals` (octahedral-12, within `depth`). In place of `fields` its JSON members hold
`depth_offset_cm` and `depth_scale_cm`, in centimetres. All else is alike.

A member's tar header names `xxh3` as its owner and the XXH3-64 of its data (16 hex digits) as its group, so that each
sample can be checked by itself, in a hundredth of the time that decoding it takes; times, modes and numeric ids are
constant, so a header depends on name and data alone.

**Planes.** A plane is (H, W) uint8, row-major. A member's planes are joined, zero-padded to a multiple of 65,536
bytes, cut into blocks of 65,536, and each block is compressed by itself (LZ4 block format without a size, or one
Zstandard frame). The member is n little-endian uint32 sizes, then the n compressed blocks; n follows from H, W and
the number of planes. Blocks of equal size inflate side by side on a GPU (nvCOMP, DALI's `decoders.inflate`) and
stay in a CPU's cache; at 384 x 512 a plane is exactly three of them.

**Depth** is in metres along the optical axis and grows with distance: with `f16-affine` it is
`relative * scale_m + offset_m`, so that the valid pixels span -1 .. 1; with `u16-linear` it is `steps * step_m`. Sky
has no depth: it is not valid, but known to be infinitely far. Which pixels are valid is exact.

**Teacher's depth**, the field `teacher_depth`, is what a network said: `relative * scale + offset`, in float32 one
product and one sum, without a unit. It grows with nearness, and is known up to a scale and a shift of each sample's
own. `david label` writes it, see `sidecar.py`.

**Normals.** Unit vectors, X right, Y up, Z towards the camera. Octahedral map (Cigolle et al., "A Survey of Efficient
Representations for Independent Unit Vectors", JCGT 2014): p = (x, y) / (|x| + |y| + |z|); where z < 0,
p = (1 - |p_yx|) * sign(p_xy). Codes are u = round(2047 p_x) + 2047 and v alike, 0 .. 4094, so that 2047 is exactly 0
and a mirror image is u -> 4094 - u. Planes: `(u >> 8) << 4 | v >> 8`, `u & 255`, `v & 255`. The largest error is 0.06
degrees. Codes of 4095, 4095, which no normal has, say that there is none: all 24 bits of such a pixel are set, so a
reader looks for them before it mirrors. Where `within` names a field, a pixel also has to be valid in that one: so it
is right for sets packed before normals had a mask of their own, where they are 2047, 2047 wherever depth is invalid.

Why these codecs (real SynthHuman faces, one core): JPEG 4:4:4 at quality 95 is 46 dB in 44 kB, 0.8 ms to decode, and
the only one with a hardware decoder; LZ4 decodes three times as fast as Zstandard for 6 % more bytes; the smooth top
bits of the normals in a plane of their own save 9 % over high bytes and nibbles.
"""

import re
from dataclasses import dataclass
from typing import Literal

VERSION = 2
VERSIONS = (1, 2)  # that are read
BLOCK_BYTES = 65_536
CM = 0.01  # metres: the unit of version 1, and of SynthHuman
SPLIT_NAME = re.compile(r"[a-z0-9_]{1,40}")
SCENARIOS = ("face", "full_body", "upper_body")

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
        Coding("f16-relative", planes=2, low=1, resample="nearest"),
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


Fields = tuple[Field, ...]

RGB = Field("rgb", "image")
FIELDS_V1: Fields = (
    RGB,
    Field("alpha", "u8"),
    Field("depth", "f16-affine"),
    Field("normals", "octahedral-12", within="depth"),
)


def extensions(image: ImageCodec, compression: Compression, fields: Fields = FIELDS_V1) -> tuple[str, ...]:
    """The member extensions of a sample, in the order in which they stand in a shard: its fields, and `json`."""
    image_extension, plane = IMAGE_EXTENSION[image], PLANE_EXTENSION[compression]
    return (*(f"{one.name}.{plane if one.planes else image_extension}" for one in fields), "json")


def block_count(height: int, width: int, planes: int) -> int:
    """How many 65,536-byte blocks `planes` planes of height x width bytes fill."""
    return -(-planes * height * width // BLOCK_BYTES)
