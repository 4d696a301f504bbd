"""Distances between networks: matrices, maps, and their means against what a sweep varies."""

from __future__ import annotations

import itertools
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from seqprobe.errors import UsageError, unknown_name
from seqprobe.plots.style import GROUPS, RC, new_axes

__all__ = [
    "degeneracy_by_factor",
    "degeneracy_by_setting",
    "degeneracy_figure",
    "distance_map",
    "distance_matrix",
]

# What a level is drawn by: its distance, and a short name.
_LEVELS = {
    "behaviour": ("disagreement", "answers"),
    "dynamics": ("dsa", "dynamics (DSA)"),
    "weights": ("dpif_rel", "weights (relative PIF)"),
    "representation": ("procrustes", "representation (Procrustes)"),
    "topology": ("topology_distance", "fixed points (difference of counts)"),
}
_SHORT = {
    "dsa": "DSA distance",
    "dpif_rel": "relative PIF distance",
    "disagreement": "disagreement",
}
_SHORT |= {"procrustes": "Procrustes angle", "topology_distance": "difference of counts"}
_SHORT |= {"sigma_ood": r"$\sigma_{OOD}$", "dpif": "PIF distance", "input_dsa": "InputDSA distance"}
_SHORT |= {"delta_w": r"$\|\Delta W\|$", "barrier": "loss barrier"}
_HEADROOM = 1.1  # above the largest mean or interval


def distance_matrix(found: xr.Dataset, name: str = "dsa", ax: Axes | None = None) -> Axes:
    """Draw the distances of all pairs as a matrix.

    Networks stand by ensemble, and within one in the order of average-linkage clustering. Where
    there are several settings or conditions, the chosen setting (largest one-step R2), or the last
    condition, is drawn. White: not compared.

    Parameters
    ----------
    found
        Result of `seqprobe.degeneracy.compare`.
    name
        A variable along (net_a, net_b).
    ax
        Where to draw; a new figure if None.
    """
    ax = new_axes() if ax is None else ax
    values = _paired(found, name)
    order, edges = _order(found, values)
    shown = values[np.ix_(order, order)].copy()
    np.fill_diagonal(shown, np.nan)
    image = ax.imshow(shown, cmap="viridis", interpolation="none")
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.85, pad=0.03)
    bar.set_label(_label(found, name), size=7)
    bar.outline.set_linewidth(0.4)
    for edge in edges[1:-1]:
        ax.axhline(edge - 0.5, color="w", lw=0.8)
        ax.axvline(edge - 0.5, color="w", lw=0.8)
    middles = [(a + b - 1) / 2 for a, b in itertools.pairwise(edges)]
    labels = _labels(found) if len(middles) > 1 else [f"{len(order)} networks"]
    ax.set_xticks(middles, labels)
    ax.set_yticks(middles, labels, rotation=90, va="center")
    ax.tick_params(length=0, labelsize=6)
    return ax


def distance_map(found: xr.Dataset, name: str = "dsa", ax: Axes | None = None) -> Axes:
    """Draw networks in the plane, as far apart as they are (classical multidimensional scaling).

    The title says which part of the squared distances the plane shows. Ensembles that are not
    compared with each other have maps of their own, side by side.

    Parameters
    ----------
    found, name, ax
        See `distance_matrix`.
    """
    ax = new_axes() if ax is None else ax
    values, of = _paired(found, name), found["net_ensemble"].values
    colors = _colors(found)
    shared = not np.isnan(values).any()
    groups = (
        [np.arange(len(values))] if shared else [np.flatnonzero(of == k) for k in np.unique(of)]
    )
    offset, shown, total = 0.0, 0.0, 0.0
    for group in groups:
        own = values[np.ix_(group, group)]
        if len(group) < 2 or np.isnan(own).any():
            continue
        points, eigenvalues = _scaled(own)
        shown += eigenvalues[:2].clip(0).sum()
        total += np.abs(eigenvalues).sum()
        reach = max(float(np.abs(points).max()), 1e-12)
        if offset:
            offset += 1.25 * reach
        for k in np.unique(of[group]):
            mine = of[group] == k
            ax.plot(points[mine, 0] + offset, points[mine, 1], "o", ms=3, color=colors[k], mew=0)
        offset += 1.25 * reach
    ax.set_aspect("equal", adjustable="datalim")
    ax.margins(0.12)
    kind = "common map" if shared or len(groups) == 1 else "a map for each"
    share = f", {100 * shown / total:.0f} % of squares" if total > 0 else ""
    ax.set_xlabel(f"{kind}{share}", size=7)
    ax.tick_params(labelsize=6)
    ax.locator_params(nbins=4)
    return ax


def degeneracy_by_factor(
    found: xr.Dataset, name: str = "dsa", factor: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the mean of a distance over the pairs of every ensemble, with its null.

    Filled: networks after training, 95 % by resampling networks. Open and dashed: the null, which
    is the same network (`dsa`), the networks before training (`dpif`, representation), or for
    ``sigma_ood`` the training distribution.

    Parameters
    ----------
    found
        Result of `seqprobe.degeneracy.compare`.
    name
        A distance, or ``"sigma_ood"``.
    factor
        A setting along ``ensemble`` that is a number; None for the first that differs.
    ax
        Where to draw; a new figure if None.
    """
    ax = new_axes() if ax is None else ax
    at, axis_label, labels = _factor(found, factor)
    order, joined = np.argsort(at, kind="stable"), 1 < len(at) == len(np.unique(at))
    for ending, style, words in _curves(found, name):
        middle, low, high = _mean(found, name, ending)
        if middle is None:
            continue
        errors = np.array([middle - low, high - middle]).clip(0)
        line = "-" if style == "full" else "--"
        ax.errorbar(
            at[order],
            middle[order],
            yerr=np.where(np.isfinite(errors), errors, 0)[:, order],
            fmt=f"o{line}" if joined else "o",
            color="#000000" if style == "full" else "#D55E00",
            mfc=None if style == "full" else "w",
            ms=4,
            lw=1.2,
            capsize=2,
            label=words,
        )
    if labels is not None:
        ax.set_xticks(at, labels, size=6)
    elif len(at) < 7:
        ax.set_xticks(at, [f"{value:g}" for value in at])
    ax.set_xlabel(axis_label)
    ax.set_ylabel(_label(found, name))
    ax.set_ylim(0, _HEADROOM * ax.dataLim.y1)
    ax.margins(x=0.12)
    return ax


def degeneracy_by_setting(
    found: xr.Dataset, name: str = "dsa", factor: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the mean DSA distance against a factor for every number of delays and every rank.

    Colours are ranks r, marks delays p; dashed: the null, the same network. The order of ensembles
    may depend on the setting.

    Parameters
    ----------
    found, name, factor, ax
        See `degeneracy_by_factor`.
    """
    ax = new_axes() if ax is None else ax
    at, axis_label, labels = _factor(found, factor)
    order = np.argsort(at, kind="stable")
    at, line = at[order], "-" if len(at) == len(np.unique(at)) else ""
    labels = None if labels is None else [labels[k] for k in order]
    mean = found[f"{name}_mean"].isel(ensemble=order)
    null = found[f"{name}_null_mean"].isel(ensemble=order)
    ranks = mean["rank"].values
    shades = mpl.colormaps["viridis"](np.linspace(0.0, 0.85, len(ranks)))
    markers = ("o", "s", "^", "D", "v", "P")
    for i in range(mean.sizes["delays"]):
        for j in range(len(ranks)):
            ax.plot(
                at,
                mean.values[:, i, j],
                f"{markers[i % len(markers)]}{line}",
                color=shades[j],
                ms=3,
                lw=1,
            )
            ax.plot(at, null.values[:, i, j], "--", color=shades[j], lw=0.6, alpha=0.6)
    if labels is not None:
        ax.set_xticks(at, labels, size=6)
    elif len(at) < 7:
        ax.set_xticks(at, [f"{value:g}" for value in at])
    ax.set_xlabel(axis_label)
    ax.set_ylabel(_SHORT.get(name, str(found[name].attrs["long_name"])))
    ax.set_ylim(0, _HEADROOM * ax.dataLim.y1)
    handles = [
        Line2D([], [], color=shade, label=f"r = {r}")
        for shade, r in zip(shades, ranks, strict=True)
    ]
    for i, p in enumerate(mean["delays"].values):
        label, marker = f"p = {p}", markers[i % len(markers)]
        handles.append(Line2D([], [], ls="", marker=marker, color="0.3", ms=3, label=label))
    handles.append(Line2D([], [], ls="--", lw=0.6, color="0.3", label="null"))
    ax.legend(handles=handles, fontsize=5.5, ncols=2, handlelength=1.2, columnspacing=1)
    return ax


def degeneracy_figure(found: xr.Dataset) -> Figure:
    """Return a row per level: matrix of distances, map of networks, mean against what is varied."""
    levels = [name for name, (distance, _) in _LEVELS.items() if distance in found]
    if not levels:
        raise UsageError("there is no distance of pairs to draw in this result")
    titles = ("distances", "networks", "mean over pairs")
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.0, 0.4 + 2.05 * len(levels)), layout="constrained")
        axes = figure.subplots(len(levels), 3, squeeze=False, width_ratios=(1.15, 1, 1))
        for row, (level, panels) in enumerate(zip(levels, axes, strict=True)):
            distance, words = _LEVELS[level]
            distance_matrix(found, distance, panels[0])
            distance_map(found, distance, panels[1])
            out = level == "behaviour" and found.sizes["condition"] > 1
            by = "sigma_ood" if out else distance
            degeneracy_by_factor(found, by, ax=panels[2])
            panels[2].legend(fontsize=6)
            panels[0].set_title(words)
            if row == 0:
                for ax, title in zip(panels[1:], titles[1:], strict=True):
                    ax.set_title(title)
        _legend(figure, found)
    return figure


def _legend(figure: Figure, found: xr.Dataset) -> None:
    labels = [str(label) for label in found["ensemble"].values]
    if len(labels) < 2:
        return
    counts = found["n_networks"].values
    handles = [
        Line2D([], [], marker="o", ls="", ms=4, color=color, label=f"{label} ({n} networks)")
        for color, label, n in zip(_colors(found), labels, counts, strict=True)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(4, len(handles)))


def _colors(found: xr.Dataset) -> list[Any]:
    """Return a colour per ensemble: along a scale if they are ordered by a number."""
    n = found.sizes["ensemble"]
    if _numeric(found) and n > 2:
        return list(mpl.colormaps["plasma"](np.linspace(0.05, 0.8, n)))
    return [GROUPS[k % len(GROUPS)] for k in range(n)]


def _numeric(found: xr.Dataset) -> list[str]:
    """Return the settings along ``ensemble`` that are numbers."""
    return [
        str(name)
        for name, values in found.coords.items()
        if values.dims == ("ensemble",)
        and name not in ("ensemble", "n_networks")
        and values.dtype.kind in "fiu"
    ]


def _factor(found: xr.Dataset, factor: str | None) -> tuple[np.ndarray, str, list[str] | None]:
    """Return where ensembles stand, what the axis is called, and labels if it has no numbers."""
    known = _numeric(found)
    if factor is not None and factor not in known:
        raise unknown_name("factor", factor, known)
    chosen = factor or (known[0] if known else None)
    if chosen is None:
        return np.arange(found.sizes["ensemble"]), "", _labels(found)
    return found[chosen].values.astype(float), chosen, None


def _labels(found: xr.Dataset) -> list[str]:
    return [str(label).replace(", ", "\n").rpartition(".")[2] for label in found["ensemble"].values]


def _chosen(values: xr.DataArray, found: xr.Dataset) -> xr.DataArray:
    """Return a variable at the chosen setting of DSA, and in the last condition."""
    if "delays" in values.dims:
        p, r = np.argwhere(found["chosen"].values)[0]
        values = values.isel(delays=int(p), rank=int(r))
    return values.isel(condition=-1) if "condition" in values.dims else values


def _paired(found: xr.Dataset, name: str) -> np.ndarray:
    known = [str(n) for n, v in found.data_vars.items() if v.dims[:2] == ("net_a", "net_b")]
    if name not in known:
        raise unknown_name("distance of pairs", name, known)
    values = _chosen(found[name], found)
    if values.ndim != 2:
        raise UsageError(f"'{name}' is more than a number per pair (allowed: a distance)")
    matrix: np.ndarray = values.values.astype(float)
    return matrix


def _order(found: xr.Dataset, values: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Return networks by ensemble, clustered within it, and where ensembles begin and end."""
    from scipy.cluster.hierarchy import leaves_list, linkage  # half a second, for this plot alone
    from scipy.spatial.distance import squareform

    of = found["net_ensemble"].values
    order: list[int] = []
    edges = [0]
    for k in np.unique(of):
        group = np.flatnonzero(of == k)
        own = values[np.ix_(group, group)]
        if len(group) > 2 and np.isfinite(own).all():
            group = group[leaves_list(linkage(squareform(own, checks=False), "average"))]
        order += group.tolist()
        edges.append(len(order))
    return np.array(order), edges


def _scaled(distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return points (n, 2) and all eigenvalues of classical multidimensional scaling."""
    n = len(distances)
    centre = np.eye(n) - 1 / n
    eigenvalues, vectors = np.linalg.eigh(-centre @ np.square(distances) @ centre / 2)
    eigenvalues, vectors = eigenvalues[::-1], vectors[:, ::-1]
    points = vectors[:, :2] * np.sqrt(eigenvalues[:2].clip(0))
    return np.pad(points, ((0, 0), (0, 2 - points.shape[1]))), eigenvalues


def _curves(found: xr.Dataset, name: str) -> list[tuple[str, str, str]]:
    """Return what is drawn of a distance: ending of the name, style, words for the legend."""
    if name == "sigma_ood":
        conditions = [str(c) for c in found["condition"].values]
        ends = [("", "full", conditions[-1])]
        return ends if len(conditions) < 2 else [*ends, ("@0", "open", conditions[0])]
    words = "same network" if name.startswith(("dsa", "input_dsa", "eig")) else "before training"
    return [("", "full", "after training"), ("_null", "open", words)]


def _mean(
    found: xr.Dataset, name: str, ending: str
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Return mean and bounds per ensemble; None if the result does not have it."""
    if name == "sigma_ood":
        position = 0 if ending else -1
        values = found["sigma_ood"].isel(condition=position).values
        bounds = found["sigma_ood_ci"].isel(condition=position).values
        return values, bounds[0], bounds[1]
    full = f"{name}{ending}_mean"
    if full not in found:
        return None, np.empty(0), np.empty(0)
    values = _chosen(found[full], found).values
    bounds = _chosen(found[f"{full}_ci"], found).values
    return values, bounds[0], bounds[1]


def _label(found: xr.Dataset, name: str) -> str:
    """Return a name for axes, with the unit and the setting."""
    values = found[name]
    unit = values.attrs["units"]
    text = _SHORT.get(name, str(values.attrs["long_name"]))
    if "delays" in values.dims:
        p, r = np.argwhere(found["chosen"].values)[0]
        text += f"\n(p={found['delays'].values[p]}, r={found['rank'].values[r]})"
    return text if unit == "1" else f"{text} ({unit})"
