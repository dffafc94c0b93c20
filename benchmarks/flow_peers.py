"""The architectures of flows.py here and in FrEIA, normflows, nflows and zuko, from one plan.

A plan lists what a flow does from data to latent: ``"squeeze"`` and ``"flatten"``, and coupling blocks. A block changes
both halves of the channels, one after the other, with a subnet each, and permutes them. Where a library has one-sided
couplings only, two of them are a block.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from farout.base.step import quickest_type, training_step
from farout.flows.actnorm import ActNorm
from farout.flows.couplings import COUPLINGS, GlowCoupling
from farout.flows.flow import Flow
from farout.flows.image import seed_flow
from farout.flows.permutations import Permutation
from farout.flows.reshapes import Flatten
from farout.flows.reversible import Reversible
from farout.flows.subnets import conv_subnets
from farout.flows.transform import Chain
from farout.flows.vector import vector_flow

__all__ = ["PEERS", "Peer", "Task", "count", "farout_stack", "of_flow", "stack", "tasks"]

CLAMP, BINS, BOUND = 1.5, 8, 4.0


@dataclass(frozen=True)
class Block:
    """A coupling block: the width of its subnets and their kernels, none for dense ones; affine or a spline."""

    width: int
    kernels: tuple[int, ...] | None = None
    spline: bool = False


Plan = Sequence[str | Block]


@dataclass
class Peer:
    """A flow of some library. Both functions take classes as their second argument, None for none."""

    module: nn.Module
    encode: Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]  # latents, log-determinants
    decode: Callable[[Tensor, Tensor | None], Tensor]
    step: Callable[[], AbstractContextManager[None]] = nullcontext  # what a training step runs in
    replays: bool = False  # whether a GPU replays recorded steps


@dataclass(frozen=True)
class Task:
    """What all libraries build: ours as it comes, the others by the plan."""

    shape: tuple[int, ...]
    plan: Plan
    ours: Callable[[], Flow]
    n_classes: int = 0
    batch: int = 512
    compiles: bool = True  # whether it is measured compiled too


class Subnet(nn.Sequential):
    """Three layers with ReLU between, the last at zero; a context is appended to the input as constant channels."""

    def __init__(self, n_in: int, n_out: int, block: Block) -> None:
        widths = [n_in, block.width, block.width, n_out]
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(pairwise(widths)):
            kernel = block.kernels[i] if block.kernels else 0
            layers += [nn.Conv2d(a, b, kernel, padding=kernel // 2) if kernel else nn.Linear(a, b), nn.ReLU()]
        nn.init.zeros_(layers[-2].weight)
        super().__init__(*layers[:-1])
        self.hidden_features = block.width  # nflows and normflows scale a spline's parameters by it

    def forward(self, u: Tensor, context: Tensor | None = None) -> Tensor:
        return super().forward(u if context is None else torch.cat([u, planes(context, u.shape[2:])], 1))


def planes(context: Tensor, size: Sequence[int]) -> Tensor:
    return context.reshape(*context.shape, *[1] * len(size)).expand(-1, -1, *size)


def halves(n: int) -> list[list[int]]:
    """Masks of the half that changes: the first, then the second."""
    first = [1] * (n // 2) + [0] * (n - n // 2)
    return [first, [1 - i for i in first]]


def through(steps: Sequence[str | Block], shape: tuple[int, ...]) -> list[tuple[str | Block, tuple[int, ...]]]:
    """Each step of a plan with the event shape before it."""
    result = []
    for step in steps:
        result.append((step, shape))
        if step == "squeeze":
            shape = (4 * shape[0], shape[1] // 2, shape[2] // 2)
        elif step == "flatten":
            shape = (int(torch.Size(shape).numel()),)
    return result


def one_hot(y: Tensor | None, n_classes: int) -> Tensor | None:
    return None if y is None else nn.functional.one_hot(y, n_classes).float()


def farout_peer(task: Task) -> Peer:
    """Ours as it trains, but for the ActNorm of `vector_flow`, which the others do without."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return replace(plain_farout_peer(task), step=partial(training_step, quickest_type(device)), replays=True)


def plain_farout_peer(task: Task) -> Peer:
    """Ours by autograd alone, as in somebody's own loop: float32 throughout, step by step."""
    flow = task.ours()
    flow = flow.on(Chain(step for step in flow.transform if not isinstance(step, ActNorm)))
    return of_flow(flow)


def of_flow(flow: Flow) -> Peer:
    return Peer(flow, flow.encode, lambda z, y: flow.decode(z, y)[0])


def farout_stack(n_blocks: int, reversible: bool) -> Flow:
    """The stack of blocks that memory is measured by."""
    shape, subnets = STACK, conv_subnets(32)
    steps = [step for _ in range(n_blocks) for step in (GlowCoupling(shape, subnets, CLAMP), Permutation(shape))]
    return Flow((Reversible if reversible else Chain)([*steps, Flatten(shape)]))


def freia_peer(task: Task) -> Peer | None:
    """Classes as one-hot planes; no splines in its released versions."""
    import FrEIA.framework as framework
    import FrEIA.modules as blocks

    inn, n_classes = framework.SequenceINN(*task.shape), task.n_classes
    sizes = []
    for step, shape in through(task.plan, task.shape):
        if step == "squeeze":
            inn.append(blocks.IRevNetDownsampling)
        elif step == "flatten":
            inn.append(blocks.Flatten)
        elif step.spline:
            return None
        else:
            size = shape[1:]
            sizes += [] if size in sizes else [size]
            given = {"cond": sizes.index(size), "cond_shape": (n_classes, *size)} if n_classes else {}
            inn.append(blocks.GLOWCouplingBlock, subnet_constructor=partial(Subnet, block=step), clamp=CLAMP, **given)
            inn.append(blocks.PermuteRandom, seed=len(inn.module_list))

    def conditions(y: Tensor | None) -> list[Tensor]:
        return [] if y is None else [planes(one_hot(y, n_classes), size) for size in sizes]

    return Peer(inn, lambda x, y: inn(x, c=conditions(y)), lambda z, y: inn(z, c=conditions(y), rev=True)[0])


def normflows_peer(task: Task) -> Peer | None:
    """A plain exponential, as it has no soft clamp; no classes."""
    if task.n_classes:
        return None
    import normflows

    class Reshape(normflows.flows.Flow):
        def __init__(self, shape: tuple[int, ...]) -> None:
            super().__init__()
            self.shape = shape

        def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
            return z.reshape(-1, *self.shape), z.new_zeros(len(z))

        def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
            return z.flatten(1), z.new_zeros(len(z))

    class Turned(normflows.flows.Flow):
        """Its spline couplings go from data to latent, its other flows from latent to data."""

        def __init__(self, flow: nn.Module) -> None:
            super().__init__()
            self.forward, self.inverse, self.flow = flow.inverse, flow.forward, flow

    spline = normflows.flows.neural_spline.coupling.PiecewiseRationalQuadraticCoupling
    steps: list[nn.Module] = []  # from data to latent; it wants them the other way round
    for step, shape in through(task.plan, task.shape):
        n = shape[0]
        if step == "squeeze":
            steps.append(normflows.flows.Squeeze())
        elif step == "flatten":
            steps.append(Reshape(shape))
        elif step.spline:
            steps += [Turned(spline(m, partial(Subnet, block=step), BINS, "linear", BOUND)) for m in tensors(halves(n))]
        else:
            for mode in ("channel_inv", "channel"):
                net = Subnet(n // 2, n, step)
                steps.append(normflows.flows.AffineCouplingBlock(net, scale_map="exp", split_mode=mode))
        if isinstance(step, Block):
            steps.append(normflows.flows.Permute(n, mode="shuffle"))
    size = int(torch.Size(task.shape).numel())
    model = normflows.NormalizingFlow(normflows.distributions.DiagGaussian(size, trainable=False), steps[::-1])
    return Peer(model, lambda x, y: model.inverse_and_log_det(x), lambda z, y: model(z))


def tensors(masks: list[list[int]]) -> list[Tensor]:
    return [torch.tensor(mask) for mask in masks]


def nflows_peer(task: Task) -> Peer:
    """Scales by a sigmoid; classes as one-hot planes."""
    from nflows import transforms
    from nflows.transforms.reshape import SqueezeTransform

    class Flattening(transforms.Transform):
        def __init__(self, shape: tuple[int, ...]) -> None:
            super().__init__()
            self.shape = shape

        def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            return x.flatten(1), x.new_zeros(len(x))

        def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            return z.reshape(-1, *self.shape), z.new_zeros(len(z))

    steps: list[nn.Module] = []
    for step, shape in through(task.plan, task.shape):
        if step == "squeeze":
            steps.append(SqueezeTransform())
        elif step == "flatten":
            steps.append(Flattening(shape))
        else:

            def net(n_in: int, n_out: int, block: Block = step) -> Subnet:
                return Subnet(n_in + task.n_classes, n_out, block)

            for mask in halves(shape[0]):
                if step.spline:
                    spline = transforms.PiecewiseRationalQuadraticCouplingTransform
                    steps.append(spline(mask, net, num_bins=BINS, tails="linear", tail_bound=BOUND))
                else:
                    steps.append(transforms.AffineCouplingTransform(mask, net))
            steps.append(transforms.RandomPermutation(shape[0]))
    chain = transforms.CompositeTransform(steps)
    n = task.n_classes
    return Peer(chain, lambda x, y: chain(x, one_hot(y, n)), lambda z, y: chain.inverse(z, one_hot(y, n))[0])


def zuko_peer(task: Task) -> Peer | None:
    """Vectors without classes; softly clamped scales."""
    if len(task.shape) > 1 or task.n_classes:
        return None
    import zuko

    (n,) = task.shape
    steps: list[nn.Module] = []
    for block in task.plan:
        for changing in tensors(halves(n)):
            settings = {"hidden_features": [block.width] * 2}
            if block.spline:
                univariate = partial(zuko.transforms.MonotonicRQSTransform, bound=BOUND)
                settings |= {"univariate": univariate, "shapes": [(BINS,), (BINS,), (BINS - 1,)]}
            steps.append(zuko.flows.coupling.GeneralCouplingTransform(n, mask=changing == 0, **settings))
            nn.init.zeros_(steps[-1].hyper[-1].weight)
        order = torch.randperm(n)
        steps.append(zuko.lazy.UnconditionalTransform(zuko.transforms.PermutationTransform, order, buffer=True))
    chain = zuko.lazy.LazyComposedTransform(*steps)
    return Peer(chain, lambda x, y: chain().call_and_ladj(x), lambda z, y: chain().inv(z))


PEERS: dict[str, Callable[[Task], Peer | None]] = {
    "farout": farout_peer,
    "farout, own loop": plain_farout_peer,
    "FrEIA": freia_peer,
    "normflows": normflows_peer,
    "nflows": nflows_peer,
    "zuko": zuko_peer,
}


def count(module: nn.Module) -> int:
    """Weights that are trained."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


SEED: Plan = (
    *("squeeze", *[Block(16, (3, 3, 3))] * 4),
    *("squeeze", *[Block(32, (1, 1, 1)), Block(32, (3, 3, 3))] * 2),
    *("flatten", *[Block(392)] * 2),
)
STACK = (16, 8, 8)


def seed(side: int, n_classes: int, batch: int, compiles: bool = True) -> Task:
    """The seed architecture."""
    shape = (1, side, side)
    return Task(shape, SEED, partial(seed_flow, shape, n_classes=n_classes), n_classes, batch, compiles)


def tabular(coupling: str, features: int, blocks: int, width: int, batch: int) -> Task:
    """Dense blocks for vectors."""
    ours = partial(vector_flow, (features,), coupling=coupling, n_blocks=blocks, hidden=width)
    return Task((features,), [Block(width, spline=coupling == "spline")] * blocks, ours, batch=batch)


def stack(n_blocks: int, batch: int) -> Task:
    """Convolutional blocks of one size, as many as asked for."""
    plan = [*[Block(32, (3, 3, 3))] * n_blocks, "flatten"]
    return Task(STACK, plan, partial(farout_stack, n_blocks, False), batch=batch)


def tasks(quick: bool) -> dict[str, dict[str, Task]]:
    """Sections of the benchmark, each of a task or some; smaller ones when ``quick``."""
    images, rows = (256, 256) if quick else (512, 512)
    features, blocks, width = (16, 4, 64) if quick else (32, 8, 128)
    seeds = {"32x32": seed(32, 0, images), "32x32, 10 classes": seed(32, 10, images)}
    if not quick:
        seeds |= {"28x28": seed(28, 0, images, False), "28x28, 10 classes": seed(28, 10, images, False)}
    result = {"seed": seeds, "affine": {"": tabular("glow", features, blocks, width, rows)}}
    if "spline" in COUPLINGS:
        result["spline"] = {"": tabular("spline", features, blocks, width, rows)}
    return result
