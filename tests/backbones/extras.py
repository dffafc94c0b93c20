"""Optional packages of the tests: imported, or a skip that says why not."""

import importlib
import os
import warnings

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before Hugging Face's libraries read it: tests need no network


def extra(*names):
    """The packages, or a skip: one that is absent or can't be imported beside this torch."""
    found = []
    for name in names:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found.append(importlib.import_module(name))
        except Exception as error:  # a broken torchvision raises a RuntimeError
            pytest.skip(f"{name} can't be imported here: {error}")
    return found[0] if len(found) == 1 else found
