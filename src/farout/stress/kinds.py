"""The kinds of outliers of a stress test, each with a ladder of strengths."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from farout.archetypes.deep import DeepArchetypes
from farout.base.estimator import classes_of, is_fitted
from farout.errors import InvalidSettingError
from farout.outliers.archetypal import Archetypal
from farout.outliers.boundary import Boundary
from farout.outliers.collage import Collage
from farout.outliers.exchange import Exchange
from farout.outliers.nullspace import Nullspace
from farout.outliers.salient import Salient
from farout.outliers.scrambled import Scrambled
from farout.outliers.source import OutlierSource
from farout.outliers.turned import Turned
from farout.stress.ground import Ground

__all__ = ["KINDS", "Drawn", "Rung", "check_kinds", "default_kinds", "ladder", "resolved_kinds"]

TAILS = (1e-1, 1e-3, 1e-6)
SIGMAS = (1.5, 2.0, 3.0, 5.0)
OF_IMAGES = ("turned", "salient", "scrambled")
CANDIDATES = 16  # rows that each targeted one is the worst of


@dataclass(frozen=True)
class Drawn:
    """Rows of a rung.

    Attributes
    ----------
    x : ndarray of shape (n, d)
    y : ndarray of shape (n,) or None
    radius : float or None
        The one that they were drawn at; None where it has to be measured.
    """

    x: NDArray[Any]
    y: NDArray[Any] | None
    radius: float | None = None


@dataclass(frozen=True)
class Rung:
    """One strength of a kind.

    Attributes
    ----------
    kind, label : str
    draw : callable
        From a number of rows and a generator to that many rows.
    candidates : int
        The model is asked about so many rows for each that counts: the one that it is surest of.
    keeps_class : bool
        Whether rows are no rarer than held-out ones, so that their class is still that which they were drawn for.
    """

    kind: str
    label: str
    draw: Callable[[int, np.random.Generator], Drawn]
    candidates: int = 1
    keeps_class: bool = False

    def count(self, n: int) -> int:
        """Outliers, where ``n`` are asked for: a quarter where each is one of many candidates."""
        return n if self.candidates == 1 else max(n // 4, 10)


def default_kinds(ground: Ground) -> tuple[str, ...]:
    """The kinds that suit the data, without any that takes a training of its own."""
    distances = ("shell", "targeted", "exchange")
    if ground.is_image and ground.event_shape[0] >= 3:
        return (*distances, "salient", "scrambled")
    without_class = classes_of(ground.flow) is None or ground.flow.class_dropout > 0
    collage = ("collage",) if without_class else ()  # it encodes rows without a class
    return (*distances, *collage, *(("turned",) if ground.is_image else ()))


def resolved_kinds(
    kinds: Sequence[str] | Mapping[str, OutlierSource] | None, ground: Ground
) -> dict[str, OutlierSource | None]:
    """Names of kinds, each with a source of the user's where it is one."""
    if kinds is None:
        return dict.fromkeys(default_kinds(ground))
    return dict(kinds) if isinstance(kinds, Mapping) else dict.fromkeys(kinds)


def check_kinds(kinds: Any, *, image: bool | None = None) -> None:
    """Raise if kinds are neither known names nor sources by name, or don't suit images, or what are none.

    Raises
    ------
    InvalidSettingError
    """
    if kinds is None:
        return
    if isinstance(kinds, Mapping):
        named = all(isinstance(k, str) and isinstance(s, OutlierSource) for k, s in kinds.items())
        known = bool(kinds) and named
    else:
        known = isinstance(kinds, list | tuple) and bool(kinds)
        known = known and all(isinstance(kind, str) and kind in KINDS for kind in kinds)
    if image is False and not isinstance(kinds, Mapping):
        unfit = [kind for kind in kinds if kind in OF_IMAGES]
        if unfit:
            raise InvalidSettingError(
                f"stress_test: {', '.join(unfit)} are kinds of images, and rows are vectors; leave them out, or give "
                "event_shape=(channels, height, width)."
            )
    if not known:
        raise InvalidSettingError(
            f"stress_test: kinds must be some of {', '.join(KINDS)}, or a dict from names to outlier sources; got "
            f"{kinds!r:.200}."
        )


def ladder(kinds: Mapping[str, OutlierSource | None], ground: Ground, seed: int) -> list[Rung]:
    """The rungs of all kinds, the first of each kind before the second of any, so that a part of them is of use."""
    made = [list(_given(name, source, ground) if source is not None else KINDS[name](ground, seed))
            for name, source in kinds.items()]  # fmt: skip
    return [rungs[i] for i in range(max(map(len, made), default=0)) for rungs in made if i < len(rungs)]


def _given(name: str, source: OutlierSource, ground: Ground) -> Iterator[Rung]:
    yield Rung(name, "as given", _of_source(lambda: source, ground))


def _of_source(make: Callable[[], OutlierSource], ground: Ground) -> Callable[[int, np.random.Generator], Drawn]:
    """Rows of a source, which is made and fitted when it is first asked."""
    fitted: list[OutlierSource] = []

    def draw(n: int, rng: np.random.Generator) -> Drawn:
        if not fitted:
            source = make()
            handed = source._handing(event_shape=ground.event_shape, looked=True)
            rows = ground.flow._named(ground.rows)
            fitted.append(source if is_fitted(source) else source._taking(handed).fit(rows, ground.labels))
        out = fitted[0].sample(n, random_state=rng)
        if out.x.shape[1] != ground.held.shape[1]:
            raise InvalidSettingError(
                f"it makes rows of {out.x.shape[1]} numbers, and those of the data have {ground.held.shape[1]}"
            )
        return Drawn(out.x, out.y)

    return draw


# --- distances ---------------------------------------------------------------------------------------------------


def _radii(ground: Ground) -> list[tuple[str, float]]:
    """Radii of the ladder, each with how it is called: tail probabilities first, then multiples of the typical one."""
    tail = ground.tail
    told = [(f"1 in {1 / p:.0f}" if p > 1e-4 else f"1 in 10^{-np.log10(p):.0f}", far_radius(ground, p)) for p in TAILS]
    last = told[-1][1]
    return told + [(f"{s:g} sigma", s * tail.typical) for s in SIGMAS if s * tail.typical > 1.05 * last]


def far_radius(ground: Ground, p: float) -> float:
    """The radius that a held-out row reaches with probability ``p``, beyond what held-out rows can tell too.

    There it goes on from the last that they tell as a normal distribution would, whose tail the radii of many
    latents have.
    """
    tail = ground.tail
    if p >= tail.least:
        return tail.radius(p)
    edge = max(tail.least, 1 / (len(tail.radii) + 1))
    near = min(0.5, 10 * edge)
    r_near, r_edge = tail.radius(near), tail.radius(edge)
    slope = (r_edge - r_near) / (ndtri(near) - ndtri(edge))
    return float(r_edge + slope * (ndtri(edge) - ndtri(p)))


def _at(ground: Ground, r: float) -> Callable[[int, np.random.Generator], Drawn]:
    def draw(n: int, rng: np.random.Generator) -> Drawn:
        y = ground.draw_labels(n, rng)
        return Drawn(ground.at_radius(r, y, n, rng), y, r)

    return draw


def _shell(ground: Ground, seed: int) -> Iterator[Rung]:
    for label, r in _radii(ground):
        yield Rung("shell", label, _at(ground, r), keeps_class=label == f"1 in {1 / TAILS[0]:.0f}")


def _targeted(ground: Ground, seed: int) -> Iterator[Rung]:
    for label, r in _radii(ground):
        yield Rung("targeted", label, _at(ground, r), candidates=CANDIDATES)


# --- what no longer goes together --------------------------------------------------------------------------------

SHARES = (0.1, 0.25, 0.5)


def _exchange(ground: Ground, seed: int) -> Iterator[Rung]:
    for share in SHARES:
        if ground.is_image:  # pixels of another image would show seams
            make, what = partial(Exchange, share, space="latent", flow=ground.flow, random_state=seed), "latents"
        else:
            make, what = partial(Exchange, share, random_state=seed), "columns"
        yield Rung("exchange", f"{share:.0%} of the {what}", _of_source(make, ground))


def _collage(ground: Ground, seed: int) -> Iterator[Rung]:
    make = partial(Collage, flow=ground.flow, random_state=seed)
    yield Rung("collage", "parts of two or three rows", _of_source(make, ground))


def _boundary(ground: Ground, seed: int) -> Iterator[Rung]:
    for beyond in (1.0, 1.5, 2.0):
        make = partial(Boundary, flow=ground.flow, beyond=beyond, random_state=seed)
        yield Rung("boundary", f"{beyond:g} times as far as it", _of_source(make, ground))


def _turned(ground: Ground, seed: int) -> Iterator[Rung]:
    make = partial(Turned, event_shape=ground.event_shape, random_state=seed)
    yield Rung("turned", "turned or mirrored", _of_source(make, ground))


def _salient(ground: Ground, seed: int) -> Iterator[Rung]:
    make = partial(Salient, event_shape=ground.event_shape, random_state=seed)
    yield Rung("salient", "what a class rests on", _of_source(make, ground))


def _scrambled(ground: Ground, seed: int) -> Iterator[Rung]:
    make = partial(Scrambled, event_shape=ground.event_shape, random_state=seed)
    yield Rung("scrambled", "random phases", _of_source(make, ground))


def _archetypal(ground: Ground, seed: int) -> Iterator[Rung]:
    base = _archetypes(ground, seed)
    for beyond in (0.0, 1.0, 2.0):
        label = "on the hull" if beyond == 0 else f"{beyond:g} steps past it"
        make = partial(_on_archetypes, Archetypal, base, beyond=beyond, random_state=seed)
        yield Rung("archetypal", label, _of_source(make, ground))


def _nullspace(ground: Ground, seed: int) -> Iterator[Rung]:
    make = partial(_on_archetypes, Nullspace, _archetypes(ground, seed), w="normal", random_state=seed)
    yield Rung("nullspace", "from N(0, I)", _of_source(make, ground))


def _on_archetypes(cls: Any, base: Callable[[], DeepArchetypes], **given: Any) -> OutlierSource:
    source: OutlierSource = cls(base=base(), **given)
    return source


def _archetypes(ground: Ground, seed: int) -> Callable[[], DeepArchetypes]:
    """Archetypes that are fitted once, when they are first asked for."""

    @cache
    def fitted() -> DeepArchetypes:
        base = DeepArchetypes(flow=ground.flow, random_state=seed)
        return base.fit(ground.flow._named(ground.rows), ground.labels)

    return fitted


KINDS: dict[str, Callable[[Ground, int], Iterator[Rung]]] = {
    "shell": _shell,
    "targeted": _targeted,
    "exchange": _exchange,
    "collage": _collage,
    "boundary": _boundary,
    "turned": _turned,
    "salient": _salient,
    "scrambled": _scrambled,
    "archetypal": _archetypal,
    "nullspace": _nullspace,
}
"""Every kind by its name; each gives its rungs, from weak to strong."""
