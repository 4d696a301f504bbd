"""A neurogym environment as a source of trials."""

from __future__ import annotations

import importlib
import numbers
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from seqprobe.errors import NotApplicableError, UsageError
from seqprobe.spec import Spec

__all__ = ["Environment", "Trial", "draws_alike", "package"]

_MISSING = (
    "pip install gymnasium natsort pydantic-settings loguru, then pip install --no-deps neurogym"
    " (which pins an older numpy and gymnasium)"
)


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes
    ----------
    inputs
        Observations (T, D).
    targets
        Ground truth: classes (T,), or numbers (T, K).
    periods
        First step and the one after the last, by name, in the order of the environment.
    facts
        The numbers that the environment tells of the trial, by name.
    """

    inputs: np.ndarray
    targets: np.ndarray
    periods: Mapping[str, tuple[int, int]]
    facts: Mapping[str, float]


class Environment:
    """A new environment of neurogym.

    Parameters
    ----------
    name
        Under which it is registered.
    arguments
        Of its constructor.
    stretch
        What the durations that it draws are multiplied by.

    Raises
    ------
    UsageError
        If neurogym is not here, has no such environment, or refuses the arguments.
    NotApplicableError
        If actions are neither discrete nor a box.
    """

    def __init__(self, name: str, arguments: Mapping[str, Any], stretch: int = 1) -> None:
        self.name = name
        self._stretched = f" with its durations times {stretch}" if stretch > 1 else ""
        neurogym = package()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of gymnasium, about metadata and precision
                self._env = neurogym.make(name, **arguments).unwrapped
        except Exception as error:  # environments are code of others, and refuse in many ways
            raise UsageError(
                f"neurogym environment '{name}' cannot be made ({_line(error)}); check task.id and"
                " task.arguments"
            ) from error
        self._kind = _kind(self._env.action_space, name)
        if stretch > 1:
            sample = self._env.sample_time
            self._env.sample_time = lambda period: stretch * sample(period)

    @cached_property
    def spec(self) -> Spec:
        """Sizes of observations and actions."""
        actions = self._env.action_space
        outputs = int(actions.n) if self._kind == "class" else int(np.prod(actions.shape))
        inputs = int(np.prod(self._env.observation_space.shape))
        return Spec("continuous", inputs, self._kind, outputs, "each")

    def seed(self, seed: int) -> None:
        """Let all that follows depend on the seed."""
        self._env.seed(seed)

    def trial(self) -> Trial:
        """Return the next trial.

        Raises
        ------
        NotApplicableError
            If there is none, or it has no ground truth.
        """
        env = self._env
        for name in ("ob", "gt"):  # none may be left over from the trial before
            vars(env).pop(name, None)
        env.start_ind, env.end_ind = {}, {}
        try:
            told = env.new_trial()
            x, y = (vars(env).get(name) for name in ("ob", "gt"))
            if x is None or y is None or not len(x):
                raise NotApplicableError(
                    f"neurogym environment '{self.name}' has no observations with a ground truth"
                    " to learn from, as those for reinforcement learning; take another"
                )
            return self._trial(x, y, told)
        except NotApplicableError:
            raise
        except Exception as error:
            raise NotApplicableError(
                f"neurogym environment '{self.name}' makes no trial{self._stretched}"
                f" ({_line(error)}); take another"
            ) from error

    def _trial(self, x: Any, y: Any, told: Any) -> Trial:
        steps = min(len(x), len(y))
        targets = np.array(y)[:steps]
        if self._kind == "class":
            first = int(getattr(self._env.action_space, "start", 0))
            targets = targets.reshape(steps).astype(np.int64) - first
        else:
            targets = targets.reshape(steps, -1).astype(np.float32)
        starts, stops = self._env.start_ind, self._env.end_ind
        return Trial(
            np.array(x, np.float32)[:steps].reshape(steps, -1),
            targets,
            {str(name): (int(starts[name]), int(stops[name])) for name in starts},
            {str(key): float(value) for key, value in dict(told).items() if _is_number(value)},
        )


def draws_alike(environment: Environment, trials: Sequence[Trial]) -> bool:
    """Say whether an environment draws exactly these trials next."""
    for trial in trials:
        other = environment.trial()
        if not (
            np.array_equal(trial.inputs, other.inputs)
            and np.array_equal(trial.targets, other.targets)
        ):
            return False
    return True


def package() -> Any:
    """Import neurogym, or say how to install it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("neurogym")
    except ImportError as error:
        raise UsageError(f"task 'neurogym' needs another package ({error}): {_MISSING}") from None


def _kind(actions: Any, name: str) -> Literal["class", "regression"]:
    kinds = {kind.__name__ for kind in type(actions).__mro__}
    if "Discrete" in kinds:
        return "class"
    if "Box" in kinds:
        return "regression"
    raise NotApplicableError(
        f"neurogym environment '{name}' has actions of type {type(actions).__name__}"
        " (allowed: Discrete, Box); take another"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (numbers.Real, np.bool_))


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
