"""Features that were computed before, on disk, by what they are of."""

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from farout.backbones.inputs import content_key
from farout.base.files import write_atomically
from farout.errors import RunError

__all__ = ["FeatureCache"]

FORMAT = "farout-features-1"


class FeatureCache:
    """A folder of features of one backbone: files of many rows, each row under a hash of its input's content.

    Parameters
    ----------
    folder : path
        Made when it isn't there. It may be shared by backbones, by users and by programs that run side by side.
    backbone : str
        What all that the backbone does follows from, as a name for a subfolder.

    Raises
    ------
    RunError
        If the folder can't be made.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = FeatureCache(folder, "resnet")
    ...     cache.write([b"a" * 16], np.ones((1, 3), np.float32))
    ...     X = np.zeros((2, 3), np.float32)
    ...     cache.fill([b"b" * 16, b"a" * 16], X).tolist(), X.tolist()
    ([False, True], [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    """

    def __init__(self, folder: str | os.PathLike[str], backbone: str) -> None:
        self.folder = Path(folder).expanduser() / backbone
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"the cache {folder} can't be made ({error.strerror}); give another folder.") from error

    def fill(self, keys: Sequence[bytes], features: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Copy what is known into ``features`` (n, d), and tell which of its rows that are.

        A file that is damaged is removed, so that its features are computed and stored anew.
        """
        places: dict[bytes, list[int]] = {}
        for i, key in enumerate(keys):
            places.setdefault(key, []).append(i)
        known = np.zeros(len(keys), dtype=np.bool_)
        for file in sorted(self.folder.glob("*.safetensors")):
            try:
                wanted, rows = _read(file, places)
                if rows.shape[1] != features.shape[1]:
                    raise ValueError("of another width")
            except (safetensors.SafetensorError, OSError, KeyError, ValueError, IndexError):
                with contextlib.suppress(OSError):
                    file.unlink()
                continue
            for key, row in zip(wanted, rows, strict=True):
                features[places[key]] = row
                known[places[key]] = True
        return known

    def write(self, keys: Sequence[bytes], features: NDArray[np.float32]) -> None:
        """Store features (n, d) under their keys, in one file."""
        if not keys:
            return
        arrays: dict[str, NDArray[Any]] = {
            "keys": np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), -1),
            "features": np.ascontiguousarray(features, dtype=np.float32),
        }
        file = self.folder / f"{content_key(*keys).hex()}.safetensors"
        metadata = {FORMAT: _sha256(arrays)}  # one entry: the order of several is random, and so would be the file
        write_atomically(file, lambda path: path.write_bytes(safetensors.numpy.save(arrays, metadata)))


def _read(file: Path, places: Any) -> tuple[list[bytes], NDArray[np.float32]]:
    """Those of a file's keys that are wanted, and their rows; a file without any is not read whole."""
    with safetensors.safe_open(file, "numpy") as opened:
        keys = opened.get_tensor("keys")
        listed = [row.tobytes() for row in keys]
        wanted = [i for i, key in enumerate(listed) if key in places]
        features = (
            opened.get_tensor("features") if wanted else np.empty((0, opened.get_slice("features").get_shape()[1]))
        )
        metadata = opened.metadata() or {}
    if wanted and metadata.get(FORMAT) != _sha256({"keys": keys, "features": features}):
        raise ValueError("changed after it was written")
    return [listed[i] for i in wanted], features[wanted]


def _sha256(arrays: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in ("keys", "features"):
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()
