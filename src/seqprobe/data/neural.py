"""Recordings of real neurons as labelled arrays."""

from __future__ import annotations

import io

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter1d

from seqprobe.data.catalog import dataset
from seqprobe.data.store import read
from seqprobe.errors import UsageError
from seqprobe.schema import variable

__all__ = ["grasshopper", "head_direction"]

# The tracker takes a sample every 8.35 ms: shorter bins would have no angle.
_SHORTEST, _LONGEST = 0.01, 10.0
_SHORTEST_SOUND = 1e-4


def head_direction(bin_seconds: float = 0.1, smooth: float = 0.2) -> xr.Dataset:
    """Return the activity of head-direction cells of a mouse, and where the head points.

    Seven units of the anterodorsal thalamic nucleus (``adn``) and eight of the hippocampus
    (``ca1``) of a mouse that explores: session A2929-200711, published with pynapple. The head is
    tracked from 670.6 s to the end at 1200 s, and only that part is returned; before it the mouse
    sleeps (0 to 600 s), then wakes without being tracked.

    Parameters
    ----------
    bin_seconds
        Width of the bins, 0.01 to 10 s.
    smooth
        Standard deviation of the Gaussian that `rate` is smoothed with, in seconds; 0 for none. It
        looks into the future as much as into the past. Spikes before the first bin are known and
        count; at the end the recording is mirrored.

    Returns
    -------
    xarray.Dataset
        * ``count`` (time, unit): spikes in the bin; ``rate`` (time, unit): smoothed, in Hz.
        * ``angle`` (time): direction of the head in radians, in [0, 2 pi): the circular mean of the
          samples in the bin.
        * ``x``, ``z`` (time): mean position in the plane of the arena, in units of the tracker,
          which the file does not name.
        * ``time``: middle of the bin, in seconds from the start of the recording; ``unit``: its
          number; ``region`` (unit): ``adn`` or ``ca1``.

    Raises
    ------
    UnreadableFileError
        If the data are not here: ``seqprobe data fetch head-direction``.
    UsageError
        If bins or smoothing do not fit.

    References
    ----------
    Viejo, Levenstein, Skromne Carrasco et al. 2023 (eLife 12, RP85786), whose package has the file.
    """
    if not _SHORTEST <= bin_seconds <= _LONGEST:
        raise UsageError(
            f"bins of {bin_seconds:g} s (allowed: {_SHORTEST:g} to {_LONGEST:g} s; the head is"
            " sampled every 8.35 ms)"
        )
    if not 0 <= smooth <= 60:
        raise UsageError(f"smoothing over {smooth:g} s (allowed: 0 to 60 s)")
    raw = _arrays("head-direction")
    t, (_, end) = raw["t"], raw["epochs"][1]
    before = int(t[0] / bin_seconds)  # bins before the head is tracked, for the smoothing
    edges = t[0] + bin_seconds * np.arange(-before, int((end - t[0]) / bin_seconds) + 1)
    # The last bins may end after the last sample of the head.
    bins = int((t[-1] - t[0]) / bin_seconds)
    trains = np.split(raw["spike_times"], raw["spike_index"][:-1])
    counts = np.stack([np.histogram(spikes, edges)[0] for spikes in trains], axis=1)
    rate = counts / bin_seconds
    if smooth > 0:
        rate = gaussian_filter1d(rate, smooth / bin_seconds, axis=0)
    kept = slice(before, before + bins)
    return _labelled(counts[kept], rate[kept], edges[before : before + bins + 1], raw).assign_attrs(
        source="A2929-200711, pynapple", bin_seconds=bin_seconds, smooth_seconds=smooth
    )


def grasshopper(bin_seconds: float = 0.001) -> xr.Dataset:
    """Return the spikes of an auditory receptor of a locust, and the sound that it heard.

    Parameters
    ----------
    bin_seconds
        Width of the bins, 0.0001 to 1 s. The sound has 20,000 samples per second.

    Returns
    -------
    xarray.Dataset
        * ``count`` (trial, time, unit): spikes in the bin, of the one unit there is.
        * ``sound`` (trial, time): level of the sound in dB below its loudest moment, the mean over
          the bin: noise up to 200 Hz on a tone.
        * ``time``: middle of the bin in seconds, of 10 in all; trials are two sounds.

    Raises
    ------
    UnreadableFileError
        If the data are not here: ``seqprobe data fetch grasshopper``.
    UsageError
        If bins do not fit.

    References
    ----------
    Rokem, Watzl, Gollisch, Stemmler, Herz, Samengo 2006 (Journal of Neurophysiology 95, 2541).
    """
    if not _SHORTEST_SOUND <= bin_seconds <= 1:
        raise UsageError(f"bins of {bin_seconds:g} s (allowed: {_SHORTEST_SOUND:g} to 1 s)")
    raw = _arrays("grasshopper")
    counts, levels = [], []
    for k in (1, 2):
        t, spikes = raw[f"stim{k}_t_us"], raw[f"spikes{k}_us"]
        # Half a sample before the first, so that no sample lies on an edge by rounding.
        step = t[1] - t[0]
        bins = int((t[-1] + step - t[0]) / (1e6 * bin_seconds) + 1e-9)
        edges = t[0] - step / 2 + 1e6 * bin_seconds * np.arange(bins + 1)
        counts.append(np.histogram(spikes, edges)[0])
        loudness = 20 * np.log10(raw[f"stim{k}_amp"].astype(np.float64))
        samples = np.histogram(t, edges)[0]
        levels.append(np.histogram(t, edges, weights=loudness)[0] / samples)
    middles = bin_seconds * (np.arange(len(counts[0])) + 0.5)
    data = {
        "count": variable(
            ("trial", "time", "unit"), np.stack(counts)[..., None], "spikes in the bin", "spikes"
        ),
        "sound": variable(("trial", "time"), np.stack(levels), "level of the sound", "dB"),
    }
    coords = {
        "trial": variable(("trial",), np.array([1, 2]), "sound number", "1"),
        "time": variable(("time",), middles, "time", "s"),
    }
    attrs = {"source": "grasshopper, nitime", "bin_seconds": bin_seconds}
    return xr.Dataset(data, coords, attrs)


def _arrays(name: str) -> dict[str, np.ndarray]:
    """Return the arrays of a data set, by name."""
    return {
        member.removesuffix(".npy"): np.load(io.BytesIO(values), allow_pickle=False)
        for member, values in read(dataset(name)).items()
    }


def _labelled(
    counts: np.ndarray, rate: np.ndarray, edges: np.ndarray, raw: dict[str, np.ndarray]
) -> xr.Dataset:
    """Return what was recorded between edges, along time and unit."""
    bins = len(edges) - 1
    of = np.searchsorted(edges, raw["t"], side="right") - 1

    def mean(values: np.ndarray) -> np.ndarray:
        there = of < bins
        total = np.bincount(of[there], values[there], bins)
        found: np.ndarray = total / np.bincount(of[there], minlength=bins)
        return found

    head = raw["head_direction"].astype(np.float64)
    angle = np.arctan2(mean(np.sin(head)), mean(np.cos(head))) % (2 * np.pi)
    data = {
        "count": variable(("time", "unit"), counts, "spikes in the bin", "spikes"),
        "rate": variable(("time", "unit"), rate, "firing rate", "Hz"),
        "angle": variable(("time",), angle, "direction of the head", "rad"),
        "x": variable(("time",), mean(raw["x"].astype(np.float64)), "position x", "tracker units"),
        "z": variable(("time",), mean(raw["z"].astype(np.float64)), "position z", "tracker units"),
    }
    coords = {
        "time": variable(("time",), (edges[:-1] + edges[1:]) / 2, "time", "s"),
        "unit": variable(("unit",), np.arange(counts.shape[1]), "neuron", "1"),
        "region": variable(("unit",), raw["region"], "region of the brain", "1"),
    }
    return xr.Dataset(data, coords)
