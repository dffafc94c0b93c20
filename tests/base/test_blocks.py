"""Rows in blocks: the same as all at once, in order, whatever the size of blocks and the number of threads."""

import threading

import numpy as np
import pytest
import torch

from farout.base import blocks
from farout.base.blocks import RowsOnDemand, filled, in_blocks, rows_at_once


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_parts_come_in_order_and_are_small(n_threads, threads, monkeypatch):
    threads(n_threads)
    monkeypatch.setattr(blocks, "BLOCK", 7)
    X = np.arange(100.0)[:, None]
    parts = in_blocks(lambda rows: rows + 1, X)
    assert max(len(part) for part in parts) == 7
    np.testing.assert_array_equal(np.concatenate(parts), X + 1)


def test_wide_rows_make_small_blocks_and_no_rows_make_one():
    assert {len(part) for part in in_blocks(np.abs, np.ones((40, blocks.NUMBERS // 20)))} == {20}
    assert [part.shape for part in in_blocks(np.abs, np.ones((2, 2 * blocks.NUMBERS)))] == [(1, 2 * blocks.NUMBERS)] * 2
    assert [part.shape for part in in_blocks(np.abs, np.ones((0, 3)))] == [(0, 3)]


def test_wide_rows_take_no_more_memory_at_a_time():
    assert rows_at_once(0) == rows_at_once(1) == blocks.BLOCK
    assert [rows_at_once(width) * width <= blocks.NUMBERS for width in (50, 400, 3072)] == [True] * 3
    assert rows_at_once(2 * blocks.NUMBERS) == 1


def test_threads_share_the_blocks_and_not_their_operations(threads, monkeypatch):
    threads(2)
    monkeypatch.setattr(blocks, "BLOCK", 1)
    both = threading.Barrier(2, timeout=60)  # passed only if two blocks are worked on at once

    def seen(rows):
        both.wait()
        return torch.get_num_threads()

    assert in_blocks(seen, np.ones((2, 2))) == [1, 1]
    assert torch.get_num_threads() == 2


def test_what_a_block_raises_is_raised(threads, monkeypatch):
    threads(2)
    monkeypatch.setattr(blocks, "BLOCK", 1)
    with pytest.raises(ZeroDivisionError):
        in_blocks(lambda rows: 1 // int(rows[0, 0]), np.array([[1.0], [0.0], [1.0]]))


def test_what_is_made_block_by_block_is_one_array_in_order():
    X = np.arange(20).reshape(10, 2)
    asked = []

    def made(part):
        asked.append((part.start, part.stop))
        return X[part] + 1

    np.testing.assert_array_equal(filled(10, made, size=4), X + 1)
    assert asked == [(0, 4), (4, 8), (8, 10)]
    assert filled(0, lambda part: X[part][:0]).shape == (0, 2), "no rows have a width too"


def test_rows_on_demand_are_those_of_a_tensor():
    X = torch.arange(30.0).reshape(10, 3)
    later = RowsOnDemand(np.arange(9, -1, -1), lambda rows: X[torch.from_numpy(rows)])
    whole = X.flip(0)
    assert (len(later), later.numel(), later.element_size()) == (10, 30, 4)
    for found, expected in (
        (later[2], whole[2]),
        (later[:4], whole[:4]),
        (later.index_select(0, torch.tensor([5, 5, 0])), whole[[5, 5, 0]]),
    ):
        assert torch.equal(found, expected)
    assert later.to("cpu") is later, "and are made where they are needed"
