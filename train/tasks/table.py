"""The tasks by name. Without torch.

A new one is a file here and a row in `TASKS`; a recipe chooses it by its `objective`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from david.model.configs.base import ModelConfig
from david.pack.errors import DavidError
from david.pack.lazy import Lazy, load
from david.train.tasks.config import ObjectiveConfig, TaskConfig

if TYPE_CHECKING:
    from david.train.tasks.task import Task


@dataclass(frozen=True)
class Row:
    """config: the class of its configurations; task: the `Task`, made by (configuration, the network's)"""

    config: type[TaskConfig]
    task: Lazy


TASKS: dict[str, Row] = {
    "supervised": Row(ObjectiveConfig, "david.train.tasks.supervised:Supervised"),
}
FIRST = "supervised"  # the task of a recipe that was stored before there were others


def class_of(kind: str | None) -> type[TaskConfig]:
    """The class of a task's configurations; without a kind, of those stored before there were others."""
    if (kind or FIRST) not in TASKS:
        raise DavidError(f"objective.kind: expected one of {', '.join(TASKS)}, found {kind!r}")
    return TASKS[kind or FIRST].config


def task_of(config: TaskConfig, model: ModelConfig) -> "Task":
    """The task that a recipe's objective configures, for its network."""
    return load(TASKS[config.kind].task)(config, model)
