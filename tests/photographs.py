"""Small images of colour that behave as photographs do, and textures, which look the same in all positions."""

import numpy as np

SHAPE = (3, 16, 16)
COLOURS = np.array([[220, 40, 40], [40, 200, 60], [60, 80, 230]])


def photographs(n, seed, classes=(0, 1, 2)):
    """Light from above, a ground below, and in a random place a shape of its class: a disc, a cross, a bar."""
    rng = np.random.default_rng(seed)
    y = rng.choice(classes, size=n)
    at = np.arange(16)
    images = np.empty((n, 16, 16, 3))
    images[:] = np.linspace(210, 70, 16)[None, :, None, None] + rng.normal(scale=15, size=(n, 1, 1, 3))
    for image, c in zip(images, y, strict=True):
        down, across = rng.integers(5, 11, size=2)
        v, h = np.abs(at - down)[:, None], np.abs(at - across)[None]
        shape = (v**2 + h**2 < 12, ((v < 2) & (h < 5)) | ((h < 2) & (v < 5)), (h < 2) & (v < 6))[c]
        image[shape] = COLOURS[c] + rng.normal(scale=20, size=3)
    images += rng.normal(scale=8, size=images.shape)
    return images.clip(0, 255).round().transpose(0, 3, 1, 2).reshape(n, -1).astype(np.float32), y


def textures(n, seed):
    """Blotches, of a colour that tells their class; no direction is unlike another."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n)
    noise = rng.normal(size=(n, 1, 16, 16))
    smooth = sum(np.roll(noise, (i, j), (2, 3)) for i in (-1, 0, 1) for j in (-1, 0, 1)) / 3
    images = COLOURS[y][:, :, None, None] * 0.5 + 60 + 40 * smooth
    return images.clip(0, 255).round().reshape(n, -1).astype(np.float32), y
