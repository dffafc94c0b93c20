"""A world without data sets."""

from pathlib import Path

import pytest


@pytest.fixture
def no_sets(monkeypatch, tmp_path) -> Path:
    """No data set can be found outside the folder a test gives; returns the user's cache folder."""
    cache = tmp_path / "cache"
    monkeypatch.delenv("FAROUT_DATA", raising=False)
    monkeypatch.setattr("farout.data.locate.pooch.os_cache", lambda name: cache)
    monkeypatch.setattr("farout.data.locate._SYSTEM_FOLDERS", (tmp_path / "system",))
    return cache
