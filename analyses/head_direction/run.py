"""Measure head-direction cells of a mouse with what measures networks, and draw it.

    python analyses/head_direction/run.py      (one minute on one core)

Needs the data: ``seqprobe data fetch head-direction``. Prints the numbers; the figure and what it
is drawn from go to figures/head_direction.{pdf,png,nc}.
"""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path

import numpy as np
import xarray as xr
from figure import draw

from seqprobe import plots, schema
from seqprobe.capacity import cloud_dimension
from seqprobe.data import head_direction
from seqprobe.degeneracy import dsa
from seqprobe.degeneracy.representation import DISTANCES
from seqprobe.dynamics import recorded_timescales
from seqprobe.memory import decode
from seqprobe.schema import variable

FIGURES = Path(__file__).resolve().parents[2] / "figures"
BIN, SMOOTH = 0.1, 0.2  # seconds, of everything that is not said to differ
BINS, SMOOTHINGS = (0.05, 0.1, 0.2, 0.5), (0.0, 0.1, 0.2, 0.5, 1.0)
SECTORS = 36
SHIFTS, PHASES, PERMUTATIONS = 100, 10, 1000  # draws of controls
CI = (2.5, 97.5)


def of_region(values: xr.DataArray, region: str) -> xr.DataArray:
    """Return the units of one region."""
    return values.isel(unit=np.flatnonzero(values["region"].values == region))


def shifted(values: xr.DataArray, rng: np.random.Generator) -> xr.DataArray:
    """Return every unit shifted by a time of its own: each as it was, without the others."""
    length = values.sizes["time"]
    steps = rng.integers(length // 20, length - length // 20, values.sizes["unit"])
    rolled = [np.roll(unit, step) for unit, step in zip(values.values.T, steps, strict=True)]
    return values.copy(data=np.stack(rolled, axis=1))


def random_phases(x: np.ndarray, rng: np.random.Generator, together: bool) -> np.ndarray:
    """Return (T, d) with the same spectra and other phases, the same ones for all units or not."""
    spectrum = np.fft.rfft(x - x.mean(axis=0), axis=0)
    phases = rng.uniform(0, 2 * np.pi, (len(spectrum), 1 if together else x.shape[1]))
    return np.fft.irfft(spectrum * np.exp(1j * phases), len(x), axis=0) + x.mean(axis=0)


def spread(draws: np.ndarray) -> np.ndarray:
    """Return what 95 % of draws (R, ...) give, (2, ...); NaN for a single one."""
    if len(draws) == 1:
        return np.full((2, *draws.shape[1:]), np.nan)
    return np.percentile(draws, CI, axis=0)


def settings() -> xr.Dataset:
    """Return the decoding error of the angle for every width of bins and every smoothing."""
    rows = []
    for width, smooth in product(BINS, SMOOTHINGS):
        found = head_direction(width, smooth)
        reading = decode(of_region(found["rate"], "adn"), found["angle"], circular=True)
        kept = reading[[name for name in reading if str(name).startswith("median_error")]]
        where = {
            "bin_seconds": variable((), width, "width of the bins", "s"),
            "smooth_seconds": variable((), smooth, "smoothing", "s"),
        }
        rows.append(kept.assign_coords(where))
    return xr.concat(rows, "run", combine_attrs="drop_conflicts")


def dimensions(rate: xr.DataArray) -> xr.Dataset:
    """Return the dimension of both regions, and of units shifted by times of their own."""
    rng = np.random.default_rng(0)
    rows = []
    for region in ("adn", "ca1"):
        units = of_region(rate, region)
        found = cloud_dimension(units).drop_dims("component")
        draws = [cloud_dimension(shifted(units, rng)) for _ in range(SHIFTS)]
        for key in ("participation_ratio", "two_nn"):
            values = np.array([float(draw[key]) for draw in draws])
            words = f"{found[key].attrs['long_name']}, units shifted"
            bounds = np.percentile(values, CI)
            found[f"{key}_null"] = variable((), np.median(values), words, "dimensions")
            found[f"{key}_null_ci"] = variable(("ci_bound",), bounds, words, "dimensions")
            part = float((values <= float(found[key])).mean())
            found[f"{key}_below"] = variable((), part, f"part of the shifts below: {key}", "1")
        rows.append(found.assign_coords(condition=variable((), region, "region", "1")))
    return xr.concat(rows, "condition", combine_attrs="drop_conflicts")


def dynamics(rate: xr.DataArray) -> xr.Dataset:
    """Return DSA distances of the first half of the recording from the second and its controls.

    ``dsa`` (condition, delays, rank) is the median of draws where there are several, with what 95 %
    of them give; ``dsa_null`` (delays, rank) that of the first half's own halves.
    """
    rng = np.random.default_rng(0)
    adn, ca1 = of_region(rate, "adn"), of_region(rate, "ca1").isel(unit=slice(0, 7))
    half = rate.sizes["time"] // 2
    first, second = adn[:half], adn[half : 2 * half]
    x = second.values
    compared = {
        "second half": [second],
        "common phases": [random_phases(x, rng, together=True) for _ in range(PHASES)],
        "own phases": [random_phases(x, rng, together=False) for _ in range(PHASES)],
        "steps shuffled": [rng.permutation(x)],
        "seven CA1 units": [ca1[half : 2 * half]],
    }
    states = [first, *(second.copy(data=np.asarray(one)) for of in compared.values() for one in of)]
    pairs = [(0, i) for i in range(1, len(states))]
    found = dsa(states, delays=(1, 3), ranks=(4, 7), restarts=24, which=pairs)
    ends = np.cumsum([1, *map(len, compared.values())])
    draws = [found["dsa"].values[0, low:high] for low, high in pairwise(ends)]
    dims, words = ("condition", "delays", "rank"), "DSA distance from the first half"
    data = {
        "dsa": variable(dims, np.stack([np.median(d, axis=0) for d in draws]), words, "1"),
        "dsa_ci": variable(
            ("ci_bound", *dims),
            np.stack([spread(d) for d in draws], axis=1),
            f"95 % of draws: {words}",
            "1",
        ),
        "dsa_null": found["dsa_null"][0].variable,
        "r2": found["r2"][0].variable,
    }
    coords = {
        "condition": variable(("condition",), np.array(list(compared)), "compared with", "1"),
        "ci_bound": variable(("ci_bound",), np.array(CI), "percentile", "percent"),
    }
    return xr.Dataset(
        data, coords | {name: found[name] for name in ("delays", "rank")}, found.attrs
    )


def tuning(rate: xr.DataArray, angle: xr.DataArray) -> xr.Dataset:
    """Return mean rates by sector of the angle in both halves, and how far apart they are.

    Sectors are the samples of CKA. Controls: sectors of the second half in random order, and all of
    them turned by the same angle.
    """
    sector = (angle.values / (2 * np.pi) * SECTORS).astype(int)
    half = len(sector) // 2
    curves = np.stack(
        [
            [rate.values[part][sector[part] == k].mean(axis=0) for k in range(SECTORS)]
            for part in (slice(0, half), slice(half, None))
        ]
    )
    distance = DISTANCES["cka_debiased"]
    rng = np.random.default_rng(0)
    permuted = [distance(curves[0], rng.permutation(curves[1])) for _ in range(PERMUTATIONS)]
    turned = [distance(curves[0], np.roll(curves[1], k, axis=0)) for k in range(1, SECTORS)]
    name = distance.long_name
    middles = (np.arange(SECTORS) + 0.5) * 360 / SECTORS
    data = {
        "rate": variable(("part", "bin", "unit"), curves, "firing rate", "Hz"),
        "cka": variable((), distance(*curves), name, "1"),
        "cka_permuted": variable((), np.mean(permuted), f"{name}, permuted sectors", "1"),
        "cka_permuted_ci": variable(
            ("ci_bound",), np.percentile(permuted, CI), "95 % of permutations", "1"
        ),
        "cka_turned": variable((), np.mean(turned), f"{name}, mean of turned sectors", "1"),
        "cka_turned_least": variable((), np.min(turned), f"{name}, least of turned sectors", "1"),
    }
    coords = {
        "part": variable(("part",), np.array(["first half", "second half"]), "half", "1"),
        "bin": variable(("bin",), middles, "direction of the head", "degrees"),
    }
    return xr.Dataset(data, coords)


def show(label: str, found: xr.Dataset, key: str) -> None:
    """Print a number with its interval."""
    low, high = found[f"{key}_ci"].values
    unit = found[key].attrs["units"]
    print(f"{label + ', ' + key:40} {float(found[key]):7.2f}  ({low:.2f} to {high:.2f}) {unit}")


def report(groups: dict[str, xr.Dataset]) -> None:
    """Print what the README says."""
    for label in ("adn", "adn_backwards", "ca1"):
        reading = groups[f"decode_{label}"]
        for key in ("median_error", "median_error_null", "mean_error", "mean_error_null"):
            show(label, reading, key)
        print(f"{label}: p = {float(reading['p_value']):.3f}, ridge {float(reading['ridge']):g}")
    table = groups["settings"].set_index(run=["bin_seconds", "smooth_seconds"]).unstack("run")
    print("median error (degrees) by bin (rows) and smoothing (columns), seconds")
    print(table["median_error"].to_pandas().round(1).to_string())
    for label, key in product(("adn", "ca1"), ("participation_ratio", "two_nn")):
        found = groups["dimension"].sel(condition=label)
        show(label, found, key)
        show(label, found, f"{key}_null")
        print(f"{label}: {float(found[f'{key}_below']):.2f} of the shifts are below")
    scales = groups["timescales"]
    for region in ("adn", "ca1"):
        units = np.flatnonzero(scales["region"].values == region)
        for unit in units[np.argsort(scales["tau_ac"].values[units])]:
            show(f"{region} {unit}", scales.isel(unit=unit), "tau_ac")
    similar = groups["dsa"]
    for p, r in product(similar["delays"].values, similar["rank"].values):
        at = similar.sel(delays=p, rank=r)
        print(f"DSA p={p} r={r}: null {float(at['dsa_null']):.3f}", end="")
        for other in at["condition"].values:
            row = at.sel(condition=other)
            low, high = row["dsa_ci"].values
            between = f" ({low:.3f} to {high:.3f})" if np.isfinite(low) else ""
            print(f", {other} {float(row['dsa']):.3f}{between}", end="")
        print()
    curves = groups["tuning"]
    for key in ("cka", "cka_permuted", "cka_turned", "cka_turned_least"):
        print(f"{curves[key].attrs['long_name']}: {float(curves[key]):.3f}")


def main() -> None:
    """Compute, print, write."""
    found = head_direction(BIN, SMOOTH)
    rate, angle = found["rate"], found["angle"]
    adn = of_region(rate, "adn")
    backwards = slice(None, None, -1)
    groups = {
        "decode_adn": decode(adn, angle, circular=True),
        "decode_adn_backwards": decode(adn[backwards], angle[backwards], circular=True),
        "decode_ca1": decode(of_region(rate, "ca1"), angle, circular=True),
        "settings": settings(),
        "dimension": dimensions(rate),
        # Smoothing would add its own correlations; lag 0 has the noise of counts.
        "timescales": recorded_timescales(found["count"], first_lag=1),
        "dsa": dynamics(rate),
        "tuning": tuning(adn, angle),
    }
    report(groups)
    schema.write_groups(groups, FIGURES / "head_direction.nc")
    figure = draw(groups)
    for kind in ("pdf", "png"):
        plots.save(figure, FIGURES / f"head_direction.{kind}")


if __name__ == "__main__":
    main()
