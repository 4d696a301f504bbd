"""Cover's theorem, and manifolds whose capacity is known."""

from __future__ import annotations

import numpy as np
import pytest

from seqprobe import schema
from seqprobe.capacity import cover_capacity, cover_probability, manifold_capacity
from seqprobe.capacity.manifold import manifold_geometry
from seqprobe.capacity.separability import is_separable
from seqprobe.errors import SeqprobeError, UsageError


def test_covers_theorem() -> None:
    """Case 34: N = 15 at P = 20, 30, 40."""
    expected = [0.990, 0.5, 0.054]
    found = [cover_probability(points, 15) for points in (20, 30, 40)]
    np.testing.assert_allclose(found, expected, atol=5e-4)
    # 14 directions and the bias.
    z = np.random.default_rng(0).standard_normal((3000, 14))
    result = cover_capacity(z, loads=[20, 30, 40], draws=600)
    schema.validate(result)
    assert int(result["dimension"]) == 15
    np.testing.assert_allclose(result["theory"].values, expected, atol=5e-4)
    np.testing.assert_allclose(result["separable"].values, expected, atol=0.06)
    low, high = result["capacity_ci"].values
    assert low < 30 < high
    assert float(result["effective_dimension"]) == pytest.approx(15, abs=0.7)


def test_separability_by_hand() -> None:
    corners = np.array([[0.0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]])  # the last is the bias
    assert is_separable(corners, np.array([-1.0, -1, -1, 1]))
    assert not is_separable(corners, np.array([-1.0, 1, 1, -1]))  # exclusive or


def test_states_that_coincide_lower_the_capacity() -> None:
    rng = np.random.default_rng(0)
    places = rng.standard_normal((12, 8))
    visited = places[rng.integers(0, 12, 400)]
    result = cover_capacity(visited, loads=[2, 4, 8, 16], draws=100)
    assert float(result["capacity"]) < 8
    with pytest.raises(UsageError, match=r"loads are \[500\]"):
        cover_capacity(visited, loads=[500])


def ball(radius: float, rng: np.random.Generator, draws: int = 200_000) -> float:
    """Return the capacity of discs at distance 1: the cone v0 >= R |v| has closed projections."""
    t = rng.standard_normal((draws, 3))
    along, across = t[:, 0], np.linalg.norm(t[:, 1:], axis=1)
    cost = np.square(np.maximum(radius * across - along, 0)) / (1 + radius**2)
    cost = np.where(along <= -across / radius, along**2 + across**2, cost)
    return float(1 / cost.mean())


@pytest.mark.parametrize("radius", [0.3, 1.0, 2.0])
def test_discs(radius: float) -> None:
    rng = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    disc = np.column_stack([np.ones(80), radius * np.cos(angle), radius * np.sin(angle)])
    found = manifold_geometry(disc, rng, draws=4000)
    assert 1 / found.inverse_capacity == pytest.approx(ball(radius, rng), rel=0.08)
    assert found.dimension == pytest.approx(2, abs=0.15)
    # Where all of T is pushed away, the anchor lies inside of a large disc.
    assert 0.85 * radius < found.radius <= radius * 1.001


def test_points_have_capacity_two() -> None:
    point = np.tile([[1.0, 0, 0]], (5, 1))
    found = manifold_geometry(point, np.random.default_rng(0), draws=8000)
    assert 1 / found.inverse_capacity == pytest.approx(2, abs=0.12)
    assert found.radius == 0
    assert found.dimension == 0


def test_tight_classes_have_more_capacity_than_shuffled_ones() -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((6, 30))
    labels = rng.integers(0, 6, 300)
    z = centres[labels] + 0.2 * rng.standard_normal((300, 30))
    result = manifold_capacity(z, labels, draws=100)
    schema.validate(result)
    assert float(result["capacity"]) > 4 * float(result["capacity_shuffled"])
    assert int(result["manifolds"]) == 6
    wider = manifold_capacity(centres[labels] + rng.standard_normal((300, 30)), labels, draws=100)
    assert float(wider["capacity"]) < float(result["capacity"])
    assert float(wider["radius"]) > float(result["radius"])


def test_impossible_clouds() -> None:
    with pytest.raises(SeqprobeError, match="not all finite"):
        manifold_capacity(np.full((20, 3), np.nan), np.arange(20) % 2)
    with pytest.raises(UsageError, match="states never vary"):
        cover_capacity(np.ones((20, 3)))
    with pytest.raises(UsageError, match=r"loads are \[8, 4\]"):
        cover_capacity(np.random.default_rng(0).standard_normal((20, 3)), loads=[8, 4])
    same = np.tile(np.random.default_rng(0).standard_normal((10, 3)), (2, 1))
    assert np.isnan(manifold_capacity(same, np.repeat([0, 1], 10), draws=5)["capacity"])


def test_refusals() -> None:
    z = np.random.default_rng(0).standard_normal((20, 3))
    with pytest.raises(UsageError, match="1 classes have 3 states or more"):
        manifold_capacity(z, np.zeros(20, dtype=int))
    with pytest.raises(UsageError, match="states"):
        manifold_capacity(z, np.zeros(19, dtype=int))
    with pytest.raises(UsageError, match="20 states of 40 numbers"):
        cover_capacity(np.ones((20, 40)))
