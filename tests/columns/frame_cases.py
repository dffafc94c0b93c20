"""Which libraries of frames there are here, and when two frames are the same."""

import importlib.util

import pyarrow as pa

__all__ = ["LIBRARIES", "equal"]

LIBRARIES = ["pyarrow", *(name for name in ("pandas", "polars") if importlib.util.find_spec(name))]


def equal(one, other):
    """Whether two frames of one library are the same: values, missing cells, names, order, types, categories."""
    assert type(one) is type(other)
    if isinstance(one, pa.Table):
        return one.equals(other) and one.schema.equals(other.schema)
    if type(one).__module__.startswith("polars"):
        return one.schema == other.schema and one.equals(other, null_equal=True)
    import pandas as pd

    pd.testing.assert_frame_equal(one, other, check_exact=True, check_index_type=False)
    return True
