"""Small networks and pictures that the tests of backbones share."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

SIZES = [(40, 30), (30, 40), (32, 32), (90, 50), (33, 35), (24, 70), (31, 31)]


class Small(nn.Module):
    """Maps, a pooled vector and class scores; it counts its calls and the pictures that it saw."""

    def __init__(self, channels=3):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        SEEN.append(len(x))
        return self.head(self.drop(self.stem(x).mean((2, 3))))


SEEN: list[int] = []


@pytest.fixture
def seen():
    """How many inputs each call of a `Small` had."""
    SEEN.clear()
    return SEEN


@pytest.fixture
def small():
    torch.manual_seed(0)
    network = Small()
    network.stem[1].running_mean.normal_()
    return network


@pytest.fixture
def pictures():
    """Smooth pictures of several sizes, as (width, height)."""
    rng = np.random.default_rng(0)
    return [
        Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
        for size in SIZES
    ]
