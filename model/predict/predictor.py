"""A predictor: a picture of any size in, what a network says of it at that size out.

    net = david.load("runs/x")
    out = net.predict(rgb)          # (H, W, 3) uint8
    out.relative_depth, out.normals, out.alpha, out.metric_depth_m, out.relative_disparity

    david.Predictor.from_pretrained("user/name"), net.save_pretrained("folder"), net.push_to_hub("user/name")

`predict` is `prepare`, `infer` and `restored` one after the other; whoever has many pictures overlaps the three.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from david.model.predict import fit as fits
from david.model.predict.engine import Engine
from david.model.predict.fields import Fields
from david.model.predict.fit import Fit, Prepared
from david.model.predict.hub import OnHub
from david.pack.errors import DavidError

SIDE = 512  # of the square that a network sees where nothing else is said


@dataclass
class Predictor(OnHub):
    """engines: one, or several that answer for different fields and are joined; fit, side: how pictures reach them
    name: for people; about: what is known of what made it, as JSON"""

    engines: tuple[Engine, ...]
    fit: Fit = "square"
    side: int = SIDE
    name: str = ""
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fits.require(self.fit)
        if self.side < 1:
            raise DavidError(f"size is {self.side}; it must be at least 1 pixel")
        for side in {engine.side for engine in self.engines if engine.side}:
            if side != self.side or self.fit in fits.ANY_SHAPE:
                shape = "any shape" if self.fit in fits.ANY_SHAPE else f"{self.side} x {self.side}"
                raise DavidError(f"{self.name}: sees pictures of {side} x {side} pixels only, not of {shape}")
        names = self.fields
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise DavidError(f"{self.name}: {', '.join(twice)} would come from two files; name one of them")

    @property
    def fields(self) -> tuple[str, ...]:
        """What it says of a picture, by name."""
        return tuple(name for engine in self.engines for name in engine.fields)

    def predict(self, rgb: np.ndarray) -> Fields:
        """rgb: (H, W, 3) uint8, sRGB. Every field at that size. Raises DavidError for anything else."""
        return self.predict_all([rgb])[0]

    def predict_all(self, pictures: Sequence[np.ndarray]) -> list[Fields]:
        """As `predict`, of pictures of any sizes, at once where they reach the network in one shape."""
        prepared = [self.prepare(rgb) for rgb in pictures]
        return [one.restored(said) for one, said in zip(prepared, self.infer(prepared), strict=True)]

    def prepare(self, rgb: np.ndarray) -> Prepared:
        """The picture as the network sees it."""
        if not isinstance(rgb, np.ndarray):
            raise DavidError(f"a picture is an array, (H, W, 3) uint8 RGB, found {type(rgb).__name__}")
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
            raise DavidError(f"a picture is (H, W, 3) uint8 RGB, found {rgb.dtype} of {rgb.shape}")
        return fits.prepare(rgb, self.fit, self.side)

    def infer(self, prepared: Sequence[Prepared]) -> list[dict[str, np.ndarray]]:
        """What the network says of each, (C, h, w) float32 by name, at the size at which it sees them."""
        said: list[dict[str, np.ndarray]] = [{} for _ in prepared]
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for place, one in enumerate(prepared):
            by_shape.setdefault(one.image.shape, []).append(place)
        for engine in self.engines:
            for places in by_shape.values():
                most = engine.batch or len(places)
                for start in range(0, len(places), most):
                    some = places[start : start + most]
                    images = [prepared[place].image for place in some]
                    images += images[-1:] * ((engine.batch or 0) - len(images))  # it takes no fewer
                    answer = engine(np.stack(images))
                    for row, place in enumerate(some):
                        said[place] |= {name: values[row] for name, values in answer.items()}
        return said
