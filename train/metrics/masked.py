"""What metrics say of an image that has nothing to measure on."""

import torch


def where_any(found: dict[str, torch.Tensor], valid: torch.Tensor) -> dict[str, torch.Tensor]:
    """Metrics (B,), NaN for the images without a valid pixel (B, 1, H, W)."""
    measured = valid.flatten(1).any(1)
    return {name: torch.where(measured, value, torch.nan) for name, value in found.items()}
