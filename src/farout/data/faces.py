"""The set `faces`: six stylised characters, seven expressions, drawn by this project from a seed.

It stands where FERG stands in the talk (people and their expressions, 32x32 RGB) and needs neither
a licence nor a download. Every shape is a polygon in face coordinates (x right, y down, the head
about two units tall), so that the pose is one affine map of points and nothing is resampled twice.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from farout.data.pen import Color, Pen, oval, shade

__all__ = ["CHARACTERS", "EXPRESSIONS", "draw_face", "make_faces"]

_SIZE = 32
_OVERSAMPLING = 4
_INK = (34, 24, 28)
_WHITE = (250, 250, 246)


@dataclass(frozen=True)
class Character:
    """What stays the same in all pictures of one character."""

    name: str
    skin: Color
    hair: Color
    lips: Color
    iris: Color
    head: tuple[float, float]  # half width, half height
    squareness: float  # exponent of the outline: 2 an ellipse, above it a box with round corners
    backdrop: Color


@dataclass(frozen=True)
class Expression:
    """Where brows, eyes and mouth go, as offsets from a face at rest."""

    name: str
    brow_inner: float = 0.0  # up is negative, as everywhere here
    brow_outer: float = 0.0
    eye: float = 1.0  # how far open
    pupil: float = 1.0
    mouth_width: float = 0.3
    upper: float = 0.0  # bulge of the upper lip
    lower: float = 0.02  # bulge of the lower lip
    corner: float = 0.0
    teeth: float = 0.0
    extra: str = ""


_PEOPLE = (
    Character("ada", (152, 96, 64), (30, 22, 30),
              (190, 58, 76), (58, 34, 22), (0.70, 0.84), 2.2, (64, 70, 92)),
    Character("bruno", (246, 196, 164), (206, 84, 30),
              (190, 80, 78), (52, 110, 170), (0.82, 0.76), 2.0, (16, 38, 34)),
    Character("cato", (222, 170, 124), (92, 90, 98),
              (168, 86, 80), (90, 70, 40), (0.76, 0.84), 3.6, (40, 24, 20)),
    Character("dara", (252, 220, 194), (240, 200, 84),
              (220, 60, 100), (60, 150, 96), (0.66, 0.82), 2.0, (44, 18, 44)),
    Character("echo", (118, 198, 108), (66, 132, 64),
              (52, 104, 60), (190, 50, 60), (0.84, 0.72), 2.1, (24, 16, 48)),
    Character("fips", (238, 148, 60), (250, 226, 190),
              (140, 60, 50), (70, 120, 40), (0.86, 0.72), 2.3, (12, 30, 52)),
)  # fmt: skip
_MOODS = (
    Expression("anger", 0.15, -0.10, 0.62, 0.9, 0.34, -0.16, 0.06, 0.06, 0.9),
    Expression("disgust", 0.10, 0.02, 0.34, 0.8, 0.30, -0.15, 0.04, 0.07, extra="tongue"),
    Expression("fear", -0.18, 0.04, 1.28, 0.5, 0.40, -0.07, 0.12, 0.05, 0.9),
    Expression("joy", -0.07, -0.06, 0.0, 1.0, 0.42, 0.04, 0.36, -0.10, 0.30, extra="cheeks"),
    Expression("neutral"),
    Expression("sadness", -0.17, 0.10, 0.58, 0.9, 0.25, -0.15, -0.12, 0.08, extra="tear"),
    Expression("surprise", -0.16, -0.15, 1.36, 0.75, 0.17, -0.19, 0.21, 0.02),
)
CHARACTERS = tuple(person.name for person in _PEOPLE)
EXPRESSIONS = tuple(mood.name for mood in _MOODS)


def _behind(pen: Pen, who: Character) -> None:
    """Hair, ears and horns that the head covers partly."""
    width, _ = who.head
    if who.name == "ada":  # a round cloud of hair, with earrings
        pen.oval(0, -0.32, 1.02, 0.86, who.hair)
    elif who.name == "dara":  # long hair down to the shoulders
        pen.oval(0, 0.12, 0.92, 1.08, who.hair, 2.8)
    elif who.name == "echo":  # pointed ears
        for side in (-1, 1):
            ear = np.array([(0.70, -0.1), (1.22, -0.5), (0.76, 0.34)]) * (side, 1)
            pen.polygon(ear, shade(who.skin, 0.8))
    elif who.name == "fips":  # ears of a cat
        for side in (-1, 1):
            ear = np.array([(0.22, -0.56), (0.82, -1.14), (0.86, -0.18)]) * (side, 1)
            pen.polygon(ear, shade(who.skin, 0.85))
            pen.polygon(0.5 * ear + 0.5 * ear.mean(0), (250, 180, 170))
    if who.name in ("bruno", "cato"):
        for side in (-1, 1):
            pen.oval(side * width, 0.06, 0.16, 0.2, shade(who.skin, 0.85))


def _before(pen: Pen, who: Character) -> None:
    """Hair and marks that lie over the head."""
    width, height = who.head
    if who.name == "ada":
        pen.polygon([(-0.62, -0.44), (-0.4, -0.84), (0.4, -0.84), (0.62, -0.44), (0, -0.6)], who.hair)
        for side in (-1, 1):
            pen.oval(side * 0.72, 0.38, 0.12, 0.14, (252, 206, 60))
    elif who.name == "bruno":  # spikes, and freckles
        spikes = [(-0.8, -0.3), (-0.94, -0.8), (-0.5, -0.66), (-0.36, -1.1), (-0.04, -0.72),
                  (0.22, -1.14), (0.42, -0.68), (0.9, -0.88), (0.8, -0.3), (0.4, -0.52),
                  (-0.4, -0.52)]  # fmt: skip
        pen.polygon(spikes, who.hair)
    elif who.name == "cato":  # bald, with a beard
        chin = oval(0, 0.30, width * 1.03, height * 0.72, 3.0)
        pen.polygon(chin[chin[:, 1] > 0.30], who.hair)
    elif who.name == "dara":  # a fringe to one side
        pen.polygon(
            [(-0.7, 0.1), (-0.66, -0.6), (-0.2, -0.92), (0.4, -0.86), (0.72, -0.4), (0.7, 0.1),
             (0.56, -0.34), (-0.1, -0.6), (-0.5, -0.3)], who.hair)  # fmt: skip
    elif who.name == "echo":  # two feelers
        for side in (-1, 1):
            pen.line([(side * 0.26, -0.64), (side * 0.46, -1.0)], who.hair, 0.08)
            pen.oval(side * 0.48, -1.04, 0.14, 0.14, (250, 220, 90))
    else:  # a pale muzzle
        pen.oval(0, 0.40, 0.56, 0.34, who.hair)


def _brows(pen: Pen, who: Character, mood: Expression, force: float) -> None:
    color = _INK if who.name in ("ada", "fips") else shade(who.hair, 0.6)
    for side in (-1, 1):
        inner = -0.42 + force * mood.brow_inner
        outer = -0.42 + force * mood.brow_outer
        middle = 0.5 * (inner + outer) - 0.05
        pen.line([(side * 0.13, inner), (side * 0.35, middle), (side * 0.56, outer)], color, 0.11)


def _eyes(pen: Pen, who: Character, mood: Expression, force: float, gaze: NDArray[np.float64]) -> None:
    opening = 1 + force * (mood.eye - 1)
    for side in (-1, 1):
        x, y = side * 0.34, -0.12
        if opening < 0.2:  # laughing eyes: two arcs
            t = np.linspace(-1, 1, 9)
            pen.line(np.stack([x + 0.20 * t, y + 0.05 - 0.16 * (1 - t**2)], 1), _INK, 0.10)
            continue
        ry = 0.19 * opening
        pen.oval(x, y, 0.235, ry + 0.035, _INK)
        pen.oval(x, y, 0.20, ry, _WHITE)
        radius = 0.125 * (1 + force * (mood.pupil - 1))
        pen.oval(x + gaze[0], y + gaze[1] * opening, radius, min(radius, ry), who.iris)
        pen.oval(x + gaze[0], y + gaze[1] * opening, 0.6 * radius, 0.6 * min(radius, ry), _INK)


def _nose(pen: Pen, who: Character, mood: Expression) -> None:
    if who.name == "fips":
        pen.polygon([(-0.13, 0.12), (0.13, 0.12), (0, 0.26)], (220, 92, 100))
    elif who.name == "echo":
        for side in (-1, 1):
            pen.oval(side * 0.07, 0.17, 0.035, 0.05, shade(who.skin, 0.55))
    else:
        pen.oval(0, 0.14, 0.10, 0.12 if mood.name != "disgust" else 0.09, shade(who.skin, 0.78))


def _mouth(pen: Pen, who: Character, mood: Expression, force: float) -> None:
    t = np.linspace(-1, 1, 15)
    rest = _MOODS[4]
    width = rest.mouth_width + force * (mood.mouth_width - rest.mouth_width)
    arch = (1 - t**2) if mood.name != "surprise" else np.sqrt(1 - t**2)
    base = 0.46 + force * mood.corner * t**2
    upper = np.stack([width * t, base + force * mood.upper * arch], 1)
    lower = np.stack([width * t, base + (0.02 + force * (mood.lower - 0.02)) * arch], 1)
    outline = np.concatenate([upper, lower[::-1]])
    pen.polygon(outline, (96, 22, 34))
    if mood.teeth:
        edge = upper + mood.teeth * (lower - upper)
        pen.polygon(np.concatenate([upper, edge[::-1]]), _WHITE)
    if mood.extra == "tongue":
        pen.oval(0.05, 0.60, 0.15, 0.19 * force, (236, 96, 120))
    lip = shade(who.lips, 0.8)
    pen.line(np.concatenate([outline, outline[:1]]), lip, 0.075)


def _extras(pen: Pen, who: Character, mood: Expression) -> None:
    for side in (-1, 1):
        if mood.extra == "cheeks":
            r, g, b = who.skin
            pen.oval(side * 0.52, 0.18, 0.13, 0.09, (min(255, r + 30), round(g * 0.74), round(b * 0.78)))
    if mood.extra == "tear":
        pen.polygon([(0.40, 0.08), (0.31, 0.30), (0.40, 0.40), (0.49, 0.30)], (110, 190, 250))


def draw_face(
    character: int,
    expression: int,
    *,
    force: float = 1.0,
    angle: float = 0.0,
    scale: float = 1.0,
    shift: ArrayLike = (0.0, 0.0),
    gaze: ArrayLike = (0.0, 0.0),
) -> NDArray[np.uint8]:
    """Draw one face.

    Parameters
    ----------
    character, expression : int
        Positions in ``CHARACTERS`` and ``EXPRESSIONS``.
    force : float
        How strongly the expression shows; 1 as designed, 0 is nearly neutral.
    angle : float
        Turn of the head in degrees, clockwise.
    scale : float
        Size; 1 fills most of the picture.
    shift, gaze : two floats
        Offset of the head and of the pupils (x, y), in units of half a head.

    Returns
    -------
    NDArray[np.uint8]
        Shape (3, 32, 32), values 0 to 255.

    Examples
    --------
    >>> draw_face(0, 3).shape
    (3, 32, 32)
    """
    who, mood = _PEOPLE[character], _MOODS[expression]
    side = _SIZE * _OVERSAMPLING
    canvas = Image.new("RGB", (side, side), who.backdrop)
    turn, unit = np.deg2rad(angle), side * 0.40 * scale
    matrix = unit * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    pen = Pen(canvas, matrix, side * np.array([0.5, 0.53]) + unit * np.asarray(shift, float))
    _behind(pen, who)
    pen.oval(0, 0.06, *who.head, who.skin, who.squareness)
    _before(pen, who)
    _extras(pen, who, mood)
    _nose(pen, who, mood)
    _eyes(pen, who, mood, force, np.asarray(gaze, float))
    _brows(pen, who, mood, force)
    _mouth(pen, who, mood, force)
    small = canvas.resize((_SIZE, _SIZE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.uint8).transpose(2, 0, 1)


def _relight(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Give every picture its own brightness and a lamp from its own side."""
    axis = np.linspace(-1, 1, _SIZE)
    slope = rng.uniform(-0.16, 0.16, (len(images), 2))
    light = rng.uniform(0.86, 1.08, (len(images), 1, 1)) + (
        slope[:, :1, None] * axis[:, None] + slope[:, 1:, None] * axis
    )
    lit = images * light[:, None] + rng.normal(0, 2.0, images.shape)
    return np.clip(np.rint(lit), 0, 255).astype(np.uint8)


@lru_cache(maxsize=4)
def make_faces(n_each: int = 40, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Draw the whole set; the same arguments give the same pictures.

    Parameters
    ----------
    n_each : int
        Pictures for each of the 42 pairs of character and expression.
    seed : int
        Seed of pose, strength of the expression, gaze and light.

    Returns
    -------
    images, characters, expressions
        Shapes (n, 3, 32, 32), (n,), (n,), with n = 42 ``n_each``; read-only, as they are kept.

    Examples
    --------
    >>> images, characters, expressions = make_faces(1)
    >>> len(images), int(characters.max()), int(expressions.max())
    (42, 5, 6)
    """
    rng = np.random.default_rng(seed)
    pairs = np.stack(np.meshgrid(np.arange(6), np.arange(7), indexing="ij"), -1).reshape(-1, 2)
    pairs = np.repeat(pairs, n_each, axis=0)
    images = np.stack([_random_face(int(who), int(mood), rng) for who, mood in pairs])
    images = _relight(images, rng)
    characters, expressions = pairs.T.astype(np.int64)
    for array in (images, characters, expressions):
        array.setflags(write=False)
    return images, characters, expressions


def _random_face(character: int, expression: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    return draw_face(
        character,
        expression,
        force=rng.uniform(0.8, 1.1),
        angle=rng.uniform(-12, 12),
        scale=rng.uniform(0.86, 1.04),
        shift=rng.uniform(-0.14, 0.14, 2),
        gaze=rng.uniform((-0.06, -0.03), (0.06, 0.03)),
    )
