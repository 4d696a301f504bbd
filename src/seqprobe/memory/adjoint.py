"""Exact Jacobians of recurrent networks by the adjoint recursion, for all lags at once.

Rows (output time t, probe v) carry the derivative of ``v . y_t`` with respect to the state at s
backwards in time, all together: one pass of T matrix products, and no graph in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from seqprobe.models import Model, Trace
from seqprobe.models.gru import GRULayer
from seqprobe.models.irnn import IRNNLayer
from seqprobe.models.lstm import LSTMLayer
from seqprobe.models.recurrent import RecurrentLayer
from seqprobe.models.rnn import RNNLayer

__all__ = ["adjoint_jacobians", "has_adjoint"]

# Reals in the adjoints of one chunk of sequences.
_CHUNK = 2**22


def has_adjoint(model: nn.Module) -> bool:
    """Say whether the recursion is written out for a model: tanh, rectified, GRU, LSTM stacks."""
    return (
        isinstance(model, Model)
        and model.causal
        and all(
            type(layer) in (RNNLayer, IRNNLayer)
            or (isinstance(layer, GRULayer) and layer.reset == "after")
            or (isinstance(layer, LSTMLayer) and not (layer.cifg or layer.peephole))
            for layer in getattr(model.core, "layers", [model.core])
        )
    )


def adjoint_jacobians(
    model: Model,
    x: Tensor,
    times: Sequence[int],
    probes: Tensor,
    max_lag: int,
    scales: Tensor | None = None,
    root: Tensor | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return what `seqprobe.memory.jacobian.squared_jacobians` returns, by recursion.

    Parameters, result and units are those of `squared_jacobians`; the model must be one for which
    `has_adjoint` holds. Times may be smaller than `max_lag`; lags before the first input are 0.

    Notes
    -----
    Cost: one forward pass and T steps of (rows x H) (H x G H) products per layer.
    """
    factors = torch.ones(1, *x.shape[1:]) if scales is None else scales
    factors = factors.double().square().to(x.device)
    squares = np.zeros((len(factors), len(x), len(times), max_lag + 1))
    rows = len(times) * len(probes)
    states = sum(len(layer.parts) * layer.width for layer in _layers(model))
    count = max(1, _CHUNK // (rows * states))
    for start in range(0, len(x), count):
        piece = slice(start, start + count)
        with torch.no_grad():
            squares[:, piece] = _recursion(model, x[piece], times, probes, max_lag, factors, root)
        if on_progress is not None:
            done = min(start + count, len(x)) * len(times)
            on_progress(done, len(x) * len(times))
    return squares if scales is not None else squares[0]


def _layers(model: Model) -> list[RecurrentLayer]:
    return list(getattr(model.core, "layers", [model.core]))


def _recursion(
    model: Model,
    x: Tensor,
    times: Sequence[int],
    probes: Tensor,
    max_lag: int,
    factors: Tensor,
    root: Tensor | None,
) -> np.ndarray:
    """Run one chunk of sequences backwards; (S, N, times, lags)."""
    layers, n, n_probes = _layers(model), len(x), len(probes)
    last = times[-1]
    x = x[:, : last + 1]
    cells = []
    for layer in layers:
        trace = Trace("*")
        x, _ = layer(x, trace=trace)
        cells.append(_ADJOINTS[_kind(layer)](layer, x, trace))
    readout = probes @ model.head.weight  # (P, H)
    # Rows are in order of time, the latest first, so that those in use are the first ones.
    at = np.asarray(times)
    order = np.argsort(-at, kind="stable")
    carried = [
        [x.new_zeros(n, len(order) * n_probes, layer.width) for _ in layer.parts]
        for layer in layers
    ]
    out = np.zeros((len(factors), n, len(times), max_lag + 1))
    first = stop = 0  # of the times whose rows are under way
    for s in range(last, max(0, times[0] - max_lag) - 1, -1):
        while stop < len(order) and at[order[stop]] == s:
            carried[-1][0][:, stop * n_probes : (stop + 1) * n_probes] += readout
            stop += 1
        while first < stop and at[order[first]] - s > max_lag:
            first += 1
        if first == stop:  # between times that lie further apart than the lags reach
            continue
        used = slice(first * n_probes, stop * n_probes)
        into = x.new_zeros(())
        for cell, parts in zip(reversed(cells), reversed(carried), strict=True):
            parts[0][:, used] += into
            into, before = cell(s, [part[:, used] for part in parts])
            for part, value in zip(parts, before, strict=True):
                part[:, used] = value
        if root is not None:
            into = into @ root
        by_row = into.double().square() @ factors[:, s].T
        by_time = by_row.view(n, stop - first, n_probes, -1).sum(dim=2).cpu().numpy()
        now = order[first:stop]
        out[:, :, now, at[now] - s] = by_time.transpose(2, 0, 1)
    return out


# Maps a time s and the adjoints of the state after it, each (N, R, H), to the adjoint of the input
# at s, (N, R, D), and those of the state before it.
Step = Callable[[int, list[Tensor]], tuple[Tensor, list[Tensor]]]


def _kind(layer: RecurrentLayer) -> str:
    return (
        "gru" if isinstance(layer, GRULayer) else "lstm" if isinstance(layer, LSTMLayer) else "rnn"
    )


def _before(h: Tensor) -> Tensor:
    """Return the state that each step started from, (N, T, H)."""
    return torch.cat([torch.zeros_like(h[:, :1]), h[:, :-1]], dim=1)


def _rnn(layer: RecurrentLayer, h: Tensor, trace: Trace) -> Step:
    slope = (trace["pre"] > 0).to(h.dtype) if isinstance(layer, IRNNLayer) else 1 - h.square()

    def step(s: int, adjoints: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        delta = adjoints[0] * slope[:, s, None]
        return delta @ layer.weight_ih, [delta @ layer.weight_hh]

    return step


def _gru(layer: RecurrentLayer, h: Tensor, trace: Trace) -> Step:
    assert isinstance(layer, GRULayer)
    width = layer.width
    r, z, n = trace["reset"], trace["update"], trace["candidate"]
    h = _before(h)
    u = h @ layer.weight_hh[2 * width :].T + layer.bias_n
    to_n = (1 - z) * (1 - n.square())
    to_z = (h - n) * z * (1 - z)
    to_r = u * r * (1 - r)

    def step(s: int, adjoints: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        (lam,) = adjoints
        l_n = lam * to_n[:, s, None]
        gates = torch.cat([l_n * to_r[:, s, None], lam * to_z[:, s, None], l_n], dim=2)
        through = torch.cat([gates[..., : 2 * width], l_n * r[:, s, None]], dim=2)
        return gates @ layer.weight_ih, [through @ layer.weight_hh + lam * z[:, s, None]]

    return step


def _lstm(layer: RecurrentLayer, h: Tensor, trace: Trace) -> Step:
    i, f, g, o, c = (trace[name] for name in ("input", "forget", "candidate", "output", "c"))
    squashed = torch.tanh(c)
    to_c = o * (1 - squashed.square())
    to_i, to_f = g * i * (1 - i), _before(c) * f * (1 - f)
    to_g, to_o = i * (1 - g.square()), squashed * o * (1 - o)

    def step(s: int, adjoints: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        lam_h, lam_c = adjoints
        l_c = lam_c + lam_h * to_c[:, s, None]
        delta = torch.cat(
            [
                l_c * to_i[:, s, None],
                l_c * to_f[:, s, None],
                l_c * to_g[:, s, None],
                lam_h * to_o[:, s, None],
            ],
            dim=2,
        )
        return delta @ layer.weight_ih, [delta @ layer.weight_hh, l_c * f[:, s, None]]

    return step


_ADJOINTS: dict[str, Callable[[RecurrentLayer, Tensor, Trace], Step]] = {
    "rnn": _rnn,
    "gru": _gru,
    "lstm": _lstm,
}
