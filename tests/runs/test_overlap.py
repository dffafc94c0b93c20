"""Whether two DATA share rows, by their names."""

import pytest

from farout.runs.overlap import shared_rows


@pytest.mark.parametrize(
    ("one", "trained_on", "shared"),
    [
        ("digits:train", "digits", True),
        ("digits:test", "digits", False),
        ("digits:test", "digits:all", True),
        ("digits:all@7-9", "digits:train@0-6", False),
        ("digits:all@6-9", "digits:train@0-6", True),
        ("digits:train@3", "digits", True),
        ("mnist:train", "digits", False),
        ("scans.npz", "scans.npz", True),
        ("scans.npz:test", "scans.npz:train", False),
        ("scans.npz:test", "scans.npz", True),
        ("faces@joy", "faces@joy,anger", False),
        ("faces:train@joy", "faces@joy,anger", True),
        ("", "digits", False),
    ],
)
def test_shared_rows(one, trained_on, shared):
    # Without a split, what is judged is a test split, and what was trained on a train split.
    assert shared_rows(one, trained_on, default_split="test") is shared
