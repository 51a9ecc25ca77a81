"""One head a task. A new one is a file here, a row in this table and in `config.HEADS`, and a field of `Prediction`."""

from david.model.heads.alpha import AlphaLogits
from david.model.heads.dense import DenseHead
from david.model.heads.depth import RelativeDepth
from david.model.heads.normals import UnitNormals

HEADS: dict[str, type[DenseHead]] = {
    "depth": RelativeDepth,  # relative_depth (B, 1, H, W): up to scale and shift
    "normals": UnitNormals,  # normals (B, 3, H, W): unit X, Y, Z
    "alpha": AlphaLogits,  # alpha_logits (B, 1, H, W)
}
