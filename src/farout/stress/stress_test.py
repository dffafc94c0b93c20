"""stress_test: any trained model on outliers of rising strength, from normal rows alone."""

import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from torch import nn

from farout.base.estimator import classes_of
from farout.base.neighbours import nearest_rows
from farout.base.progress import stage
from farout.base.validation import Rows, check_choice, check_flag, check_number, seed_of
from farout.errors import FaroutError, InvalidDataError, InvalidSettingError
from farout.flows.density import FlowDensity
from farout.stress.answers import OUTPUTS, Answers, Ask, asked, name_of
from farout.stress.ground import Ground, given_rows, shape_of, taken
from farout.stress.kinds import Drawn, Rung, check_kinds, ladder, resolved_kinds
from farout.stress.measures import (
    Mean,
    break_point,
    fooled_by,
    least_accepted,
    separation,
    share_interval,
    two_sample_auroc,
)
from farout.stress.result import Control, StressResult, StressRow, Worst

__all__ = ["stress_test"]

WHERE = "stress_test"
KEPT = 12  # worst rows of each kind
COLUMNS = 3  # named for each of them
TELLS = 0.6  # AUROC of a control from which on the flow isn't taken for data
FLOW_SHARE = 0.5  # of a time limit, for the flow
PROBED = 20  # steps by which the time of a flow's training is told
ENCODED, SAMPLES = "encoded and decoded", "samples at 1 sigma"
CALLED = {ENCODED: "the same rows encoded and decoded", SAMPLES: SAMPLES}
SCORED = ("shell", "exchange")  # kinds whose AUROC gives the score: docs/results/stress.md says why
FIRST = 64  # rows that models are tried on before anything long
OVERFITTED = 1.25  # how much farther out rows held out may lie than those that the flow may have learned from
HARDLY_SURE = 0.5


def stress_test(
    model: Any,
    X: Any,
    y: ArrayLike | None = None,
    *,
    compare: Any = None,
    flow: FlowDensity | None = None,
    kinds: Sequence[str] | Mapping[str, Any] | None = None,
    n: int = 500,
    sure: float = 0.9,
    outputs: str = "auto",
    classes: Sequence[Any] | None = None,
    inputs: Any = None,
    event_shape: tuple[int, ...] | None = None,
    n_bootstrap: int = 500,
    confidence: float = 0.95,
    time_limit: float | None = None,
    random_state: Any = None,
    verbose: bool = False,
) -> StressResult:
    """Show how a trained model behaves as inputs leave what it knows, with outliers of rising, calibrated strength.

    Outliers are made from normal rows alone, by a flow. Those of the kinds "shell" and "targeted" are decoded at radii
    that a row held out reaches once in 10, in 1 000, in a million times, and at multiples of the typical radius; the
    others by the sources of the same name, and their radius is measured. Rows at strength 0 are the controls: where the
    model, or a two-sample test, tells these from data, the flow isn't good enough to judge, and the result says so.
    The one number in all, ``score``, is the mean of the AUROC over all strengths of "shell" and of "exchange": what
    lies far out, and what no longer goes together (docs/results/stress.md has how it predicts).

    Parameters
    ----------
    model : object or mapping of str to object
        What is tested, trained, by its name where one is wanted: a classifier or an outlier detector with the methods
        of scikit-learn (pipelines and boosters of other libraries too), a torch module or ``farout.wrap`` of one, a
        model of farout or the folder of its run, the path of an ONNX file, or a function from rows to probabilities
        or logits (n, k) or to scores (n,), higher for more normal.
    X : array or frame of shape (n, d), or array of images
        Normal rows that the model was not trained on, as it takes them; 40 at least. A share of .4 of them, 2 000 at
        most, is held out to judge by; the others are for the flow and the sources.
    y : array of shape (n,), optional
        Labels: the flow is fitted under them, and accuracy is told.
    compare : object, sequence or mapping of str to object, optional
        Further models, on the same outliers.
    flow : FlowDensity, optional
        Used as it is when fitted, on other rows than these; a default flow is fitted when omitted.
    kinds : sequence of str or mapping of str to OutlierSource, optional
        Some of "shell", "targeted" (of 16 points of a shell, that of which the model is surest), "exchange", "collage",
        "boundary", "turned", "salient", "scrambled", "archetypal", "nullspace"; or sources by name. What suits the data
        and needs no training of its own, when omitted.
    n : int, default=500
        Outliers of each kind and strength; of "targeted", a quarter of them.
    sure : float, default=0.9
        Probability of which more counts as sure, in (0, 1).
    outputs : {"auto", "probabilities", "logits", "scores"}, default="auto"
        What a function gives; "auto" tells by its shape and sums.
    classes : sequence, optional
        Of the columns that a function or a torch module gives.
    inputs : None, "unit", (mean, std) or callable, default=None
        How a torch module's inputs are made of rows, as `farout.wrap` has it: as they come, pixels brought to
        [0, 1] and normalised, or by a function of a tensor.
    event_shape : tuple of int, optional
        (channels, height, width) of images; the flow's, or that of X, when omitted.
    n_bootstrap : int, default=500
        Resamples for intervals; 0 gives none.
    confidence : float, default=0.95
    time_limit : float, optional
        Seconds. The flow's training gets half of it at most; when it is up, what is there is returned, with
        ``finished`` False. The controls, "shell" and "exchange", which give the score, are always tried.
    random_state : int, Generator or None, default=None
        The same int gives the same result.
    verbose : bool, default=False
        Progress on stderr.

    Returns
    -------
    StressResult
        Models are called by their names, or those of their classes, a pipeline by its last step. Printed as a table;
        ``to_frame()``, ``to_dict()``; ``farout.plots.stress`` draws it.

    Raises
    ------
    InvalidDataError
        If rows can't be used, or the model gives no finite number for rows held out.
    InvalidSettingError
        If a setting makes no sense, or nothing tells how to ask the model.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> import farout as fo
    >>> X, y = load_wine(return_X_y=True)
    >>> forest = RandomForestClassifier(random_state=0).fit(X[::2], y[::2])
    >>> result = fo.stress_test(forest, X[1::2], y[1::2], n=50, kinds=["shell"], n_bootstrap=0, random_state=0)
    >>> result.models, result.kinds, result.rows[0].strength
    (('RandomForestClassifier',), ('shell',), '1 in 10')
    >>> bool(result.of("RandomForestClassifier", "shell")[-1].auroc > 0.5)
    True
    """
    began = time.monotonic()
    _check(n, sure, outputs, n_bootstrap, confidence, time_limit, verbose)
    if flow is not None and not isinstance(flow, FlowDensity):
        raise InvalidSettingError(f"{WHERE}: flow must be a FlowDensity or None; got {flow!r:.80}.")
    check_kinds(kinds)
    check_kinds(kinds, image=shape_of(X, event_shape, flow) is not None)
    seed = seed_of(random_state, WHERE)
    models = _named(model, compare)
    _check_used(models, outputs, inputs)
    asks = {name: asked(m, outputs, classes, inputs, event_shape) for name, m in models.items()}
    for name, ask in asks.items():  # before anything long
        _answers(name, ask, taken(given_rows(X), np.arange(min(FIRST, len(given_rows(X))))))

    def fitted(flow: FlowDensity, rows: Any, labels: NDArray[Any] | None) -> FlowDensity:
        with stage("fitting the flow", show=verbose):
            limit = None if time_limit is None else FLOW_SHARE * time_limit - (time.monotonic() - began)
            return _fitted_in(flow, rows, labels, limit)

    ground = Ground.of(X, y, flow, event_shape, seed, fitted)
    test = _Test(ground, asks, n, sure, n_bootstrap, confidence, seed)
    test.ask_held()
    chosen = resolved_kinds(kinds, ground)
    shown = {kind for kind, source in chosen.items() if source is None}
    scored = ladder(dict.fromkeys(SCORED), ground, seed)
    further = ladder({k: v for k, v in chosen.items() if v is not None or k not in SCORED}, ground, seed)
    finished = True
    with stage("stressing", total=2 + len(scored) + len(further), show=verbose) as advance:
        for make in (test.encoded, test.samples):
            test.control(*make())
            advance()
        for rung in scored:
            test.climb(rung, scored=True, shown=rung.kind in shown)
            advance()
        for rung in further:
            if time_limit is not None and time.monotonic() - began > time_limit:
                finished = False
                break
            test.climb(rung)
            advance()
    settings = {"n": n, "kinds": list(chosen), "random_state": seed, "time_limit": time_limit}
    return test.result(list(chosen), finished, time.monotonic() - began, settings)


def _check(n: Any, sure: Any, outputs: Any, n_bootstrap: Any, confidence: Any, time_limit: Any, verbose: Any) -> None:
    check_number(n, "n", WHERE, low=10, integer=True)
    check_number(sure, "sure", WHERE, low=0, high=1, low_open=True, high_open=True)
    check_choice(outputs, "outputs", WHERE, OUTPUTS)
    check_number(n_bootstrap, "n_bootstrap", WHERE, low=0, integer=True)
    check_number(confidence, "confidence", WHERE, low=0, high=1, low_open=True, high_open=True)
    check_number(time_limit, "time_limit", WHERE, low=0, low_open=True, none_ok=True)
    check_flag(verbose, "verbose", WHERE)


def _check_used(models: Mapping[str, Any], outputs: str, inputs: Any) -> None:
    """Raise for settings that no model has a use for."""
    modules = [isinstance(m, nn.Module) for m in models.values()]
    if inputs is not None and not any(modules):
        raise InvalidSettingError(f"{WHERE}: inputs is for torch modules, and no model is one; leave it out.")
    of_others = ("predict_proba", "score_samples", "decision_function")
    plain = [m for m, module in zip(models.values(), modules, strict=True) if module or not hasattr_any(m, of_others)]
    if outputs != "auto" and not plain:
        raise InvalidSettingError(
            f"{WHERE}: outputs is for functions, torch modules and ONNX files; the models say by their methods what "
            "they give. Leave it out."
        )


def hasattr_any(model: Any, names: Sequence[str]) -> bool:
    """Whether a model has one of these methods."""
    return any(hasattr(model, name) for name in names)


def _answers(name: str, ask: Ask, rows: Any) -> Answers:
    """What a model says of normal rows; an error that names it where it fails."""
    try:
        answers = ask(rows)
    except FaroutError:
        raise
    except Exception as error:  # whatever a stranger's model raises
        raise InvalidDataError(
            f"{WHERE}: {name} failed on {len(rows)} normal rows of {_form(rows)}: {type(error).__name__}: {error}. It "
            "must take rows as X has them."
        ) from error
    _require_all(answers, len(rows), name)
    return answers


def _require_all(answers: Answers, n: int, name: str) -> None:
    if len(answers.score) != n:
        raise InvalidDataError(f"{WHERE}: {name} gave {len(answers.score)} answers for {n} rows.")


def _named(model: Any, compare: Any) -> dict[str, Any]:
    """All models by name; those of one name are numbered."""
    found: dict[str, Any] = {}
    for given in (model, [] if compare is None else compare):
        listed = given if isinstance(given, list | tuple) else [given]
        pairs = given.items() if isinstance(given, Mapping) else [(name_of(m), m) for m in listed]
        for given_name, one in pairs:
            name = " ".join(str(given_name).split())  # one line in tables
            taken = [k for k in found if k == name or k.startswith(f"{name} (")]
            found[f"{name} ({len(taken) + 1})" if taken else name] = one
    if not found:
        raise InvalidSettingError(f"{WHERE}: no model was given.")
    return found


def _fitted_in(flow: FlowDensity, rows: Any, labels: NDArray[Any] | None, limit: float | None) -> FlowDensity:
    """The flow fitted, in as many steps as fit into ``limit`` seconds, where there is one."""
    copy: FlowDensity = clone(flow)
    if limit is not None:
        probe, began = clone(flow).set_params(max_steps=PROBED), time.monotonic()
        probe.fit(rows, labels)
        most = int(limit / (time.monotonic() - began) * PROBED)
        copy.set_params(max_steps=max(PROBED, min(most, probe.set_params(max_steps=flow.max_steps)._steps(len(rows)))))
    copy.fit(rows, labels)
    return copy


@dataclass
class _Seen:
    """The outliers of a kind that a model was asked about, the surest few."""

    x: NDArray[Any]
    confidence: NDArray[np.float64]
    predicted: NDArray[Any] | None
    strength: list[str]

    def with_more(self, other: "_Seen") -> "_Seen":
        """The surest of both."""
        confidence = np.concatenate([self.confidence, other.confidence])
        best = np.argsort(-confidence, kind="stable")[:KEPT]
        predicted = None
        if self.predicted is not None and other.predicted is not None:
            predicted = np.concatenate([self.predicted, other.predicted])[best]
        names = self.strength + other.strength
        return _Seen(np.concatenate([self.x, other.x])[best], confidence[best], predicted, [names[i] for i in best])


class _Test:
    """A stress test on its way."""

    def __init__(
        self,
        ground: Ground,
        asks: Mapping[str, Ask],
        n: int,
        sure: float,
        n_bootstrap: int,
        confidence: float,
        seed: int,
    ) -> None:
        self.ground = ground
        self.asks = asks
        self.n = n
        self.sure = sure
        self.n_bootstrap = n_bootstrap
        self.confidence = confidence
        self.seed = seed
        self.held: dict[str, Answers] = {}
        self.rows: list[StressRow] = []
        self.controls: list[Control] = []
        self.seen: dict[str, dict[str, _Seen]] = {name: {} for name in asks}
        self.means: dict[str, Mean] = {}
        self.notes: list[str] = []

    def ask_held(self) -> None:
        """Ask all models about the rows held out."""
        ground = self.ground
        for name, ask in self.asks.items():
            self.held[name] = _answers(name, ask, ground.as_given(ground.held))
            self.means[name] = Mean(self.held[name].score, self.n_bootstrap, self.seed)
            self._control(name, "held out", self.held[name], ground.held_classes, 0.5)

    # --- controls ------------------------------------------------------------------------------------------------

    def encoded(self) -> tuple[str, Drawn]:
        """The rows held out, encoded and decoded with the flow's noise."""
        ground = self.ground
        X = ground.flow.noisy_reconstruction(
            Rows(ground.flow.clipped(ground.held)), ground.held_labels, random_state=self.seed
        )
        return ENCODED, Drawn(X, ground.held_labels)

    def samples(self) -> tuple[str, Drawn]:
        """As many samples of the flow."""
        return SAMPLES, Drawn(*self.ground.flow.sample(len(self.ground.held), random_state=self.seed))

    def control(self, name: str, drawn: Drawn) -> None:
        """Ask all models about rows at strength 0."""
        # Of different rows: twins on both sides of a fold would tell it the opposite.
        half = np.arange(len(drawn.x)) % 2 == 0
        numbers = self.ground.as_numbers(self.ground.held[half]), self.ground.as_numbers(drawn.x[~half])
        told = two_sample_auroc(*numbers, self.seed)
        y = self.ground.held_classes if name == ENCODED else drawn.y
        for model, ask in self.asks.items():
            answers, failure = self._asked(model, ask, drawn.x)
            if answers is None:
                nan = float("nan")
                self.controls.append(Control(model, name, nan, nan, nan, nan, told, failure=failure))
            else:
                self._control(model, name, answers, y, told)

    def _control(self, model: str, name: str, answers: Answers, y: NDArray[Any] | None, told: float) -> None:
        held = self.held[model]
        fooled = fooled_by(answers, self.sure, least_accepted(held))
        apart = separation(held, answers, self.n_bootstrap, self.confidence, self.seed)
        low, high = apart.interval("auroc") or (float("nan"), float("nan"))
        self.controls.append(
            Control(model, name, float(fooled.mean()), apart.auroc, low, high, told, _accuracy(answers, y))
        )

    # --- outliers ------------------------------------------------------------------------------------------------

    def climb(self, rung: Rung, *, scored: bool = False, shown: bool = True) -> None:
        """Ask all models about outliers of one kind and strength, and keep what they say."""
        rng = np.random.default_rng((self.seed, zlib.crc32(f"{rung.kind}: {rung.label}".encode())))  # its own draws
        try:
            drawn = rung.draw(rung.count(self.n) * rung.candidates, rng)
        except FaroutError as error:
            self.notes.append(f"{rung.kind}, {rung.label}: no outliers could be made: {error}")
            return
        blank = self._blank(rung, drawn)
        for model, ask in self.asks.items():
            row = replace(blank, model=model)
            answers, failure = self._asked(model, ask, drawn.x)
            if answers is None:
                self.rows += [replace(row, failure=failure)] if shown else []
                continue
            picked = answers.best_of(rung.candidates) if rung.candidates > 1 else np.arange(len(drawn.x))
            some = answers.some(picked)
            if scored:
                self.means[model].add(rung.kind, some.score)
            if shown:
                y = None if drawn.y is None or not rung.keeps_class else drawn.y[picked]
                self.rows.append(self._judged(row, some, y))
                self._remember(row, drawn.x[picked], some)

    def _asked(self, model: str, ask: Ask, x: NDArray[Any]) -> tuple[Answers | None, str | None]:
        """A model's answers for rows of its own, which it may change; or what went wrong, which is a finding too."""
        try:
            answers = ask(self.ground.as_given(x))
            _require_all(answers, len(x), model)
        except Exception as error:
            return None, f"{type(error).__name__}: {error}"
        return answers, None

    def _blank(self, rung: Rung, drawn: Drawn) -> StressRow:
        """How far out the outliers are, without what a model says of them."""
        tail, radius = self.ground.tail, drawn.radius
        if radius is None:
            radius = float(np.median(self.ground.radii(drawn.x, self._known(drawn.y))))
        told = float(tail.probability(radius))
        sigma = radius / tail.typical
        return StressRow("", rung.kind, rung.label, sigma, told, told <= tail.least, rung.count(self.n))

    def _judged(self, row: StressRow, answers: Answers, y: NDArray[Any] | None) -> StressRow:
        held = self.held[row.model]
        fooled = fooled_by(answers, self.sure, least_accepted(held))
        apart = separation(held, answers, self.n_bootstrap, self.confidence, self.seed)
        low, high = share_interval(fooled, self.n_bootstrap, self.confidence, self.seed)
        auroc, fpr95 = (apart.interval(metric) or (np.nan, np.nan) for metric in ("auroc", "fpr95"))
        return replace(
            row,
            fooled=float(fooled.mean()),
            fooled_low=low,
            fooled_high=high,
            auroc=apart.auroc,
            auroc_low=auroc[0],
            auroc_high=auroc[1],
            fpr95=apart.fpr95,
            fpr95_low=fpr95[0],
            fpr95_high=fpr95[1],
            accuracy=_accuracy(answers, y),
        )

    def _remember(self, row: StressRow, x: NDArray[Any], answers: Answers) -> None:
        """Keep the outliers of a kind of which a model is surest."""
        best = np.argsort(-answers.confidence, kind="stable")[:KEPT]
        told = answers.some(best)
        seen = _Seen(x[best], told.confidence, told.predicted, [row.strength] * len(best))
        before = self.seen[row.model].get(row.kind)
        self.seen[row.model][row.kind] = seen if before is None else before.with_more(seen)

    def _known(self, y: NDArray[Any] | None) -> NDArray[Any] | None:
        """Labels of outliers that the flow can use."""
        classes = classes_of(self.ground.flow)
        return None if classes is None or y is None or not np.isin(y, classes).all() else y

    # --- the result ----------------------------------------------------------------------------------------------

    def result(self, kinds: list[str], finished: bool, seconds: float, settings: Mapping[str, Any]) -> StressResult:
        """All that was found."""
        models = list(self.asks)
        rows = sorted(self.rows, key=lambda row: (models.index(row.model), kinds.index(row.kind)))
        of = {model: [row for row in rows if row.model == model] for model in models}
        points = {
            model: {
                kind: break_point([r for r in mine if r.kind == kind]) for kind in dict.fromkeys(r.kind for r in mine)
            }
            for model, mine in of.items()
        }
        told = {model: mean.told(self.confidence) for model, mean in self.means.items()}
        return StressResult(
            rows=tuple(rows),
            controls=tuple(sorted(self.controls, key=lambda c: models.index(c.model))),
            break_points=points,
            score={model: value for model, (value, _, _) in told.items()},
            score_interval={model: (low, high) for model, (_, low, high) in told.items()},
            worst={m: {kind: self._worst(seen) for kind, seen in of_kind.items()} for m, of_kind in self.seen.items()},
            warnings=tuple(self._warnings(finished)),
            finished=finished,
            sure=self.sure,
            confidence=self.confidence,
            seconds=seconds,
            n_held=len(self.ground.held),
            event_shape=self.ground.event_shape,
            settings=settings,
        )

    def _worst(self, seen: _Seen) -> Worst:
        columns = [] if self.ground.is_image else self._columns(seen.x)
        return Worst(self.ground.as_given(seen.x), seen.confidence, seen.predicted, seen.strength, columns)

    def _columns(self, x: NDArray[Any]) -> list[list[str]]:
        """For each row the columns in which it differs most from the nearest real row, in units of their spread."""
        rows = np.asarray(self.ground.rows, dtype=np.float64)
        spread = rows.std(axis=0) + 1e-12
        _, nearest = nearest_rows((rows / spread).astype(np.float32), x / spread, 1)
        apart = np.abs(x - rows[nearest[:, 0]]) / spread
        names = self.ground.column_names
        owners = [names[i] for i in range(x.shape[1])]
        return [list(dict.fromkeys(owners[i] for i in np.argsort(-row)))[:COLUMNS] for row in apart]

    def _warnings(self, finished: bool) -> Iterator[str]:
        if not finished:
            yield "the time was up before all strengths were tried; kinds and break points are of those that were."
        yield from self._of_flow()
        for c in self.controls:
            if c.rows == "held out":
                yield from self._of_model(c.model, c.confident)
            elif c.failure is not None:
                yield f"{c.model} failed on the control {CALLED[c.rows]}: {c.failure}"
            elif (c.auroc if np.isnan(c.auroc_low) else c.auroc_low) > TELLS or (
                c.auroc if np.isnan(c.auroc_high) else c.auroc_high
            ) < 1 - TELLS:
                yield (
                    f"{c.model} itself tells rows held out from {CALLED[c.rows]} (AUROC {c.auroc:.2f}; .5 if the flow "
                    "were perfect): the flow isn't good enough to judge it by weak strengths."
                )
        yield from self.notes
        yield from (f"{r.model} failed on {r.kind}, {r.strength}: {r.failure}" for r in self.rows if r.failure)

    def _of_flow(self) -> Iterator[str]:
        told = {c.rows: c.two_sample for c in self.controls if c.rows in CALLED}
        for rows, auroc in told.items():
            if auroc > TELLS:
                yield (
                    f"a two-sample test tells rows held out from {CALLED[rows]} (AUROC {auroc:.2f}; .5 if the flow "
                    "were perfect): weak strengths also test for what the flow gets wrong."
                )
        ground = self.ground
        own = float(np.median(ground.radii(ground.rows[: len(ground.held)], _first(ground.labels, len(ground.held)))))
        if ground.tail.typical > OVERFITTED * own:
            yield (
                f"rows held out lie {ground.tail.typical / own:.1f} times as far out as those that outliers are made "
                "of: the flow knows the latter by heart. Give it more rows, or fewer steps."
            )

    def _of_model(self, model: str, confident: float) -> Iterator[str]:
        scores = self.held[model].score
        if np.ptp(scores) == 0:
            yield f"{model} gives all rows held out one score, {scores[0]:.3g}: nothing can be told by it."
        elif confident < HARDLY_SURE:
            yield (
                f"{model} is more than {self.sure:g} sure of {confident:.0%} of the rows held out, so few outliers "
                "can fool it; look at AUROC, or lower sure."
            )


def _first(y: NDArray[Any] | None, n: int) -> NDArray[Any] | None:
    return None if y is None else y[:n]


def _accuracy(answers: Answers, y: NDArray[Any] | None) -> float | None:
    """None without labels, and where these are other ones than the model's."""
    if y is None or answers.predicted is None or not {*y.tolist()} & {*answers.predicted.tolist()}:
        return None
    return float((answers.predicted == y).mean())


def _form(rows: Any) -> str:
    return f"shape {rows.shape}" if isinstance(rows, np.ndarray) else type(rows).__name__
