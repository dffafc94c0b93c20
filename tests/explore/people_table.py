"""A table such as people have it, for the tests of the page."""

import datetime

import numpy as np
import pyarrow as pa

__all__ = ["people"]


def people(n=300, seed=0):
    """A table of numbers, categories, dates and missing cells, one name of which is no text for a page."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, n)
    debt = np.round(rng.normal(1000, 300, n), 1)
    return pa.table(
        {
            "age": age,
            "income": np.round(600 * age + rng.normal(0, 4000, n), 2),
            "<b>city</b>": rng.choice(["Bern", "Basel", "<i>Genf</i>"], n, p=[0.5, 0.4, 0.1]),
            "since": [datetime.date(2020, 1, 1) + datetime.timedelta(days=int(d)) for d in rng.integers(0, 900, n)],
            "debt": pa.array(debt, mask=rng.random(n) < 0.1),
        }
    )
