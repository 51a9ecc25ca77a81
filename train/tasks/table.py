"""The tasks by name. Without torch.

A new one is a file here and a row in `TASKS`; a recipe chooses it by its `objective`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from david.model.configs.base import ModelConfig
from david.pack.errors import DavidError
from david.pack.lazy import Lazy, load
from david.train.tasks.config import ObjectiveConfig, TaskConfig
from david.train.tasks.distill_config import DistillConfig

if TYPE_CHECKING:
    from david.train.tasks.task import Task


@dataclass(frozen=True)
class Row:
    """config: the class of its configurations; task: the `Task`, made by (configuration, the network's)
    settled: what of a configuration is found out when a run begins, and held to when it goes on; none: nothing"""

    config: type[TaskConfig]
    task: Lazy
    settled: Lazy | None = None


TASKS: dict[str, Row] = {
    "supervised": Row(ObjectiveConfig, "david.train.tasks.supervised:Supervised"),
    "distill": Row(DistillConfig, "david.train.distill.task:Distill", "david.train.distill.teachers:settled"),
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


def settled(config: TaskConfig) -> TaskConfig:
    """The configuration with what its task finds out when a run begins. Raises DavidError where it is not what the
    configuration says already."""
    find = TASKS[config.kind].settled
    return load(find)(config) if find else config
