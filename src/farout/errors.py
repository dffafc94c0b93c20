"""What can go wrong: one base class, and a few kinds that are also the built-in error people catch.

Every message says what is wrong, where, what was found and what to do about it.
"""

from sklearn.exceptions import NotFittedError as _SklearnNotFittedError

__all__ = [
    "DataNotFoundError",
    "DivergedError",
    "FaroutError",
    "InvalidDataError",
    "InvalidSettingError",
    "InvalidTypeError",
    "NotFittedError",
    "ReadingOptionError",
    "RunError",
]


class FaroutError(Exception):
    """Base of all errors that farout raises on purpose."""


class InvalidDataError(FaroutError, ValueError):
    """Data that can't be used as it is: NaN, a wrong shape, an unknown label, a broken file."""


class InvalidTypeError(InvalidDataError, TypeError):
    """Data of a kind that isn't taken: text, dates, sparse matrices, mixed labels."""


class InvalidSettingError(FaroutError, ValueError):
    """A parameter, option or configuration value that makes no sense."""


class ReadingOptionError(InvalidDataError, InvalidSettingError):
    """An option of reading that the data have nothing for: a column that isn't there, a size where there are no images.

    Attributes
    ----------
    option : str
        Its name, such as "label".
    """

    def __init__(self, message: str, option: str = "") -> None:
        super().__init__(message)
        self.option = option


class DataNotFoundError(FaroutError, FileNotFoundError):
    """A named set or a file that is not where it was looked for."""


class NotFittedError(FaroutError, _SklearnNotFittedError):
    """A model that was asked for results before ``fit``."""


class DivergedError(FaroutError, ArithmeticError):
    """A number that stopped being finite: a diverging loss, an overflowing transform.

    Attributes
    ----------
    row : int or None
        Number of the row, where it is one row's.
    """

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


class RunError(FaroutError, ValueError):
    """A run folder that can't be written or read: foreign, newer, truncated, tampered."""
