"""Fixed points and trajectories in the space of leading principal components."""

from __future__ import annotations

from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqprobe.plots.eigenvalues import eigenvalues
from seqprobe.plots.points import MARGINAL, point_legend
from seqprobe.plots.runs import single, singles, values
from seqprobe.plots.style import RC, look, new_axes, shade

__all__ = [
    "Plane",
    "draw_points",
    "fixed_points",
    "fixed_points_figure",
    "plane_of",
    "thin_3d",
]


class Plane(NamedTuple):
    """Principal axes (components, state) about a centre (state,), and their shares of variance."""

    centre: np.ndarray
    axes: np.ndarray
    share: np.ndarray

    def place(self, x: np.ndarray) -> np.ndarray:
        """Return the components of states (..., n)."""
        placed: np.ndarray = (x - self.centre) @ self.axes.T
        return placed


def plane_of(run: xr.Dataset, components: int) -> Plane:
    """Return the leading principal axes of the trajectories, or of the points if there are none."""
    states = run["x"].values.reshape(-1, run.sizes["state"])
    if "trajectory" in run:
        states = run["trajectory"].values.reshape(-1, run.sizes["state"])
    states = states[np.isfinite(states).all(axis=1)]
    if not len(np.unique(states, axis=0)) > 1:  # nothing moves: the points themselves
        states = run["x"].values
    if not len(states):
        states = np.zeros((1, run.sizes["state"]))
    centre = states.mean(axis=0)
    _, values, axes = np.linalg.svd(states - centre, full_matrices=False)
    share = values**2 / max(float((values**2).sum()), 1e-300)
    missing = components - len(axes)
    if missing > 0:  # fewer states than components
        axes = np.concatenate([axes, np.zeros((missing, axes.shape[1]))])
        share = np.concatenate([share, np.zeros(missing)])
    # The sign of a component is arbitrary; this choice is the same every time.
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    axes = axes * np.where(signs == 0, 1, signs)[:, None]
    return Plane(centre, axes[:components], share[:components])


def fixed_points(points: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw fixed points, trajectories and unstable directions in principal components.

    Stable points are filled, saddles open and coloured by their unstable dimensions, with a line
    along the leading unstable direction if the result has it. Trajectories are drawn if the result
    has them (`seqprobe.dynamics.trajectories`); they define the components.

    Parameters
    ----------
    points
        Result of `seqprobe.dynamics.fixed_points`, of one run.
    ax
        Where to draw: two components, or three if it is a 3-D axes; a new figure if None.
    """
    ax = new_axes() if ax is None else ax
    run = single(points)
    plane = plane_of(run, 3 if ax.name == "3d" else 2)
    if "trajectory" in run:
        color = look(values(run, "model")[0]).color
        for path in plane.place(run["trajectory"].values):
            ax.plot(*path.T, color=color, lw=0.4, alpha=0.35, zorder=1)
    if "unstable_direction" in run and run.sizes["fixed_point"]:
        _draw_directions(ax, run, plane)
    draw_points(ax, run, plane)
    names = [f"PC{i + 1} ({share:.0%})" for i, share in enumerate(plane.share)]
    setters = (ax.set_xlabel, ax.set_ylabel, *([_z(ax).set_zlabel] if ax.name == "3d" else []))
    for setter, name in zip(setters, names, strict=True):
        setter(name)
    if ax.name == "3d":
        thin_3d(ax)
    return ax


def thin_3d(ax: Axes, label: str | None = None) -> None:
    """Bring the numbers and labels of a small 3-D axes nearer to it; name the third axis."""
    if label is not None:
        _z(ax).set_zlabel(label)
    ax.tick_params(labelsize=5, pad=-3)
    for axis in ("x", "y", "z"):
        getattr(_z(ax), f"{axis}axis").labelpad = -7


def _z(ax: Axes) -> Any:
    """Return 3-D axes as such; matplotlib does not type them."""
    return ax


def draw_points(ax: Axes, run: xr.Dataset, plane: Plane) -> None:
    """Draw the fixed points of one run."""
    unstable, kind = run["n_unstable"].values, run["stability"].values
    placed = plane.place(run["x"].values)
    for i in np.argsort(-unstable):
        color = shade(int(unstable[i]))
        face = color if unstable[i] == 0 else "white"
        edge = "0.5" if kind[i] == MARGINAL else color
        ax.plot(
            *placed[i][:, None],
            "o",
            ms=4.5,
            mfc=face,
            mec=edge,
            mew=1.1,
            zorder=3 - unstable[i] / 99,
        )


def _draw_directions(ax: Axes, run: xr.Dataset, plane: Plane) -> None:
    """Draw a short line along the unstable direction of every saddle."""
    spacing = run["spacing_min"].values if "spacing_min" in run else np.nan
    length = 0.3 * float(spacing) if np.isfinite(spacing) else 0.1
    directions = run["unstable_direction"].values
    for x, v, d in zip(run["x"].values, directions, run["n_unstable"].values, strict=True):
        if np.isfinite(v).all():
            ends = plane.place(np.stack([x - length * v, x + length * v]))
            ax.plot(*ends.T, color=shade(int(d)), lw=1.0, zorder=2)


def _of_inputs(run: xr.Dataset) -> str:
    inputs = run.sizes.get("input", 1)
    return f" of {inputs} inputs" if inputs > 1 else ""


def fixed_points_figure(points: xr.Dataset) -> Figure:
    """Return the figure of ``seqprobe fixed-points``: a row per checkpoint."""
    runs = singles(points)
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.4, 0.4 + 2.4 * len(runs)))
        # The label of the third axis needs room that the layout does not know of.
        figure.set_layout_engine("constrained", wspace=0.12)
        for i, (label, run) in enumerate(runs):
            panels = [
                figure.add_subplot(
                    len(runs), 3, 3 * i + k + 1, **({"projection": "3d"} if k == 0 else {})
                )
                for k in range(3)
            ]
            fixed_points(run, panels[0])
            fixed_points(run, panels[1])
            eigenvalues(run, panels[2])
            panels[0].set_title(label)
            count = run.sizes["fixed_point"]
            panels[1].set_title(f"{count} fixed point{'' if count == 1 else 's'}{_of_inputs(run)}")
            panels[2].set_title("eigenvalues")
        point_legend(figure, [run for _, run in runs])
    return figure
