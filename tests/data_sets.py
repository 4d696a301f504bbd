"""Tests that read real data, or need an optional package, run where these are."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from seqprobe.data import dataset, missing

# The data set, or the package, of every task that needs one.
DATA = {
    "smnist": "mnist",
    "pmnist": "mnist",
    "jsb": "jsb",
    "nottingham": "nottingham",
    "muse": "muse",
    "piano": "piano",
    "chartext": "tinyshakespeare",
    "speech": "fsdd",
    "neurogym": "neurogym",
}
_PACKAGES = {"neurogym"}


def needs_data(name: str) -> pytest.MarkDecorator:
    if name in _PACKAGES:
        return pytest.mark.skipif(find_spec(name) is None, reason=f"'{name}' is not installed")
    reason = f"data set '{name}' is not here; 'seqprobe data fetch {name}' or set SEQPROBE_DATA"
    return pytest.mark.skipif(bool(missing(dataset(name))), reason=reason)
