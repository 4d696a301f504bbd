"""Fixed-point topology of networks whose points are known, and of graphs against an oracle."""

from __future__ import annotations

import time
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor

from seqprobe import schema
from seqprobe.degeneracy.topology import FixedPointGraph, compare, fixed_point_topology
from seqprobe.errors import NotApplicableError, SeqprobeError, UsageError
from seqprobe.models import Model, build_model
from seqprobe.spec import Spec
from seqprobe.tasks import make_task
from seqprobe.training import load_checkpoint

SHIPPED = Path(__file__).resolve().parents[2] / "checkpoints/flipflop"
THREE = Spec("continuous", 3, "regression", 3)


def shipped(architecture: str) -> Model:
    return load_checkpoint(SHIPPED / f"{architecture}-s0.pt").build_model()


def relabelled(model: Model) -> Model:
    """The same tanh network with its units in another order."""
    order = torch.from_numpy(np.random.default_rng(0).permutation(64))
    weights = {
        "core.layers.0.weight_ih": lambda w: w[order],
        "core.layers.0.weight_hh": lambda w: w[order][:, order],
        "core.layers.0.bias": lambda w: w[order],
        "head.weight": lambda w: w[:, order],
        "head.bias": lambda w: w,
    }
    copy = build_model("rnn", THREE, {"width": 64})
    copy.load_state_dict({name: weights[name](w) for name, w in model.state_dict().items()})
    return copy


def latches(*gains: float) -> Model:
    """Units ``x = tanh(gain x)`` side by side: 3 fixed points each if the gain is above 1, or 1."""
    model = build_model("rnn", THREE, {"width": len(gains)})
    with torch.no_grad():
        model.get_parameter("core.layers.0.weight_hh").copy_(torch.diag(torch.tensor(gains)))
        model.get_parameter("core.layers.0.bias").zero_()
    return model


def inputs() -> Tensor:
    return make_task("flipflop").batch("test", 64).inputs


def graph(n_unstable: list[int], branches: list[tuple[int, int]]) -> FixedPointGraph:
    return FixedPointGraph(
        np.array(n_unstable, dtype=int), np.array(branches, dtype=int).reshape(-1, 2)
    )


def joined(pairs: nx.Graph, seed: int = 0) -> FixedPointGraph:
    """Attractors joined by saddles where a graph has edges, all in random order."""
    size = len(pairs) + pairs.number_of_edges()
    at = np.random.default_rng(seed).permutation(size)
    place = dict(zip(pairs, at, strict=False))
    saddles = at[len(pairs) :]
    kinds = np.zeros(size, dtype=int)
    kinds[saddles] = 1
    rows = [(s, place[v]) for s, e in zip(saddles, pairs.edges(), strict=True) for v in e]
    return graph(kinds.tolist(), rows)


class TestNetworks:
    def test_flipflops_of_three_bits(self) -> None:
        models = [shipped("rnn"), relabelled(shipped("rnn")), shipped("gru"), latches(0.5, 0.3)]
        done: list[tuple[int, int]] = []
        found = fixed_point_topology(models, inputs(), update=lambda *n: done.append(n))
        assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
        # A cube: 8 corners, 12 edges, 6 faces, 1 middle; each edge has its two ends.
        cube, alone = [8, 12, 6, 1], [1, 0, 0, 0]
        assert found["n_by_index"].values.tolist() == [cube, cube, cube, alone]
        assert found["n_fixed_points"].values.tolist() == [27, 27, 27, 1]
        assert found["n_stable"].values.tolist() == [8, 8, 8, 1]
        assert found["n_connections"].values.tolist() == [24, 24, 24, 0]
        assert found["n_unresolved"].values.tolist() == [0] * 4
        assert found["n_marginal"].values.tolist() == [0] * 4
        assert found["complete"].values.tolist() == [1] * 4
        one = np.arange(4) == 3
        differ = one[:, None] != one
        assert found["topology_distance"].values.tolist() == (26 * differ).tolist()
        assert found["same_graph"].values.tolist() == (~differ).astype(float).tolist()

    def test_latches(self) -> None:
        found = fixed_point_topology([latches(2, 0.5), latches(2, 2), latches(3, 1.5)], inputs())
        assert found["n_by_index"].values.tolist() == [[2, 1, 0], [4, 4, 1], [4, 4, 1]]
        assert found["n_connections"].values.tolist() == [2, 8, 8]
        assert found["topology_distance"].values.tolist() == [[0, 6, 6], [6, 0, 0], [6, 0, 0]]
        assert found["same_graph"].values.tolist() == [[1, 0, 0], [0, 1, 1], [0, 1, 1]]

    def test_marginal_points_are_not_stable(self) -> None:
        # x = tanh(0.9995 x) has the root 0 with this eigenvalue, nearer than 1e-3 to 1.
        found = fixed_point_topology([latches(0.9995, 0.5)], inputs())
        assert found["n_by_index"].values.tolist() == [[1]]
        assert int(found["n_marginal"][0]) == 1
        assert int(found["n_stable"][0]) == 0

    @pytest.mark.parametrize(
        ("gain", "bias", "by_index", "arrived", "lost"),
        [
            (0.5, 1.0, [1], 0, 0),  # 2
            (1.0, 1.0, [0], 0, 0),  # it grows for ever
            (2.0, -1.0, [1, 1], 1, 1),  # 0, and 1, from which one side goes to infinity
        ],
    )
    def test_a_rectified_unit(
        self, gain: float, bias: float, by_index: list[int], arrived: int, lost: int
    ) -> None:
        model = build_model("irnn", THREE, {"width": 1})
        with torch.no_grad():
            model.get_parameter("core.layers.0.weight_ih").fill_(1.0)
            model.get_parameter("core.layers.0.weight_hh").fill_(gain)
            model.get_parameter("core.layers.0.bias").fill_(bias)
        found = fixed_point_topology([model], inputs()[:, :5])
        assert found["n_by_index"].values.tolist() == [by_index]
        assert found["n_connections"].values.tolist() == [arrived]
        assert found["n_unresolved"].values.tolist() == [lost]
        assert found["complete"].values.tolist() == [-1]  # its states have no known bound

    def test_the_result_keeps_to_the_schema(self, tmp_path: Path) -> None:
        models = [latches(2.0), latches(0.5)]
        found = fixed_point_topology(models, inputs(), seed=3)
        schema.write(found, tmp_path / "x.nc")
        assert schema.read(tmp_path / "x.nc").identical(found)
        assert found["topology_distance"].dims == ("net_a", "net_b")
        assert found["net_b"].values.tolist() == found["net_a"].values.tolist() == [0, 1]
        assert found.attrs["analysis"] == "degeneracy.fixed_point_topology"
        assert found.attrs["seed"] == 3
        again = fixed_point_topology(models, inputs(), seed=3)
        assert again.drop_attrs().identical(found.drop_attrs())


class TestCompare:
    def test_a_cube_and_a_cube_with_two_edges_crossed(self) -> None:
        cube = nx.hypercube_graph(3)
        assert compare(joined(cube, 1), joined(cube, 2)) == (0, True)
        crossed = nx.Graph(cube)
        crossed.remove_edges_from([((0, 0, 0), (0, 0, 1)), ((1, 1, 0), (1, 1, 1))])
        crossed.add_edges_from([((0, 0, 0), (1, 1, 0)), ((0, 0, 1), (1, 1, 1))])
        assert compare(joined(cube), joined(crossed)) == (0, False)

    def test_where_the_sides_of_saddles_end_matters(self) -> None:
        bridge = graph([0, 0, 1], [(2, 0), (2, 1)])
        loop = graph([0, 0, 1], [(2, 0), (2, 0)])
        half = graph([0, 0, 1], [(2, 0)])
        none = graph([0, 0, 1], [])
        kinds = [bridge, loop, half, none]
        for i, a in enumerate(kinds):
            for j, b in enumerate(kinds):
                assert compare(a, b) == (0, i == j)
        # Two saddles between one pair, or one each between two.
        twice = graph([0, 0, 0, 1, 1], [(3, 0), (3, 1), (4, 0), (4, 1)])
        chain = graph([0, 0, 0, 1, 1], [(3, 0), (3, 1), (4, 1), (4, 2)])
        assert compare(twice, chain) == (0, False)

    def test_counts_of_all_kinds(self) -> None:
        assert compare(graph([0, 2], []), graph([0, 0, 0, 1, 4], [])) == (5, False)
        assert compare(graph([], []), graph([], [])) == (0, True)
        assert compare(graph([1, 2], []), graph([2, 1], [])) == (0, True)
        assert compare(graph([], []), graph([0], [])) == (1, False)

    def test_equals_isomorphism_of_the_graphs_of_all_points(self) -> None:
        outcomes = []
        rng = np.random.default_rng(0)
        for _ in range(300):
            a = drawn(rng)
            b = changed(shuffled(a, rng), rng)
            same = compare(a, b).same
            assert same == nx.is_isomorphic(of_points(a), of_points(b), node_match=alike)
            assert compare(a, shuffled(a, rng)).same
            outcomes.append(same)
        assert 30 < sum(map(bool, outcomes)) < 270  # both outcomes were tested

    def test_graphs_that_neighbours_alone_do_not_tell_apart(self) -> None:
        ring, rings = nx.cycle_graph(6), nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3))
        assert compare(joined(ring), joined(rings)) == (0, False)
        # 4 x 4 rook's graph and Shrikhande's: strongly regular with the same parameters.
        rook = nx.line_graph(nx.complete_bipartite_graph(4, 4))
        steps = [(0, 1), (1, 0), (1, 1)]
        square = [divmod(i, 4) for i in range(16)]
        shrikhande = nx.Graph(
            [((i, j), ((i + a) % 4, (j + b) % 4)) for i, j in square for a, b in steps]
        )
        assert compare(joined(rook), joined(shrikhande)) == (0, False)
        assert compare(joined(shrikhande, 1), joined(shrikhande, 2)) == (0, True)

    def test_six_bits_take_no_time(self) -> None:
        cube = nx.hypercube_graph(6)
        a, b = joined(cube, 1), joined(cube, 2)
        began = time.perf_counter()
        assert compare(a, b) == (0, True)
        assert time.perf_counter() - began < 2  # 0.02 s on a free core; VF2 on points: hours

    def test_what_is_not_decided_is_called_so(self) -> None:
        # Rings of 3 and of 6 in other numbers: what is alike can be matched in very many ways.
        def rings(three: int, six: int) -> FixedPointGraph:
            parts = [nx.cycle_graph(3)] * three + [nx.cycle_graph(6)] * six
            return joined(nx.disjoint_union_all(parts))

        assert compare(rings(6, 3), rings(4, 4)) == (0, None)


def drawn(rng: np.random.Generator) -> FixedPointGraph:
    """A random graph of 3 attractors, 3 saddles with up to two sides, and another point."""
    sides = [(3 + k, int(rng.integers(3))) for k in range(3) for _ in range(rng.choice(3, p=P))]
    return shuffled(graph([0, 0, 0, 1, 1, 1, 2], sides), rng)


P = [0.05, 0.15, 0.8]  # of a saddle with no, one and two sides that arrived


def shuffled(of: FixedPointGraph, rng: np.random.Generator) -> FixedPointGraph:
    """The same graph with its points and branches in another order."""
    place = rng.permutation(len(of.n_unstable))
    kinds = np.empty_like(of.n_unstable)
    kinds[place] = of.n_unstable
    return FixedPointGraph(kinds, rng.permutation(place[of.branches]))


def changed(of: FixedPointGraph, rng: np.random.Generator) -> FixedPointGraph:
    """The same graph with one branch led to an attractor drawn anew, which may be the old one."""
    branches = of.branches.copy()
    if len(branches):
        branches[rng.integers(len(branches)), 1] = rng.choice(np.flatnonzero(of.n_unstable == 0))
    return FixedPointGraph(of.n_unstable, branches)


def of_points(of: FixedPointGraph) -> nx.MultiDiGraph:
    made = nx.MultiDiGraph()
    made.add_nodes_from((i, {"kind": k}) for i, k in enumerate(of.n_unstable.tolist()))
    made.add_edges_from(of.branches.tolist())
    return made


def alike(p: dict[str, int], q: dict[str, int]) -> bool:
    return p["kind"] == q["kind"]


class TestErrors:
    def test_no_network(self) -> None:
        with pytest.raises(UsageError, match="no networks were given"):
            fixed_point_topology([], inputs())

    @pytest.mark.parametrize(
        ("architecture", "why"),
        [("transformer", "the state of this model grows"), ("bi-rnn", "model is bidirectional")],
    )
    def test_a_network_without_fixed_points(self, architecture: str, why: str) -> None:
        models = [latches(2.0), build_model(architecture, THREE)]
        with pytest.raises(NotApplicableError, match=f"^network 1: {why}"):
            fixed_point_topology(models, inputs())

    def test_weights_that_are_not_finite(self) -> None:
        with pytest.raises(SeqprobeError, match=r"^network 0: "):
            fixed_point_topology([latches(float("nan"))], inputs())

    @pytest.mark.parametrize(
        "x", [torch.zeros(2, 5), torch.zeros(0, 5, 3), torch.ones(2, 5, 3).int()]
    )
    def test_inputs_of_another_kind(self, x: Tensor) -> None:
        with pytest.raises(UsageError, match="inputs are torch"):
            fixed_point_topology([latches(2.0)], x)

    def test_inputs_of_another_size(self) -> None:
        with pytest.raises(UsageError, match=r"^network 0: inputs have 2 channels \(allowed: 3"):
            fixed_point_topology([latches(2.0)], torch.zeros(2, 5, 2))

    @pytest.mark.parametrize(
        ("n_unstable", "branches", "match"),
        [
            ([[0, 1]], [[1, 0]], "points are int64 .1, 2."),
            ([0, 1], [1, 0], "branches int64 .2,."),
            ([0, -1], [[1, 0]], "integers from 0 up"),
            ([0.0, 1.0], [[1, 0]], "points are float64"),
            ([0, 2], [[1, 0]], "joins point 1 "),
            ([0, 1], [[1, 1]], "joins point 1 "),
            ([0, 1], [[1, 2]], "joins point 2 "),
            ([0, 1], [[1, 0]] * 3, "point 1 has 3 branches"),
        ],
    )
    def test_graphs_that_are_none(
        self, n_unstable: list[int], branches: list[list[int]], match: str
    ) -> None:
        with pytest.raises(UsageError, match=match):
            FixedPointGraph(np.array(n_unstable), np.array(branches))
