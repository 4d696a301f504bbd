"""Tests that read real data run where the data are."""

from __future__ import annotations

import pytest

from seqprobe.data import dataset, missing

# The data set of every task that needs one.
DATA = {
    "smnist": "mnist",
    "pmnist": "mnist",
    "jsb": "jsb",
    "nottingham": "nottingham",
    "muse": "muse",
    "piano": "piano",
    "chartext": "tinyshakespeare",
    "speech": "fsdd",
}


def needs_data(name: str) -> pytest.MarkDecorator:
    reason = f"data set '{name}' is not here; 'seqprobe data fetch {name}' or set SEQPROBE_DATA"
    return pytest.mark.skipif(bool(missing(dataset(name))), reason=reason)
