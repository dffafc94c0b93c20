"""Base of all estimators and sources: ``fit`` resets, checks, learns, and leaves the model unfitted when it fails."""

import contextlib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from farout.base.encoding import fitted_state, in_order
from farout.base.persistence import save_model
from farout.base.process import torch_as_usual
from farout.base.ranks import by_the_first
from farout.base.training import Training, not_finite_in, shared_seed
from farout.base.validation import Rows, check_events, check_rows, seed_of, warn_extreme, warn_scale
from farout.columns import Schema, frame_of
from farout.errors import DivergedError, InvalidTypeError, RunError

__all__ = ["Defaults", "Estimator", "Nested", "classes_of", "is_fitted", "not_finite_parts"]


@dataclass(frozen=True)
class Nested:
    """A parameter that holds a model, or a list of models.

    Parameters
    ----------
    parameter : str
        Name of the parameter.
    fitted : str
        Name of the attribute that holds the fitted model, or the list of them.
    shared : bool, default=False
        Whether a model that comes fitted is used as it is, by this one and by its clones; otherwise a copy is fitted.
    """

    parameter: str
    fitted: str
    shared: bool = False


@dataclass(frozen=True)
class Defaults:
    """Settings passed to nested models, which use them for the parameters that they leave unset.

    Parameters
    ----------
    event_shape : tuple of int, optional
    random_state : int, optional
    training : Training, optional
    verbose : bool, default=False
    looked : bool, default=False
        Whether the rows have been looked at for codes of missing values, of which a fit warns once.
    flows : dict
        Flows fitted within this fit, by what was asked for: one serves all who ask for the same.
    """

    event_shape: tuple[int, ...] | None = None
    random_state: int | None = None
    training: Training | None = None
    verbose: bool = False
    looked: bool = False
    flows: dict[Any, Any] = field(default_factory=dict)


class Estimator(BaseEstimator):
    """What all models and sources share: fitting, nested models, names of columns, run folders.

    A subclass writes ``_check_settings`` and ``_fit``, and declares its nested models and its networks. Attributes that
    ``_fit`` sets end in an underscore, as scikit-learn has it; an attribute that has no meaning for a fit is absent.

    The same seed on the same machine gives the same bits, in any thread. Rows get the same results whatever their order
    in memory, the rows beside them and the number of threads: of vectors to 1e-9 of the results' spread, of images,
    whose networks work in single precision, to 1e-3; and the same decisions. A fit or a query takes no more memory
    than its rows take once more, beside what it gives and what doesn't grow with their number.
    """

    _nested: ClassVar[tuple[Nested, ...]] = ()
    _networks: ClassVar[tuple[str, ...]] = ()  # fitted attributes that are torch modules, which _build makes anew
    _caches: ClassVar[tuple[str, ...]] = ()  # private attributes that follow from the fitted ones
    # Fitted attributes whose NaN or infinity has a meaning: no figure at that step, no bound.
    _open_ended: ClassVar[tuple[str, ...]] = ("history_",)
    _squares: ClassVar[bool] = True  # whether a fit squares numbers of the rows, which must not be too large then
    _uncopied: ClassVar[tuple[str, ...]] = ()  # parameters that clones share, since no fit changes them
    _handed: Defaults  # by the model around this one; there while it is fitted

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Fit to data of the normal kind.

        Parameters
        ----------
        X : array or frame of shape (n, d), or array of shape (n, *event_shape)
            A frame (pandas, polars, pyarrow) may hold text, categories, booleans, dates and missing cells: they are
            encoded by the `Schema` that is learned here and kept as ``schema_``.
        y : array of shape (n,), optional
            Labels: numbers, text or dates.

        Returns
        -------
        self

        Raises
        ------
        InvalidDataError
            If the data can't be used.
        InvalidSettingError
            If a parameter makes no sense.
        DivergedError
            If training diverges, or what was fitted isn't finite.
        """
        with self._fitting():
            self._fit(X, y)
        return self

    def _check_settings(self) -> None:
        """Raise for parameters that make no sense, before anything long is begun; nothing by default."""

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        raise NotImplementedError(f"{type(self).__name__} has no _fit.")

    @contextlib.contextmanager
    def _fitting(self) -> Iterator[None]:
        """Around a fit: what an earlier one left is forgotten before, and all that this one set if it fails."""
        with torch_as_usual():  # its random state and number of threads belong to the process too: fits take turns
            self._forget()
            self._handed = vars(self).get("_handed") or Defaults()
            try:
                self._check_settings()
                if "random_state" in self.get_params(deep=False):
                    self.seed_ = seed_of(self.random_state, type(self).__name__)
                    if self.random_state is None:
                        self.seed_ = shared_seed(self.seed_, self._training_by_several())
                yield
                for name, value in fitted_state(self).items():
                    setattr(self, name, in_order(value))
                self._require_finite_fit()
            except BaseException:
                self._forget()
                raise
            finally:
                del self._handed

    def _training_by_several(self) -> Training | None:
        """The settings of a training by several processes, of this model or one inside it; None without."""
        asked = (vars(model).get("training") for model in self.nested_models())
        return next((training for training in asked if training is not None and training.several), None)

    def _require_finite_fit(self) -> None:
        """Raise if what was fitted holds a number that isn't finite; nested models look at their own."""
        for bad in not_finite_parts(self):
            raise DivergedError(
                f"{type(self).__name__}: {bad} is not finite after the fit, so no model was made. Look for columns "
                "of extreme or nearly equal values, and scale them (sklearn.preprocessing.StandardScaler)."
            )

    def _forget(self) -> None:
        for name in [*fitted_state(self), *(name for name in self._caches if name in vars(self))]:
            delattr(self, name)

    def _check_rows(self, X: ArrayLike, event_shape: Any = None, *, min_rows: int = 2) -> NDArray[Any]:
        """Training rows, checked, of shape (n, d); their width, names of columns and event shape are kept."""
        rows = check_rows(self, self._learned(X), event_shape, reset=True, min_rows=min_rows)
        if rows.event_shape is not None and len(rows.event_shape) == 3:  # a data set of images brings it along
            self._handed = replace(self._handed, event_shape=rows.event_shape)
        elif len(rows) and not self._handed.looked:
            warn_extreme(rows.X, rows.feature_names, type(self).__name__)
        self._handed = replace(self._handed, looked=True)
        return rows.X

    def _named(self, X: NDArray[Any]) -> Rows:
        """Checked rows with this model's names of columns, for a nested model."""
        names, schema = vars(self).get("feature_names_in_"), vars(self).get("schema_")
        if schema is not None:
            return Rows(X, schema.encoded_names, schema=schema)
        return Rows(X, None if names is None else tuple(names))

    @property
    def _width(self) -> int:
        """Numbers that a row is inside: those of its code, if it was fitted on a frame."""
        schema = vars(self).get("schema_")
        return int(self.n_features_in_ if schema is None else schema.width)

    # --- frames --------------------------------------------------------------------------------------------------

    def _learned(self, X: ArrayLike) -> Any:
        """A frame as encoded rows, by the schema that is learned of it and kept; all else, and numbers, as they are.

        A fitted model inside, such as a flow, has a schema already, which is taken.
        """
        frame = None if isinstance(X, Rows) else frame_of(X)
        if frame is None or not len(frame):
            return X
        where = type(self).__name__
        inside = cast(Self, clone(self)).nested_models()
        schema = next((m.schema_ for m in inside if "schema_" in vars(m)), None)
        if schema is None:
            try:
                schema = Schema.learn(frame, where)
            except InvalidTypeError:  # columns that have no code: as arrays, numbers among them may do
                return X
        self.schema_: Schema = schema
        return X if schema.is_plain else Rows(schema.encode(frame, where), schema.encoded_names, schema=schema)

    def _encoded(self, X: ArrayLike) -> Any:
        """A frame as rows encoded by the schema of fit; all else, and numbers, as they are."""
        schema = vars(self).get("schema_")
        frame = None if schema is None or schema.is_plain or isinstance(X, Rows) else frame_of(X)
        if schema is None or frame is None:
            return X
        return Rows(schema.encode(frame, type(self).__name__), schema.encoded_names, schema=schema)

    # --- nested models -------------------------------------------------------------------------------------------

    def nested_models(self) -> Iterator["Estimator"]:
        """The model itself and all inside it, depth first: those that it fitted, then those that it was given."""
        yield self
        for names in ([n.fitted for n in self._nested], [n.parameter for n in self._nested]):
            for found in (vars(self).get(name) for name in names):
                for model in found if isinstance(found, list | tuple) else [found]:
                    if isinstance(model, Estimator):
                        yield from model.nested_models()

    def _handing(self, **changes: Any) -> Defaults:
        """What this model hands to those inside it: its own settings, or where they are open what it was handed."""
        own, given = self.get_params(deep=False), vars(self).get("_handed") or Defaults()
        training = own.get("training")
        values = {
            "event_shape": given.event_shape if own.get("event_shape") is None else own["event_shape"],
            "random_state": vars(self).get("seed_", given.random_state),
            "training": given.training if training is None else training.elsewhere(),
            "verbose": own.get("verbose", False) or given.verbose,
        }
        return replace(given, **values | changes)

    def _taking(self, defaults: Defaults) -> Self:
        """A copy, unfitted, that takes these settings where its own are left open."""
        copy = clone(self)
        params = copy.get_params(deep=False)
        for name in ("event_shape", "random_state", "training"):
            if name in params and params[name] is None:
                setattr(copy, name, getattr(defaults, name))
        if "verbose" in params:
            copy.verbose = params["verbose"] or defaults.verbose
        copy._handed = defaults
        return cast(Self, copy)

    def _fitted(self, model: Any, X: NDArray[Any], y: ArrayLike | None, **changes: Any) -> Any:
        """A nested model fitted on checked rows: as it is where it comes fitted and is one to share, else a copy."""
        shared = any(n.shared and getattr(self, n.parameter, None) is model for n in self._nested)
        if shared and is_fitted(model):
            return model
        return model._taking(self._handing(**changes)).fit(self._named(X), y)

    def __sklearn_clone__(self) -> Self:
        """A copy with the same parameters: fitted models that are to be shared stay, equal objects stay one."""
        return cast(Self, _copied(self, {}))

    # --- run folders ---------------------------------------------------------------------------------------------

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write a run folder from which ``farout.load`` gives back the same model, bit for bit.

        After a training by several processes the first one writes, and the others wait for it.

        Parameters
        ----------
        path : path
            The folder; made when it isn't there.
        force : bool, default=False
            Replace a run that is there already.

        Returns
        -------
        Path

        Raises
        ------
        NotFittedError
            If the model isn't fitted.
        RunError
            If a run is there already and ``force`` is False.
        """
        if self._training_by_several() is None:
            return save_model(self, path, force=force)
        with by_the_first(Path(path)) as first:
            return save_model(self, path, force=force) if first else Path(path)

    def _build(self, name: str) -> nn.Module:
        """A network, untrained, of a model whose other fitted attributes are there."""
        raise RunError(f"{type(self).__name__} has no network called {name}.")

    def _to_device(self) -> None:
        """Bring the networks of a fitted model to the device that they work on: fits end with it, and so does loading.

        The last digits depend on the device, and what is saved is loaded to the bit.
        """

    # --- small things that many need -----------------------------------------------------------------------------

    def _query(self, X: ArrayLike, *, min_rows: int = 1) -> NDArray[Any]:
        """Rows to be judged by a fitted model, checked, of shape (n, d)."""
        check_is_fitted(self)
        rows = check_events(self, self._encoded(X), vars(self).get("event_shape_"), reset=False, min_rows=min_rows)
        scale = self._value_range()
        if scale is not None and not isinstance(X, Rows):
            warn_scale(rows, *scale, type(self).__name__)
        return rows

    def _value_range(self) -> tuple[float, float] | None:
        """Lowest and highest value of the images that it was fitted on; None where that is of no matter."""
        return None

    def _generator(self, random_state: Any) -> np.random.Generator:
        return np.random.default_rng(seed_of(random_state))


def not_finite_parts(model: Estimator) -> list[str]:
    """Where a model's own fitted numbers and networks' weights aren't finite: the names of these attributes."""
    state = fitted_state(model).items()
    return [bad for name, value in state if name not in model._open_ended and (bad := _not_finite(value, name))]


def _not_finite(value: Any, name: str) -> str:
    """Where a fitted value holds a number that isn't finite, in words; "" where it holds none."""
    if isinstance(value, nn.Module):
        bad = not_finite_in(value)
        return bad and f"{name}: {bad}"
    if isinstance(value, Mapping | list | tuple):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        return next((bad for key, part in items if (bad := _not_finite(part, f"{name}[{key!r}]"))), "")
    if isinstance(value, Tensor):
        return "" if not value.is_floating_point() or bool(torch.isfinite(value).all()) else name
    if isinstance(value, float | np.floating) or (isinstance(value, np.ndarray) and value.dtype.kind == "f"):
        return "" if np.isfinite(value).all() else name
    return ""


def is_fitted(model: Any) -> bool:
    """Whether a model has been fitted; False for None."""
    return isinstance(model, Estimator) and bool(fitted_state(model))


def classes_of(model: Any) -> NDArray[Any] | None:
    """The classes that a fitted model knows, of shape (n_classes,); None where it was fitted without labels."""
    return cast(NDArray[Any] | None, vars(model).get("classes_"))


def _copied(value: Any, made: dict[int, Any]) -> Any:
    """An unfitted copy of a parameter; what is one object in several places stays one."""
    if id(value) in made:
        return made[id(value)]
    if isinstance(value, Estimator):
        shared = {n.parameter for n in value._nested if n.shared}
        params = value.get_params(deep=False)
        kept = {name: name in value._uncopied or (is_fitted(v) and name in shared) for name, v in params.items()}
        copy: Any = type(value)(**{k: v if kept[k] else _copied(v, made) for k, v in params.items()})
        for name in ("_sklearn_output_config", "_metadata_request"):  # what set_output and set_fit_request were told
            if name in vars(value):
                setattr(copy, name, deepcopy(vars(value)[name]))
    elif isinstance(value, list | tuple) and any(isinstance(v, Estimator) for v in value):
        copy = type(value)([_copied(v, made) for v in value])
    else:
        copy = clone(value, safe=False)
    made[id(value)] = copy
    return copy
