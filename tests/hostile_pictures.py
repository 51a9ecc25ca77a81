"""Pictures as they come from anywhere: odd ones that must be read, and broken ones that must be named."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

HEIGHT, WIDTH = 48, 64


def scene(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8 RGB, soft, no two corners alike."""
    small = np.random.default_rng(seed).integers(40, 216, (3, 4, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def encoded(image: Image.Image, kind: str, **how: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def of(mode: str, kind: str, **how: object) -> bytes:
    return encoded(Image.fromarray(scene()).convert(mode), kind, **how)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def png(width: int, height: int, rows: bytes, bits: int = 8, colour: int = 2, *more: bytes) -> bytes:
    """A PNG that declares what it is told, whatever its rows hold."""
    head = struct.pack(">2L5B", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(more) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def bomb(width: int, height: int) -> bytes:
    return png(width, height, zlib.compress(bytes(1 << 20), 9))


def oriented(orientation: int, kind: str = "JPEG", **how: object) -> bytes:
    """The scene laid down so that its tag turns it upright."""
    turn = {
        2: "FLIP_LEFT_RIGHT",
        3: "ROTATE_180",
        4: "FLIP_TOP_BOTTOM",
        5: "TRANSPOSE",
        6: "ROTATE_90",
        7: "TRANSVERSE",
    }
    turn |= {8: "ROTATE_270"}
    image, exif = Image.fromarray(scene()), Image.Exif()
    if orientation in turn:
        image = image.transpose(Image.Transpose[turn[orientation]])
    exif[0x0112] = orientation
    return encoded(image, kind, exif=exif, **how)


def with_declared(data: bytes, height: int, width: int) -> bytes:
    """A JPEG whose frame header says another size."""
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + struct.pack(">2H", height, width) + data[place + 4 :]


def stuffed(data: bytes, exif: bytes) -> bytes:
    """A JPEG with as many segments of Exif in front as it takes."""
    segments = [exif[start : start + 60_000] for start in range(0, len(exif), 60_000)]
    return (
        data[:2]
        + b"".join(b"\xff\xe1" + struct.pack(">H", len(one) + 8) + b"Exif\0\0" + one for one in segments)
        + data[2:]
    )


def sixteen() -> bytes:
    return cv2.imencode(".png", scene()[..., ::-1].astype(np.uint16) * 257)[1].tobytes()


def animated(kind: str) -> bytes:
    frames = [Image.fromarray(scene(seed=seed)) for seed in range(3)]
    return encoded(
        frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )


def flipped(data: bytes, place: int, bits: int = 0xFF) -> bytes:
    return data[:place] + bytes([data[place] ^ bits]) + data[place + 1 :]


def palette_with_transparency() -> bytes:
    image = Image.fromarray(scene()).quantize(16)
    return encoded(image, "PNG", transparency=0)


READ: dict[str, Callable[[], bytes]] = {  # odd, and read: names of files -> bytes
    "plain.jpg": lambda: of("RGB", "JPEG", quality=98),
    "plain.png": lambda: of("RGB", "PNG"),
    "no-suffix-of-a-picture.txt": lambda: of("RGB", "PNG"),
    "png-called.jpg": lambda: of("RGB", "PNG"),
    "jpeg-called.png": lambda: of("RGB", "JPEG", quality=98),
    "grey.png": lambda: of("L", "PNG"),
    "grey.jpg": lambda: of("L", "JPEG", quality=98),
    "grey-alpha.png": lambda: of("LA", "PNG"),
    "rgba.png": lambda: of("RGBA", "PNG"),
    "palette.png": lambda: encoded(Image.fromarray(scene()).quantize(200), "PNG"),
    "palette-transparent.png": palette_with_transparency,
    "bilevel.png": lambda: of("1", "PNG"),
    "sixteen.png": sixteen,
    "sixteen-grey.png": lambda: cv2.imencode(".png", scene()[..., 0].astype(np.uint16) * 257)[1].tobytes(),
    "interlaced.png": lambda: png(1, 1, zlib.compress(b"\0\x50\x60\x70")),
    "junk-chunks.png": lambda: png(
        1, 1, zlib.compress(b"\0\x50\x60\x70"), 8, 2, *[chunk(b"tEXt", b"a\0" + b"b" * 999)] * 50
    ),
    "cmyk.jpg": lambda: of("CMYK", "JPEG", quality=98),
    "progressive.jpg": lambda: of("RGB", "JPEG", quality=98, progressive=True),
    "subsampled.jpg": lambda: of("RGB", "JPEG", quality=98, subsampling=2),
    "huge-exif.jpg": lambda: stuffed(of("RGB", "JPEG", quality=98), bytes(40 << 20)),
    "odd-exif.jpg": lambda: stuffed(of("RGB", "JPEG", quality=98), b"MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12" * 900),
    "trailer.jpg": lambda: of("RGB", "JPEG", quality=98) + b"a trailer of some phone" * 40,
    "one-pixel.png": lambda: png(1, 1, zlib.compress(b"\0\x50\x60\x70")),
    "one-row.png": lambda: encoded(Image.fromarray(scene(1, 900)), "PNG"),
    "one-column.jpg": lambda: encoded(Image.fromarray(scene(900, 1)), "JPEG"),
    "animated.gif": lambda: animated("GIF"),
    "animated.webp": lambda: animated("WEBP"),
    "animated.png": lambda: animated("PNG"),
    "lossy.webp": lambda: of("RGB", "WEBP", quality=95),
    "bmp.bmp": lambda: of("RGB", "BMP"),
    "tiff.tif": lambda: of("RGB", "TIFF"),
    "tiff-lzw.tif": lambda: of("RGB", "TIFF", compression="tiff_lzw"),
    "tiff-float.tif": lambda: encoded(Image.fromarray(scene()[..., 0].astype(np.float32)), "TIFF"),
    "tiff-sixteen.tif": lambda: encoded(Image.fromarray(scene()[..., 0].astype(np.uint16) * 257), "TIFF"),
    "avif.avif": lambda: of("RGB", "AVIF", quality=95),
}
BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {  # and named: bytes, and what is told of them
    "empty.jpg": (lambda: b"", "empty, 0 bytes"),
    "text.jpg": (lambda: b"a letter, not a picture\n", "no picture that can be read"),
    "html.png": (lambda: b"<html><body>404 Not Found</body></html>", "no picture that can be read"),
    "bomb.png": (lambda: bomb(60_000, 60_000), "60,000 rows x 60,000 columns, at most"),
    "bomb-wide.png": (lambda: bomb(2**31 - 1, 1), "2,147,483,647 columns, at most"),
    "bomb.jpg": (lambda: with_declared(of("RGB", "JPEG"), 65_500, 65_500), "65,500 rows x 65,500 columns, at most"),
    "bomb.gif": (lambda: b"GIF89a\xff\xff\xff\xff" + of("P", "GIF")[10:], "DecompressionBomb"),
    "bomb.bmp": (
        lambda: of("RGB", "BMP")[:18] + struct.pack("<2l", 60_000, 60_000) + of("RGB", "BMP")[26:],
        "DecompressionBomb",
    ),
    "zero-wide.png": (lambda: png(0, 5, zlib.compress(b"")), "declares 5 rows x 0 columns"),
    "cut.png": (lambda: of("RGB", "PNG")[:-40], "cut short"),
    "cut-in-header.png": (lambda: of("RGB", "PNG")[:20], "cut short"),
    "cut.jpg": (lambda: of("RGB", "JPEG")[:-20], "can't be decoded"),
    "cut-in-header.jpg": (lambda: of("RGB", "JPEG")[:60], "no picture that can be read"),
    "cut.webp": (lambda: of("RGB", "WEBP")[:100], "no picture that can be read"),
    "cut.tif": (lambda: of("RGB", "TIFF")[:-4000], "TIFF"),
    "cut.gif": (lambda: of("P", "GIF")[:200], "no picture that can be read"),
    "cut.avif": (lambda: of("RGB", "AVIF")[:150], ""),
    "damaged.png": (lambda: flipped(of("RGB", "PNG"), 200), "damaged"),
    "fewer-rows.png": (lambda: png(64, 64, zlib.compress(bytes(193 * 10))), "damaged"),
    "more-rows.png": (lambda: png(4, 4, os.urandom(1 << 20)), "bytes of IDAT"),
    "unknown-colour.png": (lambda: png(4, 4, zlib.compress(bytes(52)), 8, 5), "unknown kind of PNG"),
    "heic.heic": (lambda: b"\0\0\0\x18ftypheic" + bytes(400), "HEIC"),
    "script.eps": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (r) file\n", "no picture"),
}


def write_all(folder: Path) -> tuple[list[str], dict[str, str]]:
    """All of them, and what no bytes can be: names that are read, and names that are not with what is told."""
    folder.mkdir(parents=True)
    for name, data in READ.items():
        (folder / name).write_bytes(data())
    for name, (data, _) in BROKEN.items():
        (folder / name).write_bytes(data())
    told = {name: why for name, (_, why) in BROKEN.items()}
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(folder / "pipe.png")
    told |= {
        "dangling.jpg": "can't be read (No such file",
        "loop.jpg": "can't be read (Too many",
        "pipe.png": "device or pipe",
    }
    return list(READ), told
