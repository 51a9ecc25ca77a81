"""What is known of weights: what made them, on which data, how good they were. As JSON, for what leaves the run.

Found beside the weights: in a run's folder, whose files `train/run.py` names, or in the file itself.
"""

from pathlib import Path
from typing import Any

from david.pack.files import sha256
from david.train import journal, run
from david.train.subject import Subject

LEDGER, METRICS = "ledger.jsonl", "metrics.jsonl"
PICTURE = "picture"  # as `model/predict/card.py` calls it, which loads the hub's client


def exported(subject: Subject) -> dict[str, Any]:
    """`about` for a file that leaves this machine, with the SHA-256 of the file of the weights."""
    known = {**about(subject), "weights_sha256": sha256(subject.source)}
    known.pop(PICTURE, None)
    return known


def about(subject: Subject) -> dict[str, Any]:
    """`Subject.about`, and of a run its data's fingerprint, its ledger's hash, its newest evaluation and picture."""
    known = subject.about()
    known.pop(PICTURE, None)  # a path that a file from elsewhere names is none of this machine's
    if (folder := run_of(subject.source)) is None:
        return known
    known["data_fingerprint"] = run.trained(folder).shards
    if (folder / LEDGER).is_file():
        known["ledger_sha256"] = sha256(folder / LEDGER)
    if (folder / METRICS).is_file() and (lines := list(journal.read(folder / METRICS))):
        known["metrics"] = lines[-1]
    if picture := picture_of(folder):
        known[PICTURE] = str(picture)
    return known


def run_of(file: Path) -> Path | None:
    """The folder of the run that a file of weights stands in, its own or a checkpoint's; None where it stands alone."""
    folders = (folder for folder in list(file.absolute().parents)[:3] if (folder / run.RECIPE).is_file())
    return next((folder for folder in folders if run.begun(folder)), None)


def picture_of(folder: Path) -> Path | None:
    """The newest picture of a run's held-out samples."""
    return max((folder / "pictures").glob("step-*.png"), default=None)
