"""What is known of weights: what made them, on which data, how good they were. As JSON, for what leaves the run.

Found beside the weights: in a run's folder, whose files `train/run.py` names, or in the file itself.
"""

from pathlib import Path
from typing import Any

from david.pack.files import sha256
from david.train import journal, run
from david.train.subject import Subject

LEDGER, METRICS = "ledger.jsonl", "metrics.jsonl"


def about(subject: Subject) -> dict[str, Any]:
    """`Subject.about`, the SHA-256 of the file of the weights, and of a run its data's fingerprint, its ledger's hash
    and its newest evaluation."""
    known = {**subject.about(), "weights_sha256": sha256(subject.source)}
    if (folder := run_of(subject.source)) is None:
        return known
    known["data_fingerprint"] = run.trained(folder).shards
    if (folder / LEDGER).is_file():
        known["ledger_sha256"] = sha256(folder / LEDGER)
    if (folder / METRICS).is_file() and (lines := list(journal.read(folder / METRICS))):
        known["metrics"] = lines[-1]
    return known


def run_of(file: Path) -> Path | None:
    """The folder of the run that a file of weights stands in, its own or a checkpoint's; None where it stands alone."""
    folders = (folder for folder in list(file.absolute().parents)[:3] if (folder / run.RECIPE).is_file())
    return next((folder for folder in folders if run.begun(folder)), None)


def picture_of(folder: Path) -> Path | None:
    """The newest picture of a run's held-out samples."""
    return max((folder / "pictures").glob("step-*.png"), default=None)
