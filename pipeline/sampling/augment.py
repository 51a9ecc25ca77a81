"""What a recipe says about augmentation."""

from dataclasses import asdict, dataclass

from david.pack.errors import DavidError


@dataclass(frozen=True)
class AugmentConfig:
    """Chances and ranges; each is drawn once for each sample and epoch (`draws.py`). 0 turns one off.

    flip: probability of a horizontal flip
    brightness, contrast, saturation: each factor is uniform in 1 - x .. 1 + x; 0 <= x <= 1
    hue: uniform in -x .. x turns of the colour wheel (1 is 360 degrees); 0 <= x <= 0.5
    grey: probability that all colour goes
    crop: the part of each side that is cut off at most, uniform from 0; what is left is scaled to the batch's size
    turn: degrees, uniform in -x .. x, about the crop's centre; crops shrink so far that no corner is empty; 0 .. 45
    blur: probability of a Gaussian blur, its sigma uniform in 0.1 .. 2 pixels
    noise: probability of noise a channel and pixel, its sigma uniform in 1 .. 10 of 255 levels
    jpeg: probability of JPEG's losses at a quality uniform in 30 .. 95, colours at full resolution

    The paper's augmentations are not known. The defaults are mild ones of the field: a flip (Depth Anything V2, Yang et
    al. 2024, trains on synthetic images with flips and crops) and torchvision's ColorJitter. Grey at 0.2 and blur of
    these sigmas are DINOv2's (Oquab et al. 2023, `data/augmentations.py`: RandomGrayscale(0.2), GaussianBlur(0.1, 2)).
    Sapiens (Khirodkar et al. 2024) fine-tunes depth and normals with crops, flips and photometric distortion. Crops and
    turns help where people are not centred as in SynthHuman; blur, noise and JPEG where pictures come from phones.
    """

    flip: float = 0.5
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.02
    grey: float = 0.0
    crop: float = 0.0
    turn: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    jpeg: float = 0.0

    def __post_init__(self) -> None:
        bounds = {"hue": 0.5, "crop": 0.9, "turn": 45.0}
        for name, value in asdict(self).items():
            most = bounds.get(name, 1.0)
            if not 0 <= value <= most:
                raise DavidError(f"augment.{name} is {value}; it must be within 0 .. {most}")
