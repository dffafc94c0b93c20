"""Every transform and every ready architecture by name, small, in float64 and with randomised weights."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from farout.flows.actnorm import ActNorm
from farout.flows.class_gaussian import ClassGaussian
from farout.flows.columns import OnColumns
from farout.flows.couplings import COUPLINGS
from farout.flows.flow import Flow
from farout.flows.image import image_flow, seed_flow
from farout.flows.invertible_conv import InvertibleConv
from farout.flows.marginals import Marginals
from farout.flows.natural import natural_flow
from farout.flows.permutations import Orthogonal, Permutation
from farout.flows.reshapes import Flatten, Haar, MultiScale, Squeeze
from farout.flows.reversible import Reversible
from farout.flows.subnets import conv_subnets, dense_subnets
from farout.flows.table import table_flow
from farout.flows.transform import Chain, Transform
from farout.flows.vector import toy_flow, vector_flow
from farout.flows.whitening import Whitening

__all__ = ["CASES", "FLOWS", "LEARNING", "N_CLASSES", "TRANSFORMS", "Case", "build_case", "randomise"]

N_CLASSES = 3
FEATURES = 4  # length of the condition of conditional transforms


def coupling(name: str, kind: str, features: int) -> Transform:
    if kind == "dense":
        return COUPLINGS[name]((5,), dense_subnets(6, condition_features=features), 1.5, features)
    return COUPLINGS[name]((5, 2, 3), conv_subnets(4, condition_features=features), 1.5, features)


def chain(features: int) -> Transform:
    subnets = conv_subnets(4, (1, 3, 1), features)
    return Chain([Haar((2, 4, 2)), ActNorm((8, 2, 1)), COUPLINGS["glow"]((8, 2, 1), subnets, 2.0, features)])


def multiscale(features: int) -> Transform:
    subnets = dense_subnets(6, condition_features=features)
    inner = Chain([Flatten((3, 2, 2)), Orthogonal((12,)), COUPLINGS["realnvp"]((12,), subnets, 1.0, features)])
    return MultiScale((5, 2, 2), inner)


def rows(n_features: int) -> Tensor:
    """Skewed, correlated columns, one of them of four levels."""
    gauss = torch.randn(200, n_features, generator=torch.Generator().manual_seed(2))
    x = gauss + 0.7 * gauss.roll(1, dims=1)
    x[:, 0] = x[:, 0].exp()
    x[:, 1] = x[:, 1].round().clamp(-1, 2)
    return x


def fitted(module: Transform | Flow) -> Transform | Flow:
    """With what is fitted to data fitted; half of the rows of a flow with classes are of none."""
    if isinstance(module, Transform) or not module.n_classes:
        module.initialize(rows(5 if isinstance(module, Transform) else module.event_shape[0]))
    else:
        of_class = (torch.arange(200) % (2 * module.n_classes) - module.n_classes).clamp(min=-1)
        module.initialize(rows(module.event_shape[0]), of_class)
    return module


def class_gaussian() -> Transform:
    """With class means far apart, and FEATURES - 1 classes."""
    layer = ClassGaussian((5,), FEATURES - 1)
    labels = torch.arange(200) % (FEATURES - 1)
    layer.initialize(rows(5) + 3.0 * labels[:, None], torch.eye(FEATURES)[labels])
    return layer


def white() -> Transform:
    """Fitted to channels of which some are nearly the same."""
    layer = InvertibleConv((5, 2, 1), whiten=True)
    x = rows(10)
    x[:, 2:4] = x[:, :2] + 0.05 * x[:, 2:4]
    layer.initialize(3.0 + x.reshape(200, 5, 2, 1))
    return layer


def on_columns(features: int) -> Transform:
    subnets = dense_subnets(6, condition_features=features)
    return OnColumns([True, False, True, True, False], COUPLINGS["glow"]((3,), subnets, 1.5, features))


CONDITIONED: dict[str, Callable[[int], Transform]] = {
    **{
        f"{name} {kind}": lambda f, name=name, kind=kind: coupling(name, kind, f)
        for name, kind in product(COUPLINGS, ("dense", "conv"))
    },
    "chain": chain,
    "reversible": lambda f: Reversible(chain(f)),
    "multiscale": multiscale,
    "on columns": on_columns,
}

PLAIN: dict[str, Callable[[], Transform]] = {
    "actnorm vector": lambda: ActNorm((4,)),
    "actnorm image": lambda: ActNorm((3, 2, 4)),
    "permutation vector": lambda: Permutation((6,)),
    "permutation image": lambda: Permutation((5, 2, 3)),
    "orthogonal vector": lambda: Orthogonal((5,)),
    "orthogonal image": lambda: Orthogonal((3, 2, 3)),
    "learned orthogonal vector": lambda: Orthogonal((5,), learned=True),
    "learned orthogonal image": lambda: Orthogonal((3, 2, 3), learned=True),
    "invertible conv vector": lambda: InvertibleConv((5,)),
    "invertible conv image": lambda: InvertibleConv((3, 2, 3)),
    "white invertible conv": white,
    "haar 1x4x6": lambda: Haar((1, 4, 6)),
    "haar 3x2x4": lambda: Haar((3, 2, 4)),
    "squeeze 1x4x6": lambda: Squeeze((1, 4, 6)),
    "squeeze 3x2x4": lambda: Squeeze((3, 2, 4)),
    "flatten": lambda: Flatten((2, 3, 2)),
    "marginals": lambda: fitted(Marginals((5,))),
    "whitening": lambda: fitted(Whitening((5,))),
    "on columns of nothing learned": lambda: OnColumns([True, False, True], Permutation((2,))),
    "multiscale of nothing": lambda: MultiScale((3, 2, 2), Flatten((2, 2, 2))),
}

SMALL = {"n_blocks": (2, 1), "hidden": (4, 6), "n_dense": 1, "dense_hidden": 8}

SMALL_NATURAL = {"n_blocks": (2, 1), "hidden": (4, 6)}

# Called with n_classes (0 for none) and seed
FLOWS: dict[str, Callable[..., Flow]] = {
    "toy": lambda **k: toy_flow((2,), **k),
    "seed 1x8x8": lambda **k: seed_flow((1, 8, 8), **k),
    "seed 3x4x4": lambda **k: seed_flow((3, 4, 4), **k),
    "image as it comes 1x8x8": lambda **k: image_flow((1, 8, 8), **k),
    "table 6": lambda **k: fitted(table_flow((6,), n_blocks=2, hidden=8, **k)),
    "vector as it comes 2": lambda **k: fitted(vector_flow((2,), **k)),
    **{
        f"vector {c} 7": lambda c=c, **k: fitted(vector_flow((7,), coupling=c, n_blocks=3, hidden=8, **k))
        for c in COUPLINGS
    },
    "vector reversible 7": lambda **k: fitted(vector_flow((7,), n_blocks=3, hidden=8, reversible=True, **k)),
    "natural as it comes 3x8x8": lambda **k: natural_flow((3, 8, 8), **k),
    "natural realnvp 4x4x12": lambda **k: natural_flow((4, 4, 12), coupling="realnvp", **SMALL_NATURAL, **k),
    "natural spline 3x6x4": lambda **k: natural_flow((3, 6, 4), coupling="spline", **SMALL_NATURAL, **k),
    "natural reversible 3x4x8": lambda **k: natural_flow((3, 4, 8), reversible=True, **SMALL_NATURAL, **k),
    "image reversible 1x8x8": lambda **k: image_flow((1, 8, 8), reversible=True, **SMALL, **k),
    "image reversible multiscale 3x4x4": lambda **k: image_flow(
        (3, 4, 4), reversible=True, multiscale=True, **SMALL, **k
    ),
    **{
        f"image {c} {d} {'multiscale ' * m}{'x'.join(map(str, shape))}": lambda c=c, d=d, m=m, shape=shape, **k: (
            image_flow(shape, coupling=c, downsampling=d, multiscale=m, **SMALL, **k)
        )
        for c, d, m, shape in [
            ("glow", "squeeze", True, (1, 8, 8)),
            ("glow", "haar", False, (3, 4, 4)),
            ("realnvp", "haar", True, (1, 8, 8)),
            ("realnvp", "squeeze", False, (1, 6, 10)),
            ("gin", "squeeze", True, (3, 4, 4)),
            ("gin", "haar", False, (1, 8, 8)),
            ("nice", "haar", True, (1, 6, 10)),
            ("nice", "squeeze", True, (1, 4, 4)),
        ]
    },
}

TRANSFORMS = {
    **PLAIN,
    **{name: lambda make=make: make(0) for name, make in CONDITIONED.items()},
    **{f"{name}, conditional": lambda make=make: make(FEATURES) for name, make in CONDITIONED.items()},
    "class gaussian, conditional": class_gaussian,
}

CASES = [*TRANSFORMS, *(f"{name}{c}" for name in FLOWS for c in ("", ", conditional"))]

FIXED = (
    "permutation",
    "orthogonal",
    "haar",
    "squeeze",
    "flatten",
    "multiscale of nothing",
    "marginals",
    "whitening",
    "class gaussian",
    "on columns of",
)
LEARNING = [name for name in CASES if not name.startswith(FIXED)]


@dataclass
class Case:
    """A transform, or a flow as one, with a condition at hand for any batch."""

    module: nn.Module
    transform: Transform
    conditional: bool

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._call("encode", "forward", x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self._call("decode", "inverse", z)

    def _call(self, of_flow: str, of_transform: str, value: Tensor) -> tuple[Tensor, Tensor]:
        i = torch.arange(len(value))
        if isinstance(self.module, Flow):
            # all classes in turn, and "no class"
            return getattr(self.module, of_flow)(value, i % (N_CLASSES + 1) - 1 if self.conditional else None)
        condition = torch.cos(i[:, None] * 3.0 + torch.arange(FEATURES)).to(value) if self.conditional else None
        return getattr(self.module, of_transform)(value, condition)


def build_case(name: str) -> Case:
    """The case of that name, its weights randomised."""
    base, _, conditional = name.partition(", ")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if base in FLOWS:
            module: nn.Module = FLOWS[base](n_classes=N_CLASSES if conditional else 0, seed=0)
            transform = module.transform
        else:
            module = transform = TRANSFORMS[name]()
    sd = 0.2 if "as it comes" in name else 0.4  # the deeper, the less
    return Case(randomise(module.double(), sd), transform, bool(conditional))


def randomise(module: nn.Module, sd: float) -> nn.Module:
    """Add normal noise to every weight: last layers that start at zero make everything the identity.

    Wider layers get less of it each, so that outputs stay of order one and the Jacobian well enough conditioned
    for autograd's to be a judge of it.
    """
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in module.parameters():
            if not p.requires_grad:  # classes as one-hot conditions
                continue
            fan_in = p[0].numel() if p.ndim > 1 else 1
            p += sd * min(1.0, (2 / fan_in) ** 0.5) * torch.randn(p.shape, dtype=p.dtype, generator=generator)
    return module
