"""What people look like: tones, hair, clothes."""

from dataclasses import dataclass

import numpy as np

from david.pack.synth.figure import Material

SKIN_TONES = ("f4d0b5", "eec0a0", "dfa885", "c98d66", "a86e48", "85522f", "6b4229", "573521")
HAIR_COLOURS = ("191512", "2b1d14", "4a2e1b", "6e4524", "96683a", "c49a55", "d9c08a", "9b3f1c", "8d8b88", "d5d3cf")
EYE_COLOURS = ("6b4a2b", "3c2616", "4f6f8f", "5c7352")
CLOTHES = ("e8e4da", "22252b", "7c8794", "31466e", "2f6f8f", "7fb3c8", "3f6b4a", "93a86b", "d9b44a", "d07a3c",
           "b5413c", "7a2e3f", "d58fa0", "8a6aa5", "b79b7c", "5b4634")  # fmt: skip


def colour(code: str) -> np.ndarray:
    """(3,) linear RGB of a hexadecimal sRGB colour; the gamma of this renderer is 2."""
    return (np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)]) / 255.0) ** 2


@dataclass(frozen=True)
class Look:
    """What the parts of one person have in common.

    sleeves: the share of the arm that they cover; girth, shoulders: about 1; brows: how far they rise, cm
    awake: how far the upper lids rise, cm
    """

    skin: Material
    face: Material
    lips: Material
    eye: Material
    hair: Material
    brow: Material
    stubble: Material
    glasses: Material
    top: Material
    bottom: Material
    shoes: Material
    hairstyle: str
    beard: bool
    hat: bool
    sunglasses: bool
    collar: bool
    sleeves: float
    bottoms: str
    girth: float
    shoulders: float
    brows: float
    awake: float


def look(rng: np.random.Generator) -> Look:
    """Someone at random."""
    tone = colour(rng.choice(SKIN_TONES)) * rng.uniform(0.85, 1.1)
    blush = tone * np.array([1.0, 0.55, 0.5])
    hair = colour(rng.choice(HAIR_COLOURS)) * rng.uniform(0.8, 1.2)
    cloth = [colour(code) * rng.uniform(0.8, 1.1) for code in rng.choice(CLOTHES, 4, replace=False)]
    pattern = str(rng.choice(["plain", "plain", "stripes", "bars", "checks", "dots", "marble"]))
    styles = ["short", "short", "quiff", "bob", "long", "bun", "afro", "tufts", "bald"]
    return Look(
        skin=Material("skin", tone, blush, gloss=0.2, grain=0.06),
        face=Material("face", tone, blush, gloss=0.22, grain=0.06),
        lips=Material("plain", blush * 0.95, blush, gloss=0.4, grain=0.05),
        eye=Material("eye", colour(rng.choice(EYE_COLOURS)), np.full(3, 0.72), gloss=0.45, grain=0.0),
        hair=Material("hair", hair, hair * 0.4, gloss=0.2, grain=0.4),
        brow=Material("hair", hair * 0.7, hair * 0.4, gloss=0.05, grain=0.4),
        stubble=Material("hair", hair, hair * 0.4, scale=2.5, gloss=0.1, grain=0.5),
        glasses=Material("plain", np.full(3, 0.004), np.full(3, 0.01), gloss=0.9, grain=0.0),
        top=Material(pattern, cloth[0], cloth[1], scale=rng.uniform(0.12, 0.35), gloss=0.05, grain=0.12),
        bottom=Material("plain", cloth[2] * 0.7, cloth[2], gloss=0.04, grain=0.15),
        shoes=Material("plain", cloth[3] * 0.5, cloth[3], gloss=0.3, grain=0.05),
        hairstyle=str(rng.choice(styles)),
        beard=bool(rng.random() < 0.2),
        hat=bool(rng.random() < 0.1),
        sunglasses=bool(rng.random() < 0.07),
        collar=bool(rng.random() < 0.35),
        sleeves=float(rng.choice([0.0, 0.35, 0.45, 1.0, 1.0])),
        bottoms=str(rng.choice(["trousers", "trousers", "shorts", "skirt"])),
        girth=rng.uniform(0.86, 1.2),
        shoulders=rng.uniform(0.9, 1.1),
        brows=rng.uniform(-0.2, 0.5),
        awake=rng.uniform(-0.25, 0.2),
    )
