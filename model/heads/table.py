"""The heads by name: what each needs of a network and what it says. Without torch.

A new head is a file here and a row in `HEADS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from david.model.size import conv
from david.pack.lazy import Lazy


@dataclass(frozen=True)
class Head:
    """One row.

    module: its class, made by (channels, width, head_widths, activation); called with what it needs and the image's
        size (H, W), it gives (B, channels, H, W) float32
    output: what a `Prediction` calls what it says
    field: what a `Predictor` calls it; finish: from the output to that, on tensors, where they are not the same
    needs: `map`, the decoder's finest map (B, width, H/2, W/2), or `pyramid`, all four of them, finest first
    activations: what it can end with, by name; the first is the one that is meant where nothing is said
    activation_field: the field of a configuration that chooses among them; none where there is no choice
    size: its parameters, from (width, head_widths, channels); none where nobody counts them
    """

    module: Lazy
    output: str
    channels: int
    field: str = ""
    finish: Lazy | None = None
    needs: Literal["map", "pyramid"] = "map"
    activations: tuple[str, ...] = ("linear",)
    activation_field: str | None = None
    size: Callable[[int, tuple[int, int], int], int] | None = None

    @property
    def says(self) -> str:
        """The name of its field."""
        return self.field or self.output


def dense(width: int, head_widths: tuple[int, int], channels: int) -> int:
    """Parameters of a `DenseHead`: two 3x3 and a 1x1."""
    half, full = head_widths
    return conv(width, half, 3) + conv(half, full, 3) + conv(full, channels)


HEADS: dict[str, Head] = {
    "depth": Head(
        module="david.model.heads.depth:RelativeDepth",
        output="relative_depth",
        channels=1,
        activations=("linear", "softplus"),
        activation_field="depth_activation",
        size=dense,
    ),
    "normals": Head(
        module="david.model.heads.normals:UnitNormals",
        output="normals",
        channels=3,
        activations=("linear", "tanh"),
        activation_field="normals_activation",
        size=dense,
    ),
    "alpha": Head(
        module="david.model.heads.alpha:AlphaLogits",
        output="alpha_logits",
        channels=1,
        field="alpha",
        finish="torch:sigmoid",
        size=dense,
    ),
    "metric_depth": Head(
        module="david.model.heads.metric_depth:MetricDepth",
        output="metric_depth_m",
        channels=1,
        activations=("softplus",),
        size=dense,
    ),
    "disparity": Head(
        module="david.model.heads.disparity:Disparity",
        output="relative_disparity",
        channels=1,
        activations=("softplus",),
        size=dense,
    ),
}
