"""Features of a pretrained network as a scikit-learn transformer."""

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from farout.backbones.cache import FeatureCache
from farout.backbones.inputs import Kind, Picture, as_pictures, as_sentences, content_key, holds_rows, row_keys
from farout.backbones.networks import SentenceNetwork, TorchNetwork, checked, is_sentence_network, network_of
from farout.backbones.preparation import preparation_of
from farout.base.progress import stage
from farout.base.training import Training, inference_device
from farout.base.validation import check_choice, check_events, check_flag, check_number
from farout.errors import InvalidDataError, InvalidSettingError

__all__ = ["Features"]

ACCELERATORS = ("auto", "cpu", "gpu", "cuda")
OF_PICTURES = ("size", "channels", "mean", "std", "crop", "interpolation")
STORED_AT_ONCE = 1024  # inputs a file of the cache
WORKERS = min(8, os.cpu_count() or 1)


class Features(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Images, sentences or rows as vectors: the features of a pretrained network.

    Parameters
    ----------
    backbone : str or torch.nn.Module
        - ``"timm:NAME"``: a network of timm with its pretrained weights, without its classifier (extra ``timm``);
          ``"timm:hf-hub:..."`` and ``"timm:local-dir:FOLDER"`` as timm has them.
        - ``"st:NAME"`` or ``"sentence-transformers:NAME"``: a sentence transformer, or the folder of one (extra
          ``sentences``).
        - ``"package.module:function"``: the network that your function returns, called without arguments.
        - A torch module, or a SentenceTransformer. ``fit`` takes a copy; the module is not changed.
    layer : str, optional
        Dotted name of the layer whose output is taken, such as "layer3.0.conv1"; that of its last call, where it is
        called several times. None takes the network's own output. Maps (n, channels, height, width) are averaged over
        all pixels, tokens (n, tokens, d) over all tokens. Not for sentence transformers.
    size : int or (int, int), optional
        Side, or height and width, to which images are resized.
    channels : {1, 3}, optional
        Number of channels the network gets; 1 makes images grey.
    mean, std : float or one float a channel, optional
        The network gets (x - mean) / std, for pixels x in [0, 1]. For a network that takes (x - 127) / 128 of bytes
        give 127 / 255 and 128 / 255.
    crop : float, optional
        Share of the shorter side that the centre crop keeps, in (0, 1]: images are resized until their shorter side is
        size / crop, then cropped.
    interpolation : {"nearest", "bilinear", "bicubic", "lanczos"}, optional
        Interpolation of resizing.
    normalize : bool, default=False
        Scale features to unit length.
    batch_size : int, default=64
    cache : path, optional
        A folder in which computed features are stored and looked up, by the content of inputs and backbone.
    accelerator : {"auto", "cpu", "gpu", "cuda"}, default="auto"
        Where the network runs: "auto" takes the first GPU, if there is one.
    verbose : bool, default=False
        Show progress on stderr.

    Attributes
    ----------
    network_ : TorchNetwork or SentenceNetwork
        The copy of the network that computes features.
    kind_ : {"pictures", "sentences", "rows"}
        What inputs it takes.
    n_features_out_ : int
        Number of features.

    Notes
    -----
    ``fit`` trains nothing: it loads the network and tries it on the first input. ``X`` is

    - for pictures, of any size: a folder (class by class; `farout.data.list_pictures` gives its labels), a list of
      paths, of Pillow images or of arrays, an array of bytes (n, height, width, channels) or (n, channels, height,
      width), or a data set of images such as ``farout.load_data`` gives. Floats must lie in [0, 1];
    - for sentences: a list, an array or a column of text;
    - for your own module also rows, shape (n, d), which it gets as float32.

    Where ``size``, ``channels``, ``mean``, ``std``, ``crop`` or ``interpolation`` is None, the network's own
    ``pretrained_cfg`` sets it: timm's networks have one, and your network may have such a dict. Without it, images are
    prepared as for torchvision's ImageNet networks: 224 pixels, ImageNet's mean and standard deviation, crop .875,
    bilinear.

    Features are float32 and the same for the same inputs and ``batch_size``. Another ``batch_size`` changes their last
    digits, unless they come from a cache. The cache identifies a network by its weights, its plain attributes and the
    code of its classes: if you change functions that those call, use another folder.

    Raises
    ------
    InvalidSettingError
        If a setting makes no sense, an extra isn't installed, or the network can't take the inputs.
    InvalidDataError
        If inputs can't be read, or features aren't finite.
    DataNotFoundError
        If a file isn't there, or a named backbone can't be loaded.
    NotFittedError
        If asked for features before ``fit``.

    Examples
    --------
    >>> import torch
    >>> from PIL import Image
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
    >>> photos = [Image.new("RGB", (60, 40), "red"), Image.new("RGB", (32, 64), "blue")]
    >>> Features(network, size=32).fit_transform(photos).shape
    (2, 8)
    """

    def __init__(
        self,
        backbone: Any,
        *,
        layer: str | None = None,
        size: int | tuple[int, int] | None = None,
        channels: int | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        crop: float | None = None,
        interpolation: str | None = None,
        normalize: bool = False,
        batch_size: int = 64,
        cache: str | os.PathLike[str] | None = None,
        accelerator: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.backbone = backbone
        self.layer = layer
        self.size = size
        self.channels = channels
        self.mean = mean
        self.std = std
        self.crop = crop
        self.interpolation = interpolation
        self.normalize = normalize
        self.batch_size = batch_size
        self.cache = cache
        self.accelerator = accelerator
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> Self:
        """Load the network and try it on the first input.

        Parameters
        ----------
        X : pictures, sentences or rows
            At least one; see the class.
        y : ignored

        Returns
        -------
        self
        """
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)
        self._check_settings()
        try:
            self.network_: TorchNetwork | SentenceNetwork = self._loaded(X)
            self.kind_: Kind = self.network_.kind
            items = self._items(X, reset=True)
            if not len(items):
                raise InvalidDataError("Features: X is empty; give at least one input.")
            first = checked(self.network_(self._prepared(items[:1])), [0], "Features")
            self.n_features_out_ = int(first.shape[1])
        except BaseException:
            for name in [name for name in vars(self) if name.endswith("_")]:
                delattr(self, name)
            raise
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Features of all inputs.

        Parameters
        ----------
        X : pictures, sentences or rows
            Of the kind that ``fit`` saw.

        Returns
        -------
        float32 ndarray of shape (n, k), k the features of a row
        """
        check_is_fitted(self)
        self._check_settings()
        items = self._items(X, reset=False)
        features = np.empty((len(items), self.n_features_out_), dtype=np.float32)
        if self.cache is None:
            self._compute(items, np.arange(len(items)), features)
        else:
            self._look_up_or_compute(items, features, FeatureCache(self.cache, self.network_.fingerprint()))
        if self.normalize:
            length = np.linalg.norm(features, axis=1, keepdims=True)
            features /= np.maximum(length, np.finfo(np.float32).tiny)
        return features

    def _check_settings(self) -> None:
        where = "Features"
        check_number(self.batch_size, "batch_size", where, low=1, integer=True)
        check_choice(self.accelerator, "accelerator", where, ACCELERATORS)
        for name in ("normalize", "verbose"):
            check_flag(getattr(self, name), name, where)
        if not isinstance(self.cache, str | os.PathLike | None):
            raise InvalidSettingError(f"{where}: cache must be the path of a folder, or None; got {self.cache!r:.80}.")
        if not isinstance(self.layer, str | None):
            raise InvalidSettingError(
                f"{where}: layer must be the dotted name of a layer, or None; got {self.layer!r:.80}."
            )

    def _loaded(self, X: Any) -> TorchNetwork | SentenceNetwork:
        device = inference_device(Training(accelerator=self.accelerator))
        if self.accelerator in ("gpu", "cuda") and device.type == "cpu":
            raise InvalidSettingError(
                f"Features: accelerator={self.accelerator!r}, but torch finds no GPU here; give 'auto' or 'cpu'."
            )
        with stage(f"loading {self._name()}", show=bool(self.verbose)):
            bars = bool(self.verbose) and sys.stderr is not None and sys.stderr.isatty()
            module = network_of(self.backbone, "Features", show=bars).to(device)
        asked = {name: getattr(self, name) for name in OF_PICTURES}
        sentences = is_sentence_network(module)
        rows = not sentences and holds_rows(X)
        useless = [name for name, value in asked.items() if value is not None and (sentences or rows)]
        useless += ["layer"] * (sentences and self.layer is not None)
        if useless:
            given = "sentences" if sentences else "rows"
            raise InvalidSettingError(f"Features: {', '.join(useless)} has no meaning for {given}; leave it out.")
        if sentences:
            return SentenceNetwork(module, device)
        config = getattr(module, "pretrained_cfg", None)
        preparation = None if rows else preparation_of(asked, config, "Features")
        return TorchNetwork(module, device, "Features", self.layer, preparation)

    def _name(self) -> str:
        return self.backbone if isinstance(self.backbone, str) else type(self.backbone).__name__

    def _items(self, X: Any, *, reset: bool) -> Sequence[Any]:
        if self.kind_ == "sentences":
            return as_sentences(X, "Features")
        if self.kind_ == "pictures":
            return as_pictures(X, "Features")
        if not holds_rows(X):
            raise InvalidDataError(
                "Features: it was fitted on rows, shape (n, d), and X is none; fit it anew for pictures."
            )
        return list(check_events(self, X, None, reset=reset).astype(np.float32))

    def _prepared(self, items: Sequence[Any], pool: ThreadPoolExecutor | None = None) -> Sequence[Any]:
        """Pictures as bytes of one size, others as they are."""
        if not isinstance(self.network_, TorchNetwork) or self.network_.preparation is None:
            return items
        preparation = self.network_.preparation

        def pixels(picture: Picture) -> NDArray[np.uint8]:
            return preparation.pixels(picture.rgb())

        return list(map(pixels, items) if pool is None else pool.map(pixels, items))

    def _compute(self, items: Sequence[Any], wanted: NDArray[np.intp], features: NDArray[np.float32]) -> None:
        """Fill the rows ``wanted`` of ``features``, batch by batch; pictures are read ahead by a batch."""
        for _ in self._batches(items, wanted, features):
            pass

    def _batches(
        self, items: Sequence[Any], wanted: NDArray[np.intp], features: NDArray[np.float32]
    ) -> Iterator[NDArray[np.intp]]:
        """As `_compute`; gives the rows of each batch once they are there."""
        if self.kind_ == "sentences":  # of one length side by side, since a batch is as long as its longest
            wanted = wanted[np.argsort([-len(items[i]) for i in wanted], kind="stable")]
        batches = [wanted[i : i + self.batch_size] for i in range(0, len(wanted), self.batch_size)]
        name = f"features of {len(items)} {self.kind_}"
        showing = stage(name, len(items), done=len(items) - len(wanted), show=bool(self.verbose) and len(wanted) > 0)
        with showing as advance, ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(WORKERS) as pool:
            ahead = [reader.submit(self._prepared, [items[i] for i in batch], pool) for batch in batches[:1]]
            for number, batch in enumerate(batches):
                prepared = ahead.pop().result()
                ahead += [
                    reader.submit(self._prepared, [items[i] for i in following], pool)
                    for following in batches[number + 1 : number + 2]
                ]
                features[batch] = checked(self.network_(prepared), batch.tolist(), "Features")
                advance(len(batch))
                yield batch

    def _look_up_or_compute(self, items: Sequence[Any], features: NDArray[np.float32], cache: FeatureCache) -> None:
        keys = self._keys(items)
        known = cache.fill(keys, features)
        first = {key: i for i, key in reversed(list(enumerate(keys)))}  # equal inputs are computed once
        wanted = np.array([i for i, key in enumerate(keys) if not known[i] and first[key] == i], dtype=np.intp)
        done: list[int] = []
        try:
            for batch in self._batches(items, wanted, features):
                done += batch.tolist()
                if len(done) >= STORED_AT_ONCE:
                    cache.write([keys[i] for i in done], features[done])
                    done = []
        finally:  # what was computed before an error or an interruption is kept
            cache.write([keys[i] for i in done], features[done])
        features[~known] = features[[first[key] for key, there in zip(keys, known, strict=True) if not there]]

    def _keys(self, items: Sequence[Any]) -> list[bytes]:
        """A hash of the content of each input."""
        if self.kind_ == "sentences":
            return [content_key(b"sentence", sentence.encode("utf-8", "surrogatepass")) for sentence in items]
        if self.kind_ == "rows":
            return row_keys(np.stack(items)) if len(items) else []
        with ThreadPoolExecutor(WORKERS) as pool:
            return list(pool.map(Picture.key, items))

    @property
    def _n_features_out(self) -> int:
        return self.n_features_out_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.no_validation = True
        return tags
