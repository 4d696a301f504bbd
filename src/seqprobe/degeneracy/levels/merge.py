"""From results on some of the networks to one on all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from seqprobe.degeneracy.levels.options import place
from seqprobe.schema import variable

__all__ = ["merge"]

_MISSING = {"perm": -1, "sign": 0}  # of what is no number


def merge(parts: Sequence[tuple[Sequence[int], xr.Dataset]], n: int) -> xr.Dataset:
    """Put results side by side, along ``net_a`` and ``net_b`` of all networks.

    Parameters
    ----------
    parts
        Positions of the networks of each result, and the result.
    n
        Number of all networks.

    Returns
    -------
    xarray.Dataset
        NaN where no result says anything; -1 for ``perm`` and 0 for ``sign``. Variables without
        networks are those of the first result.
    """
    data: dict[str, xr.Variable] = {}
    sizes: dict[str, int] = {"net_a": n, "net_b": n}
    for _, part in parts:
        for dim, size in part.sizes.items():
            if dim not in ("net_a", "net_b"):
                sizes[str(dim)] = max(size, sizes.get(str(dim), 0))
    for _, part in parts:
        for name, values in part.data_vars.items():
            if "net_a" not in values.dims:
                data.setdefault(str(name), values.variable)
            elif name not in data:
                data[str(name)] = _gathered(str(name), parts, sizes)
    return xr.Dataset(data, _coordinates(parts), parts[0][1].attrs)


def _coordinates(parts: Sequence[tuple[Sequence[int], xr.Dataset]]) -> dict[str, xr.Variable]:
    """Return the coordinates that are not of networks, each from where it is longest."""
    found: dict[str, xr.Variable] = {}
    for _, part in parts:
        for name, values in part.coords.items():
            longer = str(name) not in found or values.size > found[str(name)].size
            if longer and not {"net_a", "net_b"} & set(values.dims):
                found[str(name)] = values.variable
    return found


def _gathered(
    name: str, parts: Sequence[tuple[Sequence[int], xr.Dataset]], sizes: dict[str, int]
) -> xr.Variable:
    like = next(part[name] for _, part in parts if name in part)
    dims = tuple(map(str, like.dims))
    fill = _MISSING.get(name, np.nan)
    total = np.full([sizes[d] for d in dims], fill, like.dtype if name in _MISSING else None)
    for members, part in parts:
        if name in part:
            values = part[name].values.astype(total.dtype)
            room = [
                (0, 0 if d in ("net_a", "net_b") else sizes[d] - s)
                for d, s in zip(dims, values.shape, strict=True)
            ]
            padded = np.pad(values, room, constant_values=fill)
            place(total, members, padded, "net_b" in dims)
    return variable(dims, total, like.attrs["long_name"], like.attrs["units"])
