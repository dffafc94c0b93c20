"""Numbers that the talk published: its two tables and single figures (Bungert, 2021)."""

from dataclasses import dataclass

__all__ = [
    "AGREEMENT",
    "CLASSIFIERS",
    "DISCRIMINATORS",
    "RECONSTRUCTION",
    "SETS",
    "TALK_ROWS",
    "PublishedRow",
]

SETS = ("letters", "fashion", "kmnist")
TALK_ROWS = {"inliers": 40_000, "letters": 124_800, "fashion": 60_000, "kmnist": 60_000}
"""Numbers of test rows in the talk; average precision depends on their ratio."""

RECONSTRUCTION = {"nullspace": 0.022, "nullspace (biased)": 0.068}
"""Mean squared error per element of the talk's nullspace samples."""

AGREEMENT = {7.0: 0.997, 1.0: 0.84, 0.3: 0.64}
"""Share of draws whose label the author's classifier predicted, by concentration."""


@dataclass(frozen=True)
class PublishedRow:
    """A row of one of the talk's tables.

    Attributes
    ----------
    source : str
        "archetypal", "gumbel", "normal", "real" or "none": source of the outliers that it is trained on.
    strength : float or None
        The talk's p: a concentration, or sigma.
    of : str or None
        The set that "real" outliers are from.
    cells : dict of str to tuple of float
        By set: AUROC, average precision with inliers positive and, for classifiers, accuracy on inliers.
    """

    source: str
    strength: float | None
    of: str | None
    cells: dict[str, tuple[float, ...]]

    @property
    def name(self) -> str:
        """Name of the row in the talk.

        Examples
        --------
        >>> DISCRIMINATORS[0].name, DISCRIMINATORS[-1].name, CLASSIFIERS[-1].name
        ('DeepAA p=0.1', 'real letters', 'none')
        """
        if self.source in ("real", "none"):
            return "none" if self.of is None else f"real {self.of}"
        shown = {"archetypal": "DeepAA", "gumbel": "INN Gumbel", "normal": "INN Normal"}[self.source]
        return f"{shown} p={self.strength:.1f}"


def _row(source: str, strength: float | None, of: str | None, letters: str, fashion: str, kmnist: str) -> PublishedRow:
    """Parse a row from its cells in the talk's form: AUC/AP or AUC/AP/ACC."""
    cells = dict(zip(SETS, (letters, fashion, kmnist), strict=True))
    return PublishedRow(source, strength, of, {k: tuple(map(float, v.split("/"))) for k, v in cells.items()})


DISCRIMINATORS = (
    _row("archetypal", 0.1, None, ".64/.33", ".88/.77", ".67/.47"),
    _row("archetypal", 0.3, None, ".57/.27", ".52/.37", ".46/.34"),
    _row("archetypal", 0.5, None, ".48/.22", ".38/.31", ".42/.33"),
    _row("archetypal", 0.6, None, ".47/.22", ".39/.32", ".37/.31"),
    _row("archetypal", 0.8, None, ".43/.20", ".48/.35", ".39/.32"),
    _row("archetypal", 1.2, None, ".45/.21", ".74/.51", ".63/.42"),
    _row("gumbel", 2.5, None, ".68/.35", ".45/.34", ".47/.35"),
    _row("normal", 1.5, None, ".58/.27", ".12/.25", ".38/.32"),
    _row("normal", 2.0, None, ".65/.32", ".20/.27", ".48/.35"),
    _row("normal", 2.5, None, ".69/.39", ".80/.61", ".72/.50"),
    _row("normal", 3.0, None, ".52/.24", ".42/.33", ".15/.25"),
    _row("real", None, "fashion", ".73/.44", "1.00/1.00", ".97/.95"),
    _row("real", None, "letters", ".81/.56", ".50/.36", ".48/.35"),
)

CLASSIFIERS = (
    _row("archetypal", 0.1, None, ".89/.64/1.00", "1.00/1.00/1.00", ".99/.98/1.00"),
    _row("archetypal", 0.3, None, ".90/.66/1.00", "1.00/1.00/1.00", ".99/.99/1.00"),
    _row("archetypal", 0.6, None, ".89/.63/1.00", "1.00/1.00/1.00", ".98/.97/1.00"),
    _row("archetypal", 0.8, None, ".90/.68/1.00", "1.00/1.00/1.00", ".98/.98/1.00"),
    _row("archetypal", 1.0, None, ".89/.70/.99", "1.00/1.00/.99", ".97/.96/.99"),
    _row("archetypal", 1.2, None, ".89/.68/1.00", "1.00/1.00/1.00", ".98/.96/1.00"),
    _row("gumbel", 2.5, None, ".90/.72/1.00", "1.00/1.00/1.00", ".99/.99/1.00"),
    _row("real", None, "fashion", ".89/.67/1.00", "1.00/1.00/1.00", ".99/.99/1.00"),
    _row("real", None, "letters", ".98/.95/1.00", "1.00/1.00/1.00", ".99/.99/1.00"),
    _row("none", None, None, ".89/.68/.99", "1.00/1.00/.99", ".97/.95/.99"),
)
