"""MLflow: one run there for one folder here, found again by its tag and gone on with.

MLFLOW_TRACKING_URI says where to; without it MLflow takes its own default.
"""

from pathlib import Path
from typing import Any

import mlflow  # pyright: ignore[reportMissingImports]
import numpy as np
from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]
from mlflow.entities import Metric, Param  # pyright: ignore[reportMissingImports]

from david.train.trees import flat

EXPERIMENT, FOLDER = "david", "david.folder"  # the experiment's name, and the tag that holds the run's folder


class MLflow:
    def __init__(self, out: Path, recipe: dict[str, Any]):
        self._client = MlflowClient()
        experiment = mlflow.set_experiment(EXPERIMENT).experiment_id
        folder = str(out.resolve())
        known = self._client.search_runs([experiment], f"tags.`{FOLDER}` = '{folder}'", max_results=1)
        if known:
            self._run = known[0].info.run_id
            self._client.update_run(self._run, "RUNNING")
        else:
            self._run = self._client.create_run(experiment, run_name=out.name, tags={FOLDER: folder}).info.run_id
            self._client.log_batch(self._run, params=[Param(name, str(value)) for name, value in flat(recipe).items()])

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self._client.log_batch(self._run, [Metric(name, value, 0, step) for name, value in values.items()])

    def picture(self, step: int, name: str, sheet: np.ndarray) -> None:
        self._client.log_image(self._run, sheet, artifact_file=f"{name}/step-{step:08d}.png")

    def close(self) -> None:
        self._client.set_terminated(self._run)


def open_writer(out: Path, start: int, recipe: dict[str, Any]) -> MLflow:
    return MLflow(out, recipe)
