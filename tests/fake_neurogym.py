"""A stand-in for neurogym: the part of its interface that seqprobe uses, with known trials."""

from __future__ import annotations

from typing import Any

import numpy as np

__version__ = "0.0"


class Discrete:
    def __init__(self, n: int) -> None:
        self.n, self.shape = n, ()


class Box:
    def __init__(self, *shape: int) -> None:
        self.shape = shape


class MultiDiscrete:
    shape = (2,)


class TrialEnv:
    """Fixation, stimulus, decision; the stimulus lasts 3 to 5 steps of 100 ms."""

    observation_space: Any = Box(3)
    action_space: Any = Discrete(3)
    ob: np.ndarray
    gt: np.ndarray

    def __init__(self, dt: int = 100, timing: dict[str, Any] | None = None) -> None:
        self.dt = dt
        self.timing = {"fixation": 200, "stimulus": [300, 400, 500], "decision": 200}
        self.timing |= timing or {}
        self.rng = np.random.RandomState()
        self.start_ind: dict[str, int] = {}
        self.end_ind: dict[str, int] = {}

    @property
    def unwrapped(self) -> TrialEnv:
        return self

    def seed(self, seed: int) -> None:
        self.rng = np.random.RandomState(seed)

    def sample_time(self, period: str) -> int:
        time: Any = self.timing[period]
        time = self.rng.choice(time) if isinstance(time, list) else time
        return int(time)

    def add_periods(self, *periods: str) -> int:
        steps = 0
        for period in periods:
            self.start_ind[period] = steps
            steps += self.sample_time(period) // self.dt
            self.end_ind[period] = steps
        return steps

    def new_trial(self) -> dict[str, Any]:
        return self._new_trial()

    def _new_trial(self) -> dict[str, Any]:
        choice = int(self.rng.randint(2))
        steps = self.add_periods("fixation", "stimulus", "decision")
        self.ob = np.zeros((steps, 3), np.float32)
        self.gt = np.zeros(steps, np.int64)
        self.ob[: self.start_ind["decision"], 0] = 1
        shown = slice(self.start_ind["stimulus"], self.end_ind["stimulus"])
        self.ob[shown, 1 + choice] = 1 + self.rng.randn(shown.stop - shown.start)
        self.gt[self.start_ind["decision"] :] = 1 + choice
        return {"choice": choice, "side": "left", "pair": (1, 2), "strong": np.bool_(True)}


class Reach(TrialEnv):
    action_space = Box(2)

    def _new_trial(self) -> dict[str, Any]:
        angle = self.rng.uniform(0, 2 * np.pi)
        steps = self.add_periods("fixation", "decision")
        self.ob = np.zeros((steps, 3))
        self.ob[:, :2] = np.cos(angle), np.sin(angle)
        self.gt = np.zeros((steps, 2), np.float32)
        self.gt[self.start_ind["decision"] :] = np.cos(angle), np.sin(angle)
        return {"angle": angle}


class Bandit(TrialEnv):
    def _new_trial(self) -> dict[str, Any]:
        self.ob = np.zeros((4, 3))
        return {}


class Angle(TrialEnv):
    def _new_trial(self) -> dict[str, Any]:
        told = super()._new_trial()
        self.gt[-1] = 5
        return told


class Unseeded(TrialEnv):
    def seed(self, seed: int) -> None:
        pass


class Raises(TrialEnv):
    def _new_trial(self) -> dict[str, Any]:
        raise KeyError("no\nblock")


class Multi(TrialEnv):
    action_space = MultiDiscrete()


ENVIRONMENTS = {
    f"{kind.__name__}-v0": kind
    for kind in (TrialEnv, Reach, Bandit, Angle, Unseeded, Raises, Multi)
}


def make(name: str, **arguments: Any) -> TrialEnv:
    if name not in ENVIRONMENTS:
        raise LookupError(f"Environment `{name}` doesn't exist.")
    return ENVIRONMENTS[name](**arguments)
