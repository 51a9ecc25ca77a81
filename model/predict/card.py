"""The page that a network has on the Hugging Face hub: what it is, what made it, how good it was, how to use it.

Everything on it comes from what the weights say about themselves; what they do not say is not on it.
"""

import json
from collections.abc import Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

PICTURE = "picture"  # of what is known about weights: a picture's path on this machine
PICTURE_FILE = "picture.png"  # its name beside the card
PIPELINES = {
    "metric_depth_m": "depth-estimation",
    "relative_depth": "depth-estimation",
    "relative_disparity": "depth-estimation",
    "alpha": "image-segmentation",
}  # the hub's names, first that fits
MEANINGS = {
    "relative_depth": "(H, W), known up to a positive scale and a shift, growing with distance",
    "normals": "(H, W, 3), unit X right, Y up, Z towards the camera",
    "alpha": "(H, W), the share of each pixel that is foreground, 0 to 1",
    "metric_depth_m": "(H, W), metres along the optical axis",
    "relative_disparity": "(H, W), 1 / depth up to a positive scale and a shift, growing with nearness",
}
UNKNOWN = "unknown"  # the hub's word for a licence that nobody stated


def card(about: dict[str, Any], fields: Sequence[str], fit: str, side: int, **data: Any) -> ModelCard:
    """The card of a network.

    about: see `Predictor.about`; fields: what it says; fit, side: how pictures reach it; data: of `ModelCardData`,
    among them `license`"""
    recipe, metrics = about.get("recipe") or {}, _metrics(about)
    name = str(recipe.get("name") or about.get("model", {}).get("kind") or "david")
    pipeline = next((task for field, task in PIPELINES.items() if field in fields), None)
    known: dict[str, Any] = {"license": UNKNOWN, "pipeline_tag": pipeline, "model_name": name, **data}
    if metrics:
        of = str(about.get("data_fingerprint", ""))[:16]
        known["eval_results"] = [
            EvalResult(pipeline or "other", "david-shards", f"held-out samples of {of}", metric, value)
            for metric, value in metrics.items()
        ]
    told = "\n\n".join(part for part in _parts(name, about, fields, fit, side, metrics, known["license"]) if part)
    return ModelCard(f"---\n{ModelCardData(**known).to_yaml()}\n---\n\n{told}\n")


def _metrics(about: dict[str, Any]) -> dict[str, float]:
    """The figures of the newest evaluation."""
    found = about.get("metrics") or {}
    return {name: value for name, value in found.items() if isinstance(value, float)}


def _parts(
    name: str,
    about: dict[str, Any],
    fields: Sequence[str],
    fit: str,
    side: int,
    metrics: dict[str, float],
    licence: str,
) -> list[str]:
    recipe = about.get("recipe")
    facts = {
        "trained by": f"david {about['david']}" if "david" in about else None,
        "step": about.get("step"),
        "fingerprint of the training data": about.get("data_fingerprint"),
        "SHA-256 of the ledger of what was trained on": about.get("ledger_sha256"),
        "backbone": about.get("model", {}).get("backbone"),
        "a picture reaches it": f"`{fit}`, {side} x {side} pixels",
    }
    return [
        f"# {name}",
        "A picture of people to " + "; ".join(f"`{one}` {MEANINGS.get(one, '')}".rstrip() for one in fields) + ".",
        f"![Held-out samples: target beside prediction]({PICTURE_FILE})" if about.get(PICTURE) else "",
        '```python\nimport david\n\nnet = david.Predictor.from_pretrained("user/name")  # this repository\'s name\n'
        f"out = net.predict(rgb)  # (H, W, 3) uint8; {', '.join(f'out[{one!r}]' for one in fields)}\n```",
        _table(("what", "value"), {what: value for what, value in facts.items() if value is not None}),
        "## Measured on held-out samples" if metrics else "",
        _table(("metric", "value"), {metric: f"{value:.4g}" for metric, value in metrics.items()}) if metrics else "",
        "## Licence",
        "Whoever published these weights did not state one." if licence == UNKNOWN else f"`{licence}`",
        f"## Recipe\n\n```json\n{json.dumps(recipe, indent=1)}\n```" if recipe else "",
    ]


def _table(headings: tuple[str, str], rows: dict[str, Any]) -> str:
    lines = [headings, ("---", "---"), *((what, _cell(value)) for what, value in rows.items())]
    return "\n".join(f"| {left} | {right} |" for left, right in lines)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
