"""What is wrong with a fitted model, if anything: measures, each with its bound, and what to do."""

import copy
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from textwrap import fill
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi, ks_2samp, kstest
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from farout.base.estimator import Estimator, classes_of, not_finite_parts
from farout.base.progress import stage
from farout.base.training import suitable_threads
from farout.base.validation import HoldsRows, Rows, seed_of
from farout.errors import FaroutError, InvalidDataError, InvalidTypeError
from farout.flows.actnorm import ActNorm
from farout.flows.coupling import Coupling
from farout.flows.density import FlowDensity
from farout.flows.flow import Flow
from farout.runs.folder import flow_of

__all__ = ["Diagnosis", "Finding", "doctor"]

Verdict = Literal["OK", "look", "broken", "absent"]
Floats = NDArray[np.float64]

STRENGTHS = (1, 3, 10)
TRIPS = 64  # latents that go there and back, at each strength
LOOKED = 128  # rows whose way through the flow is looked at
SCORED = 2000  # held-out rows that are scored, at most
SAMPLES = 300  # drawn to see of which class they are, in all
NEAR, FAR = 1.15, 1.5  # factors by which radii may be off, and from where on they are broken
FEW = 30  # held-out rows below which thresholds and radii are not judged
ENOUGH = 0.95  # of a bound, from where on a scale counts as being at it


@dataclass(frozen=True)
class Finding:
    """One measure of a model.

    Attributes
    ----------
    name : str
        What was measured.
    value : float or None
        None where it couldn't be measured.
    bound : str
        What counts as OK, in words.
    verdict : {"OK", "look", "broken", "absent"}
        "absent": the model has no such part, or the measure needs rows that weren't given.
    told : str
        What was found, in a sentence.
    advice : str
        What to do; empty where it is OK.
    """

    name: str
    value: float | None
    bound: str
    verdict: Verdict
    told: str
    advice: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All findings of a model.

    Attributes
    ----------
    model : str
        Class name of the model.
    findings : tuple of Finding
    """

    model: str
    findings: tuple[Finding, ...]

    @property
    def worst(self) -> Verdict:
        """The gravest verdict: "broken" before "look" before "OK"."""
        found = {f.verdict for f in self.findings}
        return "broken" if "broken" in found else "look" if "look" in found else "OK"

    def __getitem__(self, name: str) -> Finding:
        return next(f for f in self.findings if f.name == name)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"model": self.model, "worst": self.worst, "findings": [asdict(f) for f in self.findings]}

    def __str__(self) -> str:
        lines = []
        for f in self.findings:
            value = "-" if f.value is None else f"{f.value:.3g}"
            lines.append(f"{'-' if f.verdict == 'absent' else f.verdict:<7}{f.name:<26}{value:>9}   {f.bound}".rstrip())
            if f.verdict != "OK":
                said = f"{f.told} {f.advice}".strip()
                lines.append(fill(said, 80, initial_indent=" " * 7, subsequent_indent=" " * 7))
        return "\n".join([*lines, f"{self.model}: {self.worst}"])


def doctor(
    model: Any,
    X: ArrayLike | HoldsRows | None = None,
    y: ArrayLike | None = None,
    *,
    random_state: Any = 0,
    verbose: bool = False,
) -> Diagnosis:
    """Measure whether a fitted model is sound, and say what to do where it isn't.

    Of its flow: round trips in single precision at 1, 3 and 10 sigma, compared with double precision; the radii of
    held-out rows against the chi distribution; ActNorm channels and couplings whose scales are at their bound; the
    classes of samples. Of detectors and classifiers: the threshold and p-values. Of all: weights that aren't finite.

    Parameters
    ----------
    model : fitted estimator
        A flow, classifier, discriminator, detector, archetypes or source of outliers.
    X : array of shape (n, d) or (n, *event_shape), frame or data set, optional
        Normal rows that the model wasn't trained on. Without them, the checks that need rows are left out.
    y : array of shape (n,), optional
        Their labels, where the flow was fitted with classes.
    random_state : int, Generator or None, default=0
    verbose : bool, default=False
        Show progress on stderr.

    Returns
    -------
    Diagnosis

    Raises
    ------
    InvalidTypeError
        If the model is no estimator of farout.
    NotFittedError
        If the model isn't fitted.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> import farout as fo
    >>> X, _ = make_blobs(600, centers=3, random_state=0)
    >>> flow = fo.FlowDensity(max_steps=100, random_state=0).fit(X[:400])
    >>> diagnosis = fo.doctor(flow, X[400:])
    >>> diagnosis["finite weights"].verdict, diagnosis["threshold"].verdict
    ('OK', 'absent')
    """
    if not isinstance(model, Estimator):
        raise InvalidTypeError(
            f"doctor: the model is a {type(model).__name__}, and it must be an estimator of farout; for models of "
            "other libraries there is farout.stress_test."
        )
    check_is_fitted(model)
    found: list[Finding] = []
    with stage("doctor", len(_MEASURES), show=verbose) as advance:
        case = _Case(model, X, y, seed_of(random_state, "doctor"))
        for measure in _MEASURES:
            found += measure(case)
            advance(1)
    return Diagnosis(type(model).__name__, tuple(found))


class _Case:
    """A model, its flow, and rows to measure them by."""

    def __init__(self, model: Estimator, X: ArrayLike | HoldsRows | None, y: ArrayLike | None, seed: int) -> None:
        self.model, self.seed = model, seed
        self.bad = [
            f"{type(part).__name__}.{bad}"
            for part in dict.fromkeys(model.nested_models())
            for bad in not_finite_parts(part)
        ]
        self.flow: FlowDensity | None = flow_of(model)
        self.X: NDArray[Any] | None = None
        self.y: NDArray[Any] | None = None
        if X is not None:
            rows = model._query(cast(ArrayLike, X))
            if y is not None and len(np.asarray(y)) != len(rows):
                raise InvalidDataError(f"doctor: X has {len(rows)} rows, but y has {len(np.asarray(y))} labels.")
            self._require_known(y)
            chosen = np.random.default_rng(seed).permutation(len(rows))[:SCORED]
            self.X = rows[chosen]
            self.y = None if y is None else np.asarray(y)[chosen]

    def _require_known(self, y: ArrayLike | None) -> None:
        """Refuse rows of other classes than the model's: they are no normal rows, and would make it look broken."""
        classes = classes_of(self.model)
        if y is None or classes is None:
            return
        other = ~np.isin(np.asarray(y), classes)
        if other.any():
            told = ", ".join(map(str, np.unique(np.asarray(y)[other]).tolist()[:5]))
            raise InvalidDataError(
                f"doctor: {int(other.sum())} of {len(other)} rows have labels that the model never saw ({told}); give "
                "normal rows, such as DATA@CLASSES."
            )

    def labels(self, n: int) -> NDArray[Any] | None:
        """Labels of the first rows, where the flow knows classes and has them."""
        classes = None if self.flow is None else classes_of(self.flow)
        if classes is None or self.y is None or not np.isin(self.y, classes).all():
            return None
        return self.y[:n]

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def why_not(self) -> str:
        """Why the flow can't be measured; "" where it can."""
        if self.flow is None:
            return "The model has no flow."
        return f"Not measured, since {self.bad[0]} is not finite." if self.bad else ""


# --- weights ---------------------------------------------------------------------------------------------------------


def _weights(case: _Case) -> Iterator[Finding]:
    bad = case.bad
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    yield Finding(
        "finite weights",
        float(len(bad)),
        "0",
        "broken" if bad else "OK",
        f"{bad[0]}{more}: not finite." if bad else "All weights and fitted numbers are finite.",
        "Train again; if it happens again, with a lower learning_rate." if bad else "",
    )


# --- the flow --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def _round_trips(case: _Case) -> Iterator[Finding]:
    names = [f"round trip, {s} sigma" for s in STRENGTHS]
    if case.why_not() or case.flow is None:
        yield from (Finding(name, None, "", "absent", case.why_not()) for name in names)
        return
    single, double = (copy.deepcopy(case.flow.flow_).to("cpu", dtype) for dtype in (torch.float32, torch.float64))
    rng = case.rng()
    classes = classes_of(case.flow)
    y = None if classes is None else torch.from_numpy(rng.integers(len(classes), size=TRIPS))
    varies = torch.from_numpy(np.broadcast_to(case.flow.varies_.ravel(), (math.prod(case.flow.event_shape_),)).copy())
    z = torch.from_numpy(rng.standard_normal((TRIPS, len(varies)))) * varies
    for name, strength in zip(names, STRENGTHS, strict=True):
        errors = _trip(single, double, strength * z, y, case.flow)
        worst = max(errors.values())
        verdict: Verdict = "OK" if worst <= 1e-2 else "look" if worst <= 0.1 else "broken"
        told = ", ".join(f"{way} {error:.1g}" for way, error in errors.items())
        yield Finding(
            name,
            worst,
            "0.01 or less",
            verdict,
            f"Relative errors in float32: {told}.",
            "" if verdict == "OK" else f"Use outliers weaker than {strength} sigma, or fit with a smaller clamp.",
        )


def _trip(single: Flow, double: Flow, z: Tensor, y: Tensor | None, flow: FlowDensity) -> dict[str, float]:
    """Largest relative error of a row, by the way it went; inf where a number isn't finite."""

    def apart(a: Tensor, b: Tensor) -> float:
        a, b = a.double().flatten(1), b.double().flatten(1)
        error = float(((a - b).norm(dim=1) / b.norm(dim=1).clamp(min=1e-12)).max())
        return error if math.isfinite(error) else math.inf

    def in_units(x: Tensor) -> Tensor:
        return (x.double() - shift) / scale

    shift, scale = (t.cpu() for t in (flow.units.shift, flow.units.scale))
    scale = torch.where(scale > 0, scale, 1.0)
    with suitable_threads(z.shape[1]):
        try:
            x = single.decode(z.float(), y)[0]
            exact = double.decode(z, y)[0]
            back, forth = single.encode(x, y)[0], single.decode(single.encode(exact, y)[0], y)[0]
        except FaroutError:
            return {"of a number that isn't finite": math.inf}
    return {
        "z to x to z": apart(back, z),
        "x to z to x": apart(in_units(forth), in_units(exact)),
        "x against float64": apart(in_units(x), in_units(exact)),
    }


def _radii(case: _Case) -> Iterator[Finding]:
    flow, why = case.flow, case.why_not()
    names = "radii against chi", "radii of held-out rows"
    if why or flow is None:
        yield from (Finding(name, None, "", "absent", why) for name in names)
        return
    d, kept = int(flow.varies_.sum()), flow.held_radii_
    verdict: Verdict
    few = f"The flow held out {len(kept)} rows, too few to tell (validation_fraction)."
    if len(kept) < FEW:
        yield Finding(names[0], None, "", "absent", few)
    else:
        ratio, distance = float(np.median(kept) / chi.median(d)), float(kstest(kept, chi(d).cdf).statistic)
        slack = 2.6 / math.sqrt(len(kept) * d)  # three standard errors of the logarithm of a median radius
        verdict = _by_factor(ratio, slack)
        yield Finding(
            names[0],
            ratio,
            f"{math.exp(-slack) / NEAR:.2f} to {math.exp(slack) * NEAR:.2f}",
            verdict,
            f"The median radius of rows held out in training is {ratio:.3g} times that of chi with {d} degrees of "
            f"freedom (Kolmogorov-Smirnov distance {distance:.2f}).",
            ""
            if verdict == "OK"
            else "Train the flow longer or on more rows; the sigma of outliers is off by this factor.",
        )
    if case.X is None or len(case.X) < FEW or len(kept) < FEW:
        yield Finding(names[1], None, "", "absent", few if len(kept) < FEW else _needs_rows(case))
        return
    y = case.labels(len(case.X))
    if y is None and classes_of(flow) is not None:
        yield Finding(names[1], None, "", "absent", "Needs the labels of rows: the flow's own radii are under classes.")
        return
    try:
        found = np.linalg.norm(flow.encode(Rows(flow.clipped(case.X)), y, noise=True, random_state=case.seed), axis=1)
    except FaroutError as error:
        yield Finding(names[1], math.inf, "", "broken", str(error), "Leave that row out, and ask again.")
        return
    ratio = float(np.median(found) / np.median(kept))
    distance = float(ks_2samp(found, kept).statistic)
    bound = 0.1 + _ks_bound(len(found), len(kept))
    verdict = "OK" if distance <= bound else "look" if _by_factor(ratio) != "broken" else "broken"
    yield Finding(
        names[1],
        distance,
        f"{bound:.2f} or less",
        verdict,
        f"The median radius of the {len(found)} rows is {ratio:.3g} times what the flow found of its own held-out rows "
        f"(Kolmogorov-Smirnov distance {distance:.2f}).",
        ""
        if verdict == "OK"
        else "The rows differ from those of training, or the flow learned these by heart: compare "
        "both, or fit on more rows.",
    )


def _by_factor(ratio: float, slack: float = 0.0) -> Verdict:
    off = abs(math.log(ratio)) - slack if ratio > 0 else math.inf
    return "OK" if off <= math.log(NEAR) else "look" if off <= math.log(FAR) else "broken"


def _ks_bound(n: int, m: int) -> float:
    """Distance between samples of one law that one pair in a hundred exceeds."""
    return 1.63 * math.sqrt((n + m) / (n * m))


@torch.no_grad()
def _layers(case: _Case) -> Iterator[Finding]:
    flow, why = case.flow, case.why_not()
    names = "ActNorm channels", "couplings at their bound"
    if why or flow is None:
        yield from (Finding(name, None, "", "absent", why) for name in names)
        return
    kinds = {ActNorm: names[0], Coupling: names[1]}
    inside = {kind: [m for m in flow.flow_.modules() if isinstance(m, kind)] for kind in kinds}
    try:
        seen = _seen(case, flow)
    except FaroutError as error:
        yield from (Finding(name, None, "", "absent", str(error)) for name in names)
        return
    norms = cast(list[ActNorm], inside[ActNorm])
    if not norms:
        yield Finding(names[0], None, "", "absent", "This architecture has no ActNorm.")
    else:
        dead = sum(int(seen[id(m)].sum()) for m in norms)
        total = sum(len(m.shift) for m in norms)
        share = dead / total
        yield Finding(
            names[0],
            float(dead),
            "0",
            "OK" if not dead else "look" if share <= 0.1 else "broken",
            f"{dead} of {total} channels of {len(norms)} layers are dead: their scale is at its bound, or their "
            "numbers hardly vary over rows.",
            "" if not dead else "Look for columns or channels that are nearly constant, drop them, and fit again.",
        )
    couplings = cast(list[Coupling], inside[Coupling])
    if not couplings:
        yield Finding(names[1], None, "", "absent", "This flow stayed Gaussian: it has no couplings.")
        return
    shares = np.array([float(seen[id(m)]) for m in couplings])
    full = int((shares > 0.5).sum())
    worst = int(shares.argmax())
    yield Finding(
        names[1],
        float(full),
        "0",
        "OK" if not full else "look" if full <= len(couplings) / 4 else "broken",
        f"{full} of {len(couplings)} couplings have most of their scales at the bound; the most, number {worst + 1}, "
        f"{shares[worst]:.0%} of them.",
        "" if not full else "Fit with a larger clamp (options={'clamp': 2.0}), or a lower learning_rate.",
    )


def _seen(case: _Case, flow: FlowDensity) -> dict[int, Tensor]:
    """Of each ActNorm which channels are dead, of each coupling the share of scales at the bound, over typical rows."""
    net = flow.flow_
    rows = case.X
    y = case.labels(LOOKED)
    if rows is None:
        rows, drawn = flow.sample(LOOKED, random_state=case.seed)
        y = drawn
    rows = flow.clipped(rows[:LOOKED])
    seen: dict[int, Tensor] = {}

    def look(layer: Any, given: Any, made: Any) -> None:
        x, condition = (*given, None)[:2]
        if isinstance(layer, ActNorm):
            at_bound = layer.log_scale.abs() > 0.98 * layer.bound
            spread = made[0].transpose(0, 1).flatten(1).std(dim=1, correction=0)
            seen[id(layer)] = at_bound | (spread < 1e-2)
        else:
            s = layer.log_scales(x, condition)
            seen[id(layer)] = (s.abs() > ENOUGH * layer.clamp).double().mean()

    hooks = [m.register_forward_hook(look) for m in net.modules() if isinstance(m, ActNorm | Coupling)]
    try:
        flow.encode(Rows(rows), y, noise=True, random_state=case.seed)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _classes(case: _Case) -> Iterator[Finding]:
    name, flow = "classes of samples", case.flow
    classes = None if flow is None else classes_of(flow)
    if case.why_not() or flow is None or classes is None or len(classes) < 2:
        yield Finding(name, None, "", "absent", case.why_not() or "The flow knows no classes.")
        return
    asked = np.repeat(np.arange(len(classes)), max(5, SAMPLES // len(classes)))
    try:
        rows, _ = flow.sample(len(asked), classes[asked], random_state=case.seed)
        judges = {"the flow": flow.class_densities(Rows(rows)).argmax(axis=1)}
        predict = getattr(case.model, "predict_proba", None)
        known = classes_of(case.model)
        if predict is not None and known is not None and np.array_equal(known, classes):
            judges["the classifier"] = predict(Rows(rows)).argmax(axis=1)
    except FaroutError as error:
        yield Finding(name, 0.0, "0.5 or more", "broken", str(error), "Fit the flow again, with a smaller clamp.")
        return
    each = {
        judge: np.array([(seen[asked == k] == k).mean() for k in range(len(classes))]) for judge, seen in judges.items()
    }
    judge = min(each, key=lambda j: float(each[j].min()))
    k, share = int(each[judge].argmin()), float(each[judge].min())
    verdict: Verdict = (
        "OK" if share >= 0.5 else "look" if share >= 0.2 or each[judge].mean() > 2 / len(classes) else "broken"
    )
    yield Finding(
        name,
        share,
        "0.5 or more",
        verdict,
        f"Asked for class {classes[k]}, the flow gives samples of which {judge} takes {share:.0%} for it; in all "
        + ", ".join(f"{j} {shares.mean():.0%}" for j, shares in each.items())
        + ".",
        "" if verdict == "OK" else "Train the flow longer; if that doesn't help, look whether labels are right.",
    )


# --- thresholds ------------------------------------------------------------------------------------------------------


def _threshold(case: _Case) -> Iterator[Finding]:
    names, model = ("threshold", "p-values"), cast(Any, case.model)
    if not hasattr(model, "offset_") or not hasattr(model, "calibration_scores_"):
        yield from (Finding(n, None, "", "absent", "The model sets no threshold.") for n in names)
        return
    if case.bad:
        yield from (Finding(n, None, "", "absent", f"Not measured: {case.bad[0]} is not finite.") for n in names)
        return
    c, m = float(model.contamination), len(model.calibration_scores_)
    if case.X is None or len(case.X) < FEW:
        yield from (Finding(n, None, "", "absent", _needs_rows(case)) for n in names)
        return
    try:
        scores, p = model.score_samples(Rows(case.X)), model.p_values(Rows(case.X))
    except FaroutError as error:
        yield from (Finding(n, None, "", "broken", str(error), "Train again.") for n in names)
        return
    n, share = len(scores), float((scores < model.offset_).mean())
    slack = max(0.02, 3 * math.sqrt(c * (1 - c) * (1 / n + 1 / m)))
    off = abs(share - c)
    verdict: Verdict = "OK" if off <= slack else "look" if off <= slack + max(0.1, c) else "broken"
    advice = (
        "Set the threshold on rows that the model hasn't seen (calibration_fraction above 0, and a fitted flow given "
        "with other rows than its own), or look whether these rows are normal."
    )
    yield Finding(
        names[0],
        share,
        f"{max(0.0, c - slack):.3g} to {c + slack:.3g}",
        verdict,
        f"{share:.1%} of {n} held-out rows are called outliers; asked for was {c:.1%} (contamination).",
        "" if verdict == "OK" else advice,
    )
    distance, bound = float(kstest(p, "uniform").statistic), 0.05 + _ks_bound(n, m)
    verdict = "OK" if distance <= bound else "look" if distance <= bound + 0.2 else "broken"
    yield Finding(
        names[1],
        distance,
        f"{bound:.2f} or less",
        verdict,
        f"The p-values of {n} held-out rows are {distance:.2f} from uniform (Kolmogorov-Smirnov distance; "
        f"{m} calibration rows).",
        "" if verdict == "OK" else advice,
    )


def _needs_rows(case: _Case) -> str:
    if case.X is None:
        return "Needs held-out rows: give X (at the command line, DATA)."
    return f"Needs {FEW} held-out rows or more; got {len(case.X)}."


_MEASURES = (_weights, _round_trips, _radii, _layers, _classes, _threshold)
