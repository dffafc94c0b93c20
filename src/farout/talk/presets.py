"""Presets of a reproduction: the sizes that differ between smoke, quick and full."""

from dataclasses import dataclass

from farout.errors import InvalidSettingError

__all__ = ["PRESETS", "Preset", "preset_named"]


@dataclass(frozen=True)
class Preset:
    """Sizes of a reproduction.

    Attributes
    ----------
    name : str
    inliers, faces : str
        Data sets, without a split.
    outliers : tuple of str
        Sets to test on; may be those of `stand_ins`.
    flow_steps, face_flow_steps, toy_steps, archetype_steps, model_steps : int
        Gradient steps: of the flows on the inliers, on the faces and on 2-d data, of deep archetypes after their flow,
        and of each classifier and discriminator.
    seeds : int
        Models per table row, each with its own seed.
    counts : tuple of int
        Numbers of archetypes to compare.
    sample_rows : int
        Largest number of rows in a sheet of samples; of columns where samples have no classes.
    simulations : int
        Draws of a simulated distribution, such as that of the largest norm.
    train_rows, test_rows : int or None
        Largest number of rows of a set for training and for testing; None takes all.
    table_rows : int or None
        Rows of each table to reproduce, evenly chosen; None takes all.
    """

    name: str
    inliers: str
    outliers: tuple[str, ...]
    faces: str
    flow_steps: int
    face_flow_steps: int
    toy_steps: int
    archetype_steps: int
    model_steps: int
    seeds: int
    counts: tuple[int, ...]
    sample_rows: int
    simulations: int
    train_rows: int | None
    test_rows: int | None
    table_rows: int | None


PRESETS: dict[str, Preset] = {
    "smoke": Preset(
        name="smoke",
        inliers="digits@0-6",
        outliers=("digits@7-9", "small-faces", "turned-digits"),
        faces="faces",
        flow_steps=200,
        face_flow_steps=30,
        toy_steps=200,
        archetype_steps=60,
        model_steps=60,
        seeds=2,
        counts=(2, 3, 5, 8),
        sample_rows=4,
        simulations=300,
        train_rows=1000,
        test_rows=300,
        table_rows=4,
    ),
    "quick": Preset(
        name="quick",
        inliers="mnist",
        outliers=("letters", "fashion-mnist", "kana"),
        faces="faces",
        flow_steps=2000,
        face_flow_steps=600,
        toy_steps=1500,
        archetype_steps=400,
        model_steps=200,
        seeds=2,
        counts=(2, 3, 5, 8, 14, 20),
        sample_rows=10,
        simulations=2000,
        train_rows=20_000,
        test_rows=5000,
        table_rows=None,
    ),
    "full": Preset(
        name="full",
        inliers="emnist-digits",
        outliers=("emnist-letters", "fashion-mnist", "kmnist"),
        faces="ferg-people",
        flow_steps=30_000,
        face_flow_steps=15_000,
        toy_steps=4000,
        archetype_steps=10_000,
        model_steps=5000,
        seeds=5,
        counts=(2, 3, 5, 8, 10, 14, 20, 30, 50),
        sample_rows=10,
        simulations=10_000,
        train_rows=None,
        test_rows=None,
        table_rows=None,
    ),
}


def preset_named(name: str) -> Preset:
    """Return the preset of a name.

    Raises
    ------
    InvalidSettingError
        If there is none.

    Examples
    --------
    >>> preset_named("smoke").inliers
    'digits@0-6'
    """
    if name not in PRESETS:
        raise InvalidSettingError(f"--preset {name}: unknown; choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]
