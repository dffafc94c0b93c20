"""Trial: models asked about rows held out, controls and outliers, and what is kept of what they say."""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from farout.base.neighbours import nearest_rows
from farout.base.validation import Rows
from farout.errors import FaroutError, InvalidDataError, RunError
from farout.stress.answers import Answers, Ask
from farout.stress.ground import Ground, known_labels
from farout.stress.kinds import Drawn, Rung
from farout.stress.measures import (
    Mean,
    break_point,
    fooled_by,
    least_accepted,
    separation,
    share_interval,
    two_sample_auroc,
)
from farout.stress.result import BreakPoint, Control, StressResult, StressRow, Worst

__all__ = ["Trial", "answers_of"]

WHERE = "stress_test"
KEPT = 12  # worst rows of each kind
COLUMNS = 3  # named for each of them
TELLS = 0.6  # AUROC of a control from which on the flow isn't taken for data
ENCODED, SAMPLES = "encoded and decoded", "samples at 1 sigma"
CALLED = {ENCODED: "the same rows encoded and decoded", SAMPLES: SAMPLES}
OVERFITTED = 1.25  # how much farther out rows held out may lie than those that the flow may have learned from
HARDLY_SURE = 0.5
FEW, FAR = 0.01, 4.0  # rows so few, and so many times as far out as the others, are most likely no normal ones


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


class Trial:
    """A stress test on its way: what models said so far.

    Parameters
    ----------
    ground : Ground
    asks : mapping of str to callable
        Models by name, each as a function from rows to `Answers`.
    n, sure, n_bootstrap, confidence, seed
        As in `farout.stress_test`.
    """

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
        self.unscored: set[str] = set()  # models that failed on some of the outliers of the score
        self.notes: list[str] = []

    def ask_held(self) -> None:
        """Ask all models about the rows held out."""
        ground = self.ground
        for name, ask in self.asks.items():
            self.held[name] = answers_of(name, ask, ground.as_given(ground.held))
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
            Control(
                model,
                name,
                float(fooled.mean()),
                apart.auroc,
                low,
                high,
                told,
                _accuracy(answers, y),
                accepted=_accepted(answers),
            )
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
                if scored:
                    self.unscored.add(model)
                if shown:
                    self.rows.append(replace(row, failure=failure))
                else:
                    self.notes.append(f"{model} failed on {rung.kind}, {rung.label}, of the score: {failure}")
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
        except RunError:  # of those who ask, not of the model
            raise
        except Exception as error:
            return None, f"{type(error).__name__}: {error}"
        return answers, None

    def _blank(self, rung: Rung, drawn: Drawn) -> StressRow:
        """How far out the outliers are, without what a model says of them."""
        tail, radius = self.ground.tail, drawn.radius
        if radius is None:
            radius = float(np.median(self.ground.radii(drawn.x, known_labels(self.ground.flow, drawn.y))))
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
            accepted=_accepted(answers),
        )

    def _remember(self, row: StressRow, x: NDArray[Any], answers: Answers) -> None:
        """Keep the outliers of a kind of which a model is surest."""
        best = np.argsort(-answers.confidence, kind="stable")[:KEPT]
        told = answers.some(best)
        seen = _Seen(x[best], told.confidence, told.predicted, [row.strength] * len(best))
        before = self.seen[row.model].get(row.kind)
        self.seen[row.model][row.kind] = seen if before is None else before.with_more(seen)

    # --- the result ----------------------------------------------------------------------------------------------

    def result(
        self, kinds: list[str], untried: Sequence[Rung], seconds: float, settings: Mapping[str, Any]
    ) -> StressResult:
        """All that was found; ``untried`` are the strengths that there was no time for."""
        models = list(self.asks)
        rows = sorted(self.rows, key=lambda row: (models.index(row.model), kinds.index(row.kind)))
        of = {model: [row for row in rows if row.model == model] for model in models}

        def points(models: Iterable[str], share: Literal["fooled", "accepted"]) -> dict[str, dict[str, BreakPoint]]:
            kinds_of = {model: dict.fromkeys(row.kind for row in of[model]) for model in models}
            return {
                model: {kind: break_point([r for r in of[model] if r.kind == kind], share) for kind in kinds}
                for model, kinds in kinds_of.items()
            }

        decide = [m for m in models if any(c.model == m and c.accepted is not None for c in self.controls)]
        nothing = (float("nan"),) * 3
        told = {m: nothing if m in self.unscored else mean.told(self.confidence) for m, mean in self.means.items()}
        return StressResult(
            rows=tuple(rows),
            controls=tuple(sorted(self.controls, key=lambda c: models.index(c.model))),
            break_points=points(models, "fooled"),
            accepted_up_to=points(decide, "accepted"),
            score={model: value for model, (value, _, _) in told.items()},
            score_interval={model: (low, high) for model, (_, low, high) in told.items()},
            worst={m: {kind: self._worst(seen) for kind, seen in of_kind.items()} for m, of_kind in self.seen.items()},
            warnings=tuple(self._warnings(untried, settings)),
            finished=not untried,
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

    def _warnings(self, untried: Sequence[Rung], settings: Mapping[str, Any]) -> Iterator[str]:
        if untried:
            names = {rung.kind: [other.label for other in untried if other.kind == rung.kind] for rung in untried}
            told = "; ".join(f"{kind} ({', '.join(labels)})" for kind, labels in names.items())
            yield f"the time limit of {settings['time_limit']:g} s was reached; not tried: {told}."
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
        far = ground.tail.radius(max(FEW, ground.tail.least)) / ground.tail.typical
        if far > FAR:
            yield (
                f"one in {1 / max(FEW, ground.tail.least):.0f} of the rows held out lies {far:.0f} times as far out as "
                "is typical, and strengths are measured by them: if such rows aren't normal, leave them out."
            )
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


def _accepted(answers: Answers) -> float | None:
    """By the threshold of a model of classes; a detector's decision is told as what fools it."""
    if answers.accepts is None or answers.probabilities is None:
        return None
    return float(answers.accepts.mean())


def _accuracy(answers: Answers, y: NDArray[Any] | None) -> float | None:
    """None without labels, and where these are other ones than the model's."""
    if y is None or answers.predicted is None or not {*y.tolist()} & {*answers.predicted.tolist()}:
        return None
    return float((answers.predicted == y).mean())


def _form(rows: Any) -> str:
    return f"shape {rows.shape}" if isinstance(rows, np.ndarray) else type(rows).__name__


def answers_of(name: str, ask: Ask, rows: Any) -> Answers:
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
