"""Nearest rows: those of comparing all pairs in double precision, however hard the rows are to tell apart."""

import numpy as np
import pytest
import torch

from farout.base import neighbours
from farout.base.neighbours import Neighbours, nearest_rows

M, N = 3000, 40


def all_pairs(reference, rows, k, *, own=False):
    with np.errstate(over="ignore"):
        squared = np.stack([np.square(reference.astype(np.float64) - row).sum(axis=1) for row in rows])
    if own:
        squared = np.where(np.arange(len(reference)) == np.arange(len(rows))[:, None], np.nan, squared)  # sorted last
    nearest = np.argsort(squared, axis=1, kind="stable")[:, : min(k, len(reference) - own)]
    return np.take_along_axis(squared, nearest, axis=1), nearest


def normal(d):
    rng = np.random.default_rng(d)
    return rng.standard_normal((M, d)), rng.standard_normal((N, d))


def whole(d, most):
    rng = np.random.default_rng(d)
    return rng.integers(most, size=(M, d)).astype(float), rng.integers(most, size=(N, d)).astype(float)


def far():
    reference, rows = normal(20)
    rows[::3, 0] += 1e15
    rows[1::3, 1] -= 1e6
    return reference, rows


def heavy_tailed():
    reference, rows = normal(6)
    reference[:, 0] = np.exp(4 * reference[:, 0])
    reference[5] = 1e15
    return reference, rows


def two_clouds():
    reference, rows = normal(20)
    return np.r_[reference[: M // 2] - 1e4, reference[M // 2 :] + 1e4], np.r_[
        rows[: N // 2] - 1e4, rows[N // 2 :] + 1e4
    ]


def copied():
    reference, rows = normal(5)
    return reference[:30].repeat(M // 30, axis=0)[np.random.default_rng(0).permutation(M)], rows


def features():
    """Of unit norm, in single precision, and near each other: what the last layer of a network is given."""
    rng = np.random.default_rng(0)
    made = np.maximum(rng.standard_normal((M + N, 8)) @ rng.standard_normal((8, 200)) + 5, 0)
    made = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)
    return made[:M], made[M:]


def wide():
    """As training rows are kept: in single precision, of unit variance."""
    return tuple(rows.astype(np.float32) for rows in normal(100))


HARD = {
    "normal": normal(20),
    "one column": normal(1),
    "offset": tuple(rows + 1e8 for rows in normal(20)),
    "tiny": tuple(1e-30 * rows for rows in normal(20)),
    "squares underflow": tuple(1e-160 * rows for rows in normal(20)),
    "squares overflow": tuple(1e160 * rows for rows in normal(20)),
    "whole": whole(3, 12),
    "marks": whole(8, 2),
    "far": far(),
    "two clouds": two_clouds(),
    "heavy tails": heavy_tailed(),
    "copies": copied(),
    "all the same": (np.full((M, 4), 0.1), normal(4)[1]),
    "two zeros": (np.where(normal(4)[0] > 0, 0.0, -0.0), np.zeros((N, 4))),
    "features": features(),
    "few": (normal(4)[0][:7], normal(4)[1]),
    "wide": wide(),
    "wide, an offset": tuple(rows + np.float32(5) for rows in wide()),
    "wide, far": (wide()[0], wide()[1] * 10.0 ** np.linspace(0, 30, N, dtype=np.float32)[:, None]),
    "wide, one far": (np.r_[wide()[0], 1e5 * wide()[0][:1]], wide()[1]),
    "wide, copies": (wide()[0][:100].repeat(30, axis=0), wide()[1]),
    "wide, of whole numbers": tuple(rows.round() for rows in wide()),
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize(("k", "own"), [(1, False), (5, False), (10, True), (40, False)])
def test_they_are_those_of_all_pairs_in_double_precision(name, k, own):
    reference, rows = HARD[name]
    rows = reference[:N] if own else rows
    squared, indices = nearest_rows(reference, rows, k, own=own)
    expected, nearest = all_pairs(reference, rows, k, own=own)
    np.testing.assert_array_equal(squared, expected)
    np.testing.assert_array_equal(indices, nearest)


@pytest.mark.parametrize("name", HARD)
def test_a_row_does_not_depend_on_the_rows_beside_nor_on_the_size_of_blocks(name, monkeypatch):
    near, rows = Neighbours(HARD[name][0]), HARD[name][1]
    squared, indices = near.nearest(rows, 5)
    one_by_one = [near.nearest(row[None], 5) for row in rows]
    np.testing.assert_array_equal(squared, np.concatenate([one[0] for one in one_by_one]))
    np.testing.assert_array_equal(indices, np.concatenate([one[1] for one in one_by_one]))
    monkeypatch.setattr(neighbours, "BLOCK", 1)
    monkeypatch.setattr(neighbours, "CHUNK", 7)
    again = nearest_rows(*HARD[name], 5)
    np.testing.assert_array_equal(squared, again[0])
    np.testing.assert_array_equal(indices, again[1])


def test_as_many_as_there_are_are_found():
    reference, rows = normal(3)
    squared, indices = nearest_rows(reference[:4], rows, 9)
    assert squared.shape == indices.shape == (N, 4)
    assert nearest_rows(reference[:1], reference[:1], 3, own=True)[0].shape == (1, 0)


def test_candidates_are_few_and_tables_are_bounded(monkeypatch):
    """What makes it fast and lean, of rows that are easy: no search is repeated, and no table has too many numbers."""
    tables, ranked = [], []
    least, rank = neighbours._least, Neighbours._rank
    monkeypatch.setattr(neighbours, "_least", lambda table, k: tables.append(table.numel()) or least(table, k))
    monkeypatch.setattr(Neighbours, "_rank", lambda *given: ranked.append(given[4].shape) or rank(*given))
    reference, rows = normal(20)
    nearest_rows(reference, np.tile(rows, (50, 1)), 5)
    assert max(tables) <= neighbours.BLOCK
    assert ranked == [(50 * N, 5 + neighbours.SPARE)]


@pytest.mark.parametrize(("name", "shares"), [("wide", True), ("wide, an offset", False), ("normal", False)])
def test_wide_rows_about_0_are_not_copied(name, shares):
    reference, rows = HARD[name]
    near = Neighbours(reference)
    near.nearest(rows, 5)
    assert list(near.tables) == [torch.float32]
    assert np.shares_memory(near.tables[torch.float32].right.numpy(), reference) == shares


def test_no_bound_is_trusted_where_products_are_rounded_to_less_than_single_precision(monkeypatch):
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
    near = Neighbours(HARD["normal"][0])
    np.testing.assert_array_equal(near.nearest(HARD["normal"][1], 5)[1], all_pairs(*HARD["normal"], 5)[1])
    assert list(near.tables) == [torch.float64]


def test_without_its_bound_some_of_the_nearest_would_be_wrong(monkeypatch):
    monkeypatch.setattr(neighbours._Table, "proves", lambda table, scaled, farthest, beyond: np.isfinite(beyond))
    reference, rows = HARD["two clouds"]
    assert (nearest_rows(reference, rows, 5)[1] != all_pairs(reference, rows, 5)[1]).any()
    monkeypatch.undo()
    np.testing.assert_array_equal(nearest_rows(reference, rows, 5)[1], all_pairs(reference, rows, 5)[1])
