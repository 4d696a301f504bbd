"""What is asked: seeded generators and real data, each with loss, metric, chance and baseline."""

from seqprobe.tasks.arrays import from_arrays, read_arrays
from seqprobe.tasks.base import Baseline, Batch, Condition, Metric, Split, Task, TaskConfig
from seqprobe.tasks.registry import TASKS, make_task

__all__ = [
    "TASKS",
    "Baseline",
    "Batch",
    "Condition",
    "Metric",
    "Split",
    "Task",
    "TaskConfig",
    "from_arrays",
    "make_task",
    "read_arrays",
]
