"""Colour: what surfaces are painted with, how they are lit, and what stands behind them.

Colour is linear RGB, float32, until `to_display` ends it. n points, H rows, W columns.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from david.pack.synth.figure import Material

TILE = 256  # the side of the noise tile; a power of two


def _noise_tile() -> np.ndarray:
    """(TILE, TILE) float32 in about -1 .. 1, periodic: octaves of smooth noise, the same in every process."""
    rng = np.random.Generator(np.random.Philox(key=0))
    total = np.zeros((TILE, TILE), np.float32)
    for cells in (8, 16, 32, 64, 128):
        coarse = np.pad(rng.standard_normal((cells, cells), dtype=np.float32), 2, mode="wrap")
        side = TILE * (cells + 4) // cells
        fine = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
        edge = 2 * TILE // cells
        total += fine[edge : edge + TILE, edge : edge + TILE] * cells**-0.35
    return total / np.abs(total).max()


NOISE = _noise_tile()


def noise(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(n,) float32 in -1 .. 1: the noise tile at u, v, which repeats after 256."""
    column, row = u.astype(np.int32), v.astype(np.int32)
    row &= TILE - 1
    column &= TILE - 1
    row *= TILE
    row += column
    return NOISE.ravel()[row]


# A pattern takes a material and local coordinates (3, n) and says how much of `second` each point shows, (n,).
Pattern = Callable[[Material, np.ndarray], np.ndarray]


def _plain(material: Material, at: np.ndarray) -> np.ndarray:
    return np.zeros(at.shape[1], np.float32)


def _stripes(material: Material, at: np.ndarray) -> np.ndarray:
    return (at[1] * material.scale % 1 < 0.4).astype(np.float32)


def _bars(material: Material, at: np.ndarray) -> np.ndarray:
    return (at[0] * material.scale % 1 < 0.35).astype(np.float32)


def _checks(material: Material, at: np.ndarray) -> np.ndarray:
    return 0.5 * (_stripes(material, at) + _bars(material, at))


def _dots(material: Material, at: np.ndarray) -> np.ndarray:
    u, v = (at[:2] * material.scale) % 1 - 0.5
    return (u * u + v * v < 0.07).astype(np.float32)


def _marble(material: Material, at: np.ndarray) -> np.ndarray:
    scale = 8 * material.scale
    return (noise(at[0] * scale, at[1] * scale + at[2] * scale) > 0.1).astype(np.float32)


def _skin(material: Material, at: np.ndarray) -> np.ndarray:
    return 0.25 + 0.25 * noise(at[0] * 4, at[1] * 4 + at[2] * 3)


def _face(material: Material, at: np.ndarray) -> np.ndarray:
    """Skin with redder cheeks, in the frame of the head, cm."""
    x, y, z = at
    x = np.abs(x) - 4.6
    y = y + 3.0
    cheeks = np.exp(-0.16 * (x * x + y * y)) * (z > 0)
    return 0.15 + 0.4 * cheeks + 0.15 * noise(at[0] * 6, at[1] * 6)


def _hair(material: Material, at: np.ndarray) -> np.ndarray:
    """Strands that fall from the crown."""
    around = np.arctan2(at[0], at[2]) * 60 * material.scale
    return 0.5 + 1.1 * noise(around, at[1] * 9)


def _eye(material: Material, at: np.ndarray) -> np.ndarray:
    """White, iris, and a pupil so far beyond the iris' colour that it is black, about the direction of gaze."""
    return np.select([at[2] > 0.965, at[2] > 0.86], [np.float32(-2), np.float32(0)], np.float32(1))


PATTERNS: dict[str, Pattern] = {
    "plain": _plain,
    "stripes": _stripes,
    "bars": _bars,
    "checks": _checks,
    "dots": _dots,
    "marble": _marble,
    "skin": _skin,
    "face": _face,
    "hair": _hair,
    "eye": _eye,
}


def paint(material: Material, at: np.ndarray) -> np.ndarray:
    """(3, n) linear RGB of a material at local coordinates (3, n)."""
    base, second = material.base.astype(np.float32), material.second.astype(np.float32)
    mix = PATTERNS[material.pattern](material, at)
    albedo = base[:, None] + mix * (second - base)[:, None]
    if material.grain:
        albedo *= 1 + material.grain * noise(at[0] * 23, at[1] * 23 + at[2] * 17)
    if material.pattern == "eye":
        albedo[:, at[2] > 0.86] = base[:, None]
        albedo[:, at[2] > 0.965] = 0.003
    return albedo


@dataclass(frozen=True)
class Light:
    """towards: (3,) unit, from the surface to the sun; key, sky, ground: (3,) linear RGB."""

    towards: np.ndarray
    key: np.ndarray
    sky: np.ndarray
    ground: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Light":
        """A random light from the front, the sides or above, warm or cold."""
        side, up = np.deg2rad(rng.uniform(-70, 70)), np.deg2rad(rng.uniform(5, 65))
        warmth = rng.uniform(-0.14, 0.2)
        sky = rng.uniform(0.16, 0.42) * np.array([1 - warmth, 1.0, 1 + 0.8 * warmth])
        return cls(
            towards=np.array([np.sin(side) * np.cos(up), np.sin(up), np.cos(side) * np.cos(up)]),
            key=rng.uniform(0.6, 1.0) * np.array([1 + warmth, 1.0, 1 - warmth]),
            sky=sky,
            ground=sky * rng.uniform(0.35, 0.7),
        )


def light(albedo: np.ndarray, normals: np.ndarray, gloss: np.ndarray, sun: Light) -> np.ndarray:
    """(3, n) linear RGB: sky and ground by the normal's height, a sun with a soft edge, a highlight.

    normals: (3, n) unit; gloss: (n,). Depends on the normal alone, so that shading tells of the surface.
    """
    x, y, z = normals
    (sun_x, sun_y, sun_z), halfway = sun.towards.tolist(), sun.towards + np.array([0, 0, 1])
    half_x, half_y, half_z = (halfway / np.linalg.norm(halfway)).tolist()
    shine = np.maximum(half_x * x + half_y * y + half_z * z, 0)
    for _ in range(4):
        shine *= shine
    shine *= gloss
    diffuse = np.clip((sun_x * x + sun_y * y + sun_z * z + 0.15) / 1.15, 0, 1)
    up = 0.5 + 0.5 * y
    out = np.empty_like(albedo)
    for channel, (sky, ground, key) in enumerate(
        zip(sun.sky.tolist(), sun.ground.tolist(), sun.key.tolist(), strict=True)
    ):
        incoming = ground + up * (sky - ground)
        incoming += key * diffuse
        np.multiply(albedo[channel], incoming, out=out[channel])
        out[channel] += key * shine
    return out


def backdrop(rng: np.random.Generator, sun: Light, height: int, width: int) -> np.ndarray:
    """(3, H, W) float32 sRGB, 0 .. 1: a studio, a room or a blurred street, in the colours of the light."""
    rows, columns = 96, 72
    y = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    x = np.linspace(0, 1, columns, dtype=np.float32)[None, :, None]
    grey, hue = rng.uniform(0.15, 0.9, (3, 1)), rng.uniform(0.2, 1.0, (3, 3))
    hue = (grey + rng.uniform(0.1, 0.5) * (hue - grey)).astype(np.float32) ** 2
    tint = (sun.sky / sun.sky.mean() * rng.uniform(0.25, 0.8)).astype(np.float32)
    kind = rng.choice(["studio", "room", "street"])
    picture = (hue[0] * (1 - y) + hue[1] * y) * tint * np.ones_like(x)
    if kind == "studio":
        away = (x - rng.uniform(0.2, 0.8)) ** 2 + (y - rng.uniform(0.1, 0.6)) ** 2
        picture *= 0.5 + np.exp(-3 * away)
        blur = 9.0
    elif kind == "room":
        horizon = rng.uniform(0.6, 0.85)
        picture = np.where(y > horizon, hue[2] * tint * (0.5 + 0.5 * y), picture)
        for _ in range(rng.integers(1, 5)):
            _box(picture, rng, horizon)
        blur = rng.uniform(0.7, 2.5)
    else:
        for _ in range(rng.integers(6, 16)):
            _box(picture, rng, 1.0)
        for _ in range(rng.integers(4, 24)):
            spot = (int(rng.integers(columns)), int(rng.integers(rows)))
            glow = (rng.uniform(0.3, 1.0, 3) * rng.uniform(0.3, 1.3)).tolist()
            cv2.circle(picture, spot, int(rng.integers(2, 9)), glow, -1)
        blur = rng.uniform(1.5, 4.0)
    picture = cv2.GaussianBlur(np.ascontiguousarray(picture, dtype=np.float32), (0, 0), float(blur))
    return np.stack([cv2.resize(plane, (width, height)) for plane in cv2.split(to_display(picture))])


def _box(picture: np.ndarray, rng: np.random.Generator, floor: float) -> None:
    """Draw a window, a door or a house front that stands above `floor` (a share of the height)."""
    rows, columns = picture.shape[:2]
    left, top = rng.uniform(-0.1, 0.9), rng.uniform(0.02, 0.6)
    right, bottom = left + rng.uniform(0.08, 0.4), min(top + rng.uniform(0.1, 0.7), floor)
    shade = (picture.mean(axis=(0, 1)) * rng.uniform(0.3, 2.2) * rng.uniform(0.7, 1.3, 3)).tolist()
    corners = (int(left * columns), int(top * rows)), (int(right * columns), int(bottom * rows))
    cv2.rectangle(picture, *corners, shade, -1)


def to_display(linear: np.ndarray) -> np.ndarray:
    """sRGB, 0 .. 1, of linear RGB, with gamma 2."""
    return np.sqrt(np.clip(linear, 0, 1))


def to_linear(display: np.ndarray) -> np.ndarray:
    return display * display
