"""The named sets: what they are, who gives them out, and in which files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from string import ascii_lowercase

from farout.data.faces import CHARACTERS, EXPRESSIONS
from farout.data.spec import Split

__all__ = ["CATALOGUE", "FERG_PEOPLE", "Archive", "FergSet", "IdxSet", "MadeSet", "NamedSet"]

_IDX_FILES = ("images-idx3-ubyte", "labels-idx1-ubyte")


@dataclass(frozen=True)
class NamedSet:
    """What all named sets have: see :class:`farout.data.DataSetInfo`."""

    name: str
    description: str
    publisher: str
    licence: str
    class_names: Mapping[int | str, str] | None = None
    note: str = ""  # what to do to the publisher's files before they can be used


@dataclass(frozen=True)
class MadeSet(NamedSet):
    """A set that is made here, or comes with a library; always there."""


@dataclass(frozen=True)
class Archive:
    """A zip archive at a public address, with all files of one or several sets."""

    url: str
    known_hash: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class IdxSet(NamedSet):
    """A set in MNIST's format.

    ``prefixes`` gives the beginning of the file names of each split; ``hashes`` the files at
    ``url`` (``sha256:...`` or ``md5:...``), where they are given out one by one.
    """

    folder: str = ""
    other_folders: tuple[str, ...] = ()
    prefixes: Mapping[Split, str] = field(default_factory=lambda: {"train": "train", "test": "t10k"})
    transposed: bool = False
    url: str = ""
    hashes: Mapping[str, str] = field(default_factory=dict)
    archive: Archive | None = None

    def file_names(self, split: Split) -> tuple[str, str]:
        """Names of the files of images and labels, without ``.gz``."""
        images, labels = (f"{self.prefixes[split]}-{kind}" for kind in _IDX_FILES)
        return images, labels


@dataclass(frozen=True)
class FergSet(NamedSet):
    """FERG in its publisher's folders, labelled by ``people`` or by ``expressions``."""

    by: str = "people"
    folder: str = "ferg"


def _numbered(*names: str, start: int = 0) -> dict[int | str, str]:
    return dict(enumerate(names, start))


def _hashes(algorithm: str, *values: str) -> dict[str, str]:
    files = [f"{part}-{kind}.gz" for part in ("train", "t10k") for kind in _IDX_FILES]
    return {file: f"{algorithm}:{value}" for file, value in zip(files, values, strict=True)}


_EMNIST_SPLITS: dict[str, dict[Split, str]] = {
    name: {"train": f"emnist-{name}-train", "test": f"emnist-{name}-test"} for name in ("digits", "letters")
}
_EMNIST = Archive(
    "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
    "md5:58c8d27c78d21e728a6bc7b3cc06412e",
    tuple(
        f"gzip/{prefix}-{kind}.gz"
        for prefixes in _EMNIST_SPLITS.values()
        for prefix in prefixes.values()
        for kind in _IDX_FILES
    ),
)
_EMNIST_PAGE = "https://www.nist.gov/itl/products-and-services/emnist-dataset"
_FERG_PAGE = "https://grail.cs.washington.edu/projects/deepexpr/ferg-2d-db.html"
_OMNIGLOT_PAGE = "https://github.com/brendenlake/omniglot"
_OMNIGLOT_NOTE = "bring its drawings to MNIST's size, stroke and centring"
FERG_PEOPLE = ("aia", "bonnie", "jules", "malcolm", "mery", "ray")

_SETS: tuple[NamedSet, ...] = (
    MadeSet("toy", "three Gaussians in the plane, 3 000 points", "farout", "Apache-2.0"),
    MadeSet(
        "digits",
        "handwritten digits, 1 797 scans of 8x8 (Alpaydin and Kaynak, 1998)",
        "https://archive.ics.uci.edu/dataset/80",
        "CC BY 4.0",
    ),
    MadeSet(
        "faces",
        "drawn faces, 32x32 RGB, labelled by the 6 characters",
        "farout",
        "Apache-2.0",
        _numbered(*CHARACTERS),
    ),
    MadeSet(
        "faces-expressions",
        "the same faces, labelled by the 7 expressions",
        "farout",
        "Apache-2.0",
        _numbered(*EXPRESSIONS),
    ),
    IdxSet(
        "mnist",
        "handwritten digits, 70 000 of 28x28 (LeCun et al., 1998)",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "CC BY-SA 3.0",
        folder="mnist",
        other_folders=("MNIST",),
        url="https://ossci-datasets.s3.amazonaws.com/mnist/",
        hashes=_hashes(
            "sha256",
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
    IdxSet(
        "fashion-mnist",
        "articles of clothing, 70 000 of 28x28 (Xiao et al., 2017)",
        "https://github.com/zalandoresearch/fashion-mnist",
        "MIT",
        _numbered(
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
            "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
        ),
        folder="fashion-mnist",
        other_folders=("FashionMNIST",),
        url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        hashes=_hashes(
            "sha256",
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ),
    IdxSet(
        "letters",
        "handwritten Latin and Greek letters in MNIST's form, test only (Lake et al., 2015)",
        _OMNIGLOT_PAGE,
        "MIT",
        folder="letters",
        prefixes={"test": "t10k"},
        note=_OMNIGLOT_NOTE,
    ),
    IdxSet(
        "kana",
        "handwritten katakana in MNIST's form, test only (Lake et al., 2015)",
        _OMNIGLOT_PAGE,
        "MIT",
        folder="kana",
        prefixes={"test": "t10k"},
        note=_OMNIGLOT_NOTE,
    ),
    IdxSet(
        "emnist-digits",
        "handwritten digits, 280 000 of 28x28 (Cohen et al., 2017)",
        _EMNIST_PAGE,
        "public domain (NIST)",
        folder="emnist",
        other_folders=("EMNIST", "emnist-digits"),
        prefixes=_EMNIST_SPLITS["digits"],
        transposed=True,
        archive=_EMNIST,
    ),
    IdxSet(
        "emnist-letters",
        "handwritten letters of 28x28, both cases in one class (Cohen et al., 2017)",
        _EMNIST_PAGE,
        "public domain (NIST)",
        _numbered(*ascii_lowercase, start=1),
        folder="emnist",
        other_folders=("EMNIST", "emnist-letters"),
        prefixes=_EMNIST_SPLITS["letters"],
        transposed=True,
        archive=_EMNIST,
    ),
    IdxSet(
        "kmnist",
        "cursive hiragana, 70 000 of 28x28 (Clanuwat et al., 2018)",
        "http://codh.rois.ac.jp/kmnist/",
        "CC BY-SA 4.0",
        _numbered("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        folder="kmnist",
        other_folders=("KMNIST",),
        url="http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        hashes=_hashes(
            "sha256",
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
    ),
    FergSet(
        "ferg-expressions",
        "rendered faces, 55 767 as 32x32 RGB, labelled by 7 expressions (Aneja et al., 2016)",
        _FERG_PAGE,
        "on request, research only",
        _numbered(*EXPRESSIONS),
        by="expressions",
    ),
    FergSet(
        "ferg-people",
        "rendered faces, 55 767 as 32x32 RGB, labelled by 6 characters (Aneja et al., 2016)",
        _FERG_PAGE,
        "on request, research only",
        _numbered(*FERG_PEOPLE),
        by="people",
    ),
)  # fmt: skip
CATALOGUE: dict[str, NamedSet] = {entry.name: entry for entry in _SETS}
