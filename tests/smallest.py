"""The smallest network and pictures that a run of the tests trains with."""

SMALLEST = (
    *("data.height=48", "data.width=32", "model.backbone=test_vit.r160_in1k", "model.backbone_size=32"),
    *("model.width=16", "model.head_widths=8,8", "model.reassemble=8,8,8,8"),
)
