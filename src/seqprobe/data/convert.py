"""What makes the files that are read of those that publishers keep.

A converter gets content that was found to be what was published, and returns the bytes of an
``.npz``, whose arrays are in turn compared with what they should be.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

import h5py
import numpy as np

__all__ = ["CONVERTERS", "grasshopper", "head_direction"]


def head_direction(content: bytes) -> bytes:
    """Return spikes, head angle and position of the session A2929-200711 of pynapple (NWB).

    Parameters
    ----------
    content
        The file ``A2929-200711.nwb``, which is HDF5.

    Returns
    -------
    bytes
        An ``.npz`` with ``spike_times`` (s) of one unit after another, ``spike_index`` where each
        ends, ``region`` and ``shank`` of the units, ``t`` (s) with ``head_direction`` (rad, in
        [0, 2 pi)), ``x`` and ``z`` there, and ``epochs`` (s), sleep and wake.
    """
    with h5py.File(io.BytesIO(content), "r") as file:
        angle, position = file["acquisition/CompassDirection/ry"], file["acquisition/Position"]
        units, epochs = file["units"], file["intervals/epochs"]
        arrays = {
            "spike_times": units["spike_times"][:],
            "spike_index": units["spike_times_index"][:],
            "head_direction": angle["data"][:].astype(np.float32),
            "t": angle["timestamps"][:],
            "x": position["x/data"][:].astype(np.float32),
            "z": position["z/data"][:].astype(np.float32),
            "epochs": np.column_stack([epochs["start_time"][:], epochs["stop_time"][:]]),
            "region": units["location"].asstr()[:].astype(str),
            "shank": units["group"][:],
        }
    return _packed(arrays)


def grasshopper(content: bytes) -> bytes:
    """Return the two recordings of an auditory receptor that nitime has.

    Parameters
    ----------
    content
        A wheel of nitime, which is a zip archive with four text files of numbers.

    Returns
    -------
    bytes
        An ``.npz`` with, for k = 1, 2, ``stim<k>_t_us`` (microseconds) and ``stim<k>_amp``, the
        envelope of the sound relative to its largest value; ``spikes<k>_us`` and ``spikes<k>_len``,
        times of spikes in microseconds and their number.
    """
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for k in (1, 2):
            sound, spikes = (
                np.loadtxt(io.BytesIO(archive.read(f"nitime/data/grasshopper_{name}{k}.txt")))
                for name in ("stimulus", "spike_times")
            )
            arrays[f"stim{k}_t_us"] = sound[:, 0].copy()
            arrays[f"stim{k}_amp"] = sound[:, 1].astype(np.float32)
            arrays[f"spikes{k}_us"] = spikes
            arrays[f"spikes{k}_len"] = np.array([len(spikes)])
    return _packed(arrays)


def _packed(arrays: dict[str, np.ndarray]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in arrays.items():
            single = io.BytesIO()
            np.save(single, values, allow_pickle=False)
            archive.writestr(f"{name}.npy", single.getvalue())
    return packed.getvalue()


CONVERTERS: dict[str, Callable[[bytes], bytes]] = {
    "grasshopper": grasshopper,
    "head_direction": head_direction,
}
