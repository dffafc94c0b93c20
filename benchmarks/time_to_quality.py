"""CPU seconds until our default flow is as likely as the author's set-up in FrEIA after some epochs of MNIST.

    python benchmarks/time_to_quality.py --data-root ../shared/data [--epochs 5] [--json]

The author (Bungert, 2021): 28x28 images padded to 32x32, values in [-1, 1], noise of .15; the seed architecture, Adam
1e-4, weight decay 1e-5, batches of 512, classes as planes. Ours is `FlowDensity` as it comes, but for that noise and
for the number of steps, of which the fewest that reach the same likelihood count. Likelihood is that of test images
with noise, under their classes, in nats a dimension; time is CPU time of the process, without evaluation.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import farout as fo
from farout.data import load_data
from flow_peers import Peer, Subnet, count, freia_peer, seed

__all__ = ["main"]

CLASSES, SIDE, NOISE, BATCH = 10, 32, 0.15, 512
STEPS = (50, 75, 100, 125, 150, 200, 300, 400, 600, 800, 1200, 1600, 2400)


def padded(split: str, root: Path, n: int | None) -> tuple[Tensor, Tensor]:
    """Images of shape (n, 1, 32, 32) in [-1, 1], and their classes."""
    data = load_data(f"mnist:{split}", data_root=root)
    images = torch.from_numpy(np.asarray(data.X[:n], dtype=np.float32)).reshape(-1, 1, 28, 28)
    images = images / images.max() * 2 - 1
    return nn.functional.pad(images, (2, 2, 2, 2), value=-1.0), torch.from_numpy(np.asarray(data.y[:n], dtype=np.int64))


def nats(z: Tensor, log_det: Tensor) -> Tensor:
    """Negative log-likelihood a dimension, of each row."""
    d = z.shape[1]
    return (0.5 * z.square().sum(1) - log_det) / d + 0.5 * math.log(2 * math.pi)


class Test:
    """Test images with noise that stays the same."""

    def __init__(self, root: Path, n: int) -> None:
        images, self.y = padded("test", root, n)
        self.x = images + NOISE * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def nats(self, peer: Peer) -> float:
        """Mean over the images, in nats a dimension."""
        parts = zip(self.x.split(500), self.y.split(500), strict=True)
        return float(torch.cat([nats(*peer.encode(x, y)).double() for x, y in parts]).mean())


def of_freia(x: Tensor, y: Tensor, test: Test, epochs: int) -> tuple[float, float]:
    """Nats and CPU seconds of the author's set-up."""
    torch.manual_seed(0)
    peer = freia_peer(seed(SIDE, CLASSES, BATCH))
    for module in peer.module.modules():
        if isinstance(module, Subnet):
            for layer in [part for part in module if not isinstance(part, nn.ReLU)][:-1]:
                nn.init.xavier_normal_(layer.weight)
    weights = [p for p in peer.module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=1e-4, weight_decay=1e-5, fused=True)
    seconds = 0.0
    for epoch in range(epochs):
        begin = time.process_time()
        for rows in torch.randperm(len(x)).split(BATCH):
            if len(rows) == BATCH:
                optimizer.zero_grad(set_to_none=True)
                nats(*peer.encode(x[rows] + NOISE * torch.randn_like(x[rows]), y[rows])).mean().backward()
                optimizer.step()
        seconds += time.process_time() - begin
        print(
            f"FrEIA, {count(peer.module):,} weights, epoch {epoch + 1}: {seconds:.1f} s, {test.nats(peer):.4f}",
            flush=True,
        )
    return test.nats(peer), seconds


def ours(x: Tensor, y: Tensor, test: Test, target: float) -> float:
    """CPU seconds of the shortest fit that is as likely as the target."""
    for steps in STEPS:
        begin = time.process_time()
        density = fo.FlowDensity((1, SIDE, SIDE), noise=NOISE, max_steps=steps, random_state=0)
        density.fit(x.flatten(1).numpy(), y.numpy())
        seconds = time.process_time() - begin
        flow = density.flow_
        reached = test.nats(Peer(flow, flow.encode, lambda z, y, flow=flow: flow.decode(z, y)[0]))
        weights = sum(p.numel() for p in flow.parameters())
        print(f"ours, {weights:,} weights, {steps} steps: {seconds:.1f} s, {reached:.4f}", flush=True)
        if reached <= target:
            return seconds
    raise SystemExit(f"{STEPS[-1]} steps don't reach {target:.4f}")


def main() -> None:
    """Train both and print the ratio of their seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="the folder that holds mnist/")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--test-rows", type=int, default=10_000)
    parser.add_argument(
        "--target", type=float, nargs=2, metavar=("NATS", "SECONDS"), help="of FrEIA, from an earlier run"
    )
    parser.add_argument("--json", action="store_true", help="last line of output: one JSON object")
    options = parser.parse_args()
    torch.set_num_threads(1)
    x, y = padded("train", options.data_root, options.rows)
    test = Test(options.data_root, options.test_rows)
    target, theirs = options.target or of_freia(x, y, test, options.epochs)
    seconds = ours(x, y, test, target)
    print(
        f"{target:.4f} nats a dimension: FrEIA {theirs:.1f} s, ours {seconds:.1f} s: {theirs / seconds:.1f} times that"
    )
    if options.json:
        print(json.dumps({"target": target, "FrEIA": theirs, "farout": seconds, "time to quality": theirs / seconds}))


if __name__ == "__main__":
    main()
