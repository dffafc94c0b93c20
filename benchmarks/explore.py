"""How long the page of `farout explore` takes for one move of its slider: 16 outliers drawn, judged and made to HTML.

    python benchmarks/explore.py                # 8x8 digits, and 28x28 images of noise
    python benchmarks/explore.py RUN [RUN ...]  # runs of yours

One core: OMP_NUM_THREADS=1 taskset -c 0. Times don't depend on what the weights are, so that models are trained for a
few steps, and the large images may be noise.
"""

import argparse
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

import farout as fo
from farout.explore.explorer import Explorer
from farout.explore.mixing import weights_at
from farout.runs.folder import open_run

STRENGTHS = np.linspace(0.5, 10, 39)


def made(folder):
    """Runs of classifiers of digits, and of images of the size of MNIST's with the networks that such get."""
    rng = np.random.default_rng(0)
    digits = fo.load_data("digits:train")
    large = (rng.integers(0, 256, size=(300, 784)) / 255).astype(np.float32)
    sets = {"digits": (digits.X, digits.y, (1, 8, 8)), "noise-28x28": (large, rng.integers(10, size=300), (1, 28, 28))}
    for name, (X, y, shape) in sets.items():
        flow = fo.FlowDensity(event_shape=shape, max_steps=5, random_state=0).fit(X, y)
        source = fo.NormalShell(flow=flow)
        model = fo.CautiousClassifier(source=source, event_shape=shape, max_steps=5, random_state=0).fit(X, y)
        archetypes = fo.DeepArchetypes(3, flow=flow, max_steps=5, random_state=0).fit(X, y)
        yield model.save(folder / name)
        yield archetypes.save(folder / f"{name}-archetypes")


def timed(act, values):
    act(values[0])
    took = []
    for value in values:
        start = time.perf_counter()
        act(value)
        took.append(time.perf_counter() - start)
    return f"{1000 * np.median(took):6.0f} {1000 * np.quantile(took, 0.95):6.0f}"


def measured(explorer):
    drawers, mixer = explorer.drawers, explorer.mixer
    for name in [name for name in drawers.names if name in ("normal", "gumbel")]:
        yield name, timed(partial(lambda name, p: explorer.outliers_html(drawers.draw(name, p)), name), STRENGTHS)
    if mixer is not None:
        points = np.random.default_rng(0).uniform(-1, 1, size=(40, 2))
        yield "point", timed(lambda p: explorer.mixture_html(mixer.decode(weights_at(tuple(p), mixer.k))), points)


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN")
    asked = parser.parse_args(words)
    torch.set_num_threads(1)
    print(f"{'run':24} {'move of':10} {'median':>6} {'95 %':>6}  milliseconds")
    with tempfile.TemporaryDirectory() as folder:
        for path in asked.runs or made(Path(folder)):
            for name, told in measured(Explorer(open_run(path))):
                print(f"{path.name:24} {name:10} {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
