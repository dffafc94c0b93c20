"""Speed of the seed architecture beside the same one in FrEIA and normflows: training steps and sampling.

    python benchmarks/flow_speed.py [--quick]

All libraries take turns within one run, so that they share whatever else the machine does; a figure is the median over
rounds, and a ratio the median of the rounds' ratios. Prints a Markdown table.
"""

import argparse
import math
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from farout.flows.image import seed_flow

__all__ = ["main"]

CLASSES = 10
LEVELS = ((16, ((3, 3, 3),) * 4), (32, ((1, 1, 1), (3, 3, 3)) * 2))  # width and kernels of the two levels
DENSE_WIDTH, DENSE_BLOCKS, CLAMP = 392, 2, 1.5


@dataclass
class Peer:
    """A flow of some library, as what there is to be timed."""

    step: Callable[[], object]
    sample: Callable[[], object]
    parameters: int


def subnet(n_in: int, n_out: int, width: int, kernels: tuple[int, ...] | None) -> nn.Sequential:
    """Three layers with ReLU between, the last at zero: convolutions of these kernels, or dense."""
    widths = [n_in, width, width, n_out]
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(widths)):
        layers += [nn.Conv2d(a, b, kernels[i], padding=kernels[i] // 2) if kernels else nn.Linear(a, b), nn.ReLU()]
    nn.init.zeros_(layers[-2].weight)
    return nn.Sequential(*layers[:-1])


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def backward(module: nn.Module, log_prob: Tensor) -> None:
    module.zero_grad(set_to_none=True)
    (-log_prob.mean()).backward()


def normal(z: Tensor) -> Tensor:
    return -0.5 * z.square().sum(1) - 0.5 * z.shape[1] * math.log(2 * math.pi)


def farout_peer(x: Tensor, y: Tensor | None) -> Peer:
    flow = seed_flow(tuple(x.shape[1:]), n_classes=0 if y is None else CLASSES)

    def step() -> None:
        backward(flow, flow.log_prob(x, y))

    @torch.no_grad()
    def sample() -> Tensor:
        return flow.sample(len(x), y)

    return Peer(step, sample, count(flow))


def freia_peer(x: Tensor, y: Tensor | None) -> Peer:
    """The class as one-hot planes joined to every subnet's input, the way its users do it."""
    import FrEIA.framework as framework
    import FrEIA.modules as blocks

    _, height, width = x.shape[1:]
    inn = framework.SequenceINN(*x.shape[1:])
    sizes = [(CLASSES, height // 2**i, width // 2**i) for i in (1, 2)] + [(CLASSES,)]
    one_hot = None if y is None else nn.functional.one_hot(y, CLASSES).float()
    given = [] if one_hot is None else [one_hot.reshape(-1, CLASSES, *[1] * len(s[1:])).expand(-1, *s) for s in sizes]

    def block(level: int, width: int, kernels: tuple[int, ...] | None) -> None:
        where = {} if y is None else {"cond": level, "cond_shape": sizes[level]}
        make = {"subnet_constructor": lambda a, b: subnet(a, b, width, kernels), "clamp": CLAMP}
        inn.append(blocks.GLOWCouplingBlock, **where, **make)
        inn.append(blocks.PermuteRandom, seed=len(inn.module_list))

    for level, (wide, kernels) in enumerate(LEVELS):
        inn.append(blocks.IRevNetDownsampling)
        for kernel in kernels:
            block(level, wide, kernel)
    inn.append(blocks.Flatten)
    for _ in range(DENSE_BLOCKS):
        block(2, DENSE_WIDTH, None)

    def step() -> None:
        z, log_det = inn(x, c=given)
        backward(inn, normal(z) + log_det)

    @torch.no_grad()
    def sample() -> Tensor:
        return inn(torch.randn(len(x), x[0].numel()), c=given, rev=True)[0]

    return Peer(step, sample, count(inn))


def normflows_peer(x: Tensor, y: Tensor | None) -> Peer | None:
    """Two one-sided couplings for one of ours, with a plain exponential: it has no soft clamp, and no condition."""
    if y is not None:
        return None
    import normflows

    class Flatten(normflows.flows.Flow):
        def __init__(self, shape: tuple[int, ...]) -> None:
            super().__init__()
            self.shape = shape

        def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
            return z.reshape(-1, *self.shape), z.new_zeros(len(z))

        def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
            return z.flatten(1), z.new_zeros(len(z))

    steps: list[nn.Module] = []  # from data to latent; it wants them the other way round
    channels, height, width = x.shape[1:]

    def block(n: int, width: int, kernels: tuple[int, ...] | None) -> None:
        for mode in ("channel_inv", "channel"):
            net = subnet(n // 2, n, width, kernels)
            steps.append(normflows.flows.AffineCouplingBlock(net, scale_map="exp", split_mode=mode))
        steps.append(normflows.flows.Permute(n, mode="shuffle"))

    for wide, kernels in LEVELS:
        steps.append(normflows.flows.Squeeze())
        channels, height, width = 4 * channels, height // 2, width // 2
        for kernel in kernels:
            block(channels, wide, kernel)
    steps.append(Flatten((channels, height, width)))
    for _ in range(DENSE_BLOCKS):
        block(channels * height * width, DENSE_WIDTH, None)
    model = normflows.NormalizingFlow(normflows.distributions.DiagGaussian(x[0].numel(), trainable=False), steps[::-1])

    def step() -> None:
        backward(model, model.log_prob(x))

    @torch.no_grad()
    def sample() -> Tensor:
        return model.sample(len(x))[0]

    return Peer(step, sample, count(model))


MAKERS = {"farout": farout_peer, "FrEIA": freia_peer, "normflows": normflows_peer}


def seconds(call: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def rows(side: int, conditional: bool, batch: int, rounds: int, repeats: int) -> list[str]:
    """Time one setting; a row for each of training and sampling."""
    x = torch.rand(batch, 1, side, side) * 2 - 1
    y = torch.arange(batch) % CLASSES if conditional else None
    peers = {}
    for name, make in MAKERS.items():
        try:
            peers[name] = make(x, y)
        except ModuleNotFoundError:
            peers[name] = None
    what = f"1x{side}x{side}, {'10 classes' if conditional else 'no classes'}"
    result = []
    for task in ("step", "sample"):
        calls = {name: getattr(peer, task) for name, peer in peers.items() if peer is not None}
        for call in calls.values():
            call()  # the first call allocates
        order = list(calls)
        times: dict[str, list[float]] = {name: [] for name in calls}
        for i in range(rounds):
            for name in order[i % len(order) :] + order[: i % len(order)]:
                times[name].append(seconds(calls[name], repeats))
        cells = [f"{1e3 * statistics.median(times['farout']):.1f}"]
        for name in list(MAKERS)[1:]:
            if name not in times:
                cells.append("-")
                continue
            ratios = [theirs / ours for theirs, ours in zip(times[name], times["farout"], strict=True)]
            cells.append(f"{statistics.median(ratios):.2f}x ({1e3 * statistics.median(times[name]):.1f})")
        result.append(f"| {what} | {'training step' if task == 'step' else 'sampling'} | {' | '.join(cells)} |")
    sizes = ", ".join(f"{name} {peer.parameters:,}" for name, peer in peers.items() if peer is not None)
    return [*result, f"| {what} | parameters | {sizes} | | |"]


def main() -> None:
    """Time all settings and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a minute or two, for a first look")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rounds, repeats = (5, 1) if options.quick else (21, 3)
    print(
        f"torch {torch.__version__}, {options.threads} thread(s), {platform.machine()}, batch {options.batch}, "
        f"median of {rounds} interleaved rounds\n"
    )
    print("| events | task | farout, ms | FrEIA, times ours (ms) | normflows, times ours (ms) |")
    print("|---|---|---|---|---|")
    with warnings.catch_warnings():
        # normflows calls torch.tensor on a tensor, FrEIA makes arrays of parameters: not what is timed here.
        warnings.simplefilter("ignore", UserWarning)
        for side in (28, 32):
            for conditional in (False, True):
                print("\n".join(rows(side, conditional, options.batch, rounds, repeats)), flush=True)


if __name__ == "__main__":
    main()
