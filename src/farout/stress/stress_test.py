"""stress_test: any trained model on outliers of rising strength, from normal rows alone."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from torch import nn

from farout.base.progress import stage
from farout.base.validation import check_choice, check_flag, check_number, seed_of
from farout.errors import InvalidSettingError
from farout.flows.density import FlowDensity
from farout.stress.answers import OUTPUTS, asked, name_of
from farout.stress.ground import Ground, given_rows, shape_of, taken
from farout.stress.kinds import Rung, check_kinds, ladder, resolved_kinds
from farout.stress.result import StressResult
from farout.stress.trial import Trial, answers_of

__all__ = ["stress_test"]

WHERE = "stress_test"
FLOW_SHARE = 0.5  # of a time limit, for the flow
PROBED = 20  # steps by which the time of a flow's training is told
SCORED = ("shell", "exchange")  # kinds whose AUROC gives the score: docs/results/stress.md says why
FIRST = 64  # rows that models are tried on before anything long


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
    """Test how a trained model behaves on outliers of rising, calibrated strength.

    A flow makes outliers from normal rows alone. Those of the kinds "shell" and "targeted" are decoded at radii that
    one in 10, in 1 000, in a million held-out rows reaches, and at multiples of the typical radius; the others come
    from the sources of the same name, and their radius is measured. Rows at strength 0 are the controls: where the
    model's score, or a two-sample test, separates these from data, the flow isn't good enough to judge the model, and
    the result says so. The one summary, ``score``, is the mean of the AUROC over all strengths of "shell" and of
    "exchange": rows far out, and rows whose columns don't belong together (docs/results/stress.md has how well it
    predicts AUROC on real outliers).

    Parameters
    ----------
    model : object or mapping of str to object
        The trained model, or several by name: a classifier or an outlier detector with the methods of scikit-learn
        (pipelines and boosters of other libraries too), a torch module or ``farout.wrap`` of one, a model of farout or
        the folder of its run, the path of an ONNX file, or a function from rows to probabilities or logits (n, k) or to
        scores (n,), higher for more normal.
    X : array or frame of shape (n, d), or array of images
        Normal rows that the model was not trained on, in the form it takes; at least 40. A share of .4 of them, at most
        2 000, is held out for evaluation; the others are for the flow and the sources.
    y : array of shape (n,), optional
        Labels: the flow is conditioned on them, and the result has the accuracy.
    compare : object, sequence or mapping of str to object, optional
        Further models, tested on the same outliers.
    flow : FlowDensity, optional
        Used as it is when fitted; then fit it on other rows than these. A default flow is fitted when omitted.
    kinds : sequence of str or mapping of str to OutlierSource, optional
        Some of "shell", "targeted" (of 16 points of a shell, the one on which the model is most confident), "exchange",
        "collage", "boundary", "turned", "salient", "scrambled", "archetypal", "nullspace"; or sources by name. When
        omitted, those that suit the data and need no training of their own.
    n : int, default=500
        Number of outliers of each kind and strength; of "targeted", a quarter of it.
    sure : float, default=0.9
        Probability above which the model counts as sure, in (0, 1).
    outputs : {"auto", "probabilities", "logits", "scores"}, default="auto"
        What a function or torch module returns; "auto" decides by shape and sums.
    classes : sequence, optional
        Classes of the columns that a function or a torch module returns.
    inputs : None, "unit", (mean, std) or callable, default=None
        How rows become a torch module's inputs, as in `farout.wrap`: unchanged, pixels scaled to [0, 1] and normalised,
        or by a function of a tensor.
    event_shape : tuple of int, optional
        (channels, height, width) of images; the flow's, or that of X, when omitted.
    n_bootstrap : int, default=500
        Number of bootstrap resamples; 0 gives no intervals.
    confidence : float, default=0.95
    time_limit : float, optional
        Seconds. The flow's training gets at most half of it. When time is up, you get the results so far, with
        ``finished`` False. The controls, "shell" and "exchange", which give the score, are always run.
    random_state : int, Generator or None, default=None
        The same int gives the same result.
    verbose : bool, default=False
        Progress on stderr.

    Returns
    -------
    StressResult
        Models are named as you name them, or by their class, a pipeline by its last step. It prints as a table;
        ``to_frame()`` and ``to_dict()`` convert it, ``farout.plots.stress`` draws it.

    Raises
    ------
    InvalidDataError
        If rows can't be used, or the model returns no finite number for held-out rows.
    InvalidSettingError
        If a setting is invalid, or it can't be determined how to call the model.

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
    rows = given_rows(X)
    shape = shape_of(X, rows, event_shape, flow)
    check_kinds(kinds, image=shape is not None)
    seed = seed_of(random_state, WHERE)
    models = _named(model, compare)
    _check_used(models, outputs, inputs)
    asks = {name: asked(m, outputs, classes, inputs, event_shape) for name, m in models.items()}
    for name, ask in asks.items():  # before anything long
        answers_of(name, ask, taken(rows, np.arange(min(FIRST, len(rows)))))

    def fitted(flow: FlowDensity, rows: Any, labels: NDArray[Any] | None) -> FlowDensity:
        with stage("fitting the flow", show=verbose):
            limit = None if time_limit is None else FLOW_SHARE * time_limit - (time.monotonic() - began)
            return _fitted_in(flow, rows, labels, limit)

    ground = Ground.of(rows, y, flow, shape, seed, fitted)
    test = Trial(ground, asks, n, sure, n_bootstrap, confidence, seed)
    test.ask_held()
    chosen = resolved_kinds(kinds, ground)
    shown = {kind for kind, source in chosen.items() if source is None}
    scored = ladder(dict.fromkeys(SCORED), ground, seed)
    further = ladder({k: v for k, v in chosen.items() if v is not None or k not in SCORED}, ground, seed)
    untried: list[Rung] = []
    with stage("stressing", total=2 + len(scored) + len(further), show=verbose) as advance:
        for make in (test.encoded, test.samples):
            test.control(*make())
            advance()
        for rung in scored:
            test.climb(rung, scored=True, shown=rung.kind in shown)
            advance()
        for i, rung in enumerate(further):
            if time_limit is not None and time.monotonic() - began > time_limit:
                untried = further[i:]
                break
            test.climb(rung)
            advance()
    settings = {"n": n, "kinds": list(chosen), "random_state": seed, "time_limit": time_limit}
    return test.result(list(chosen), untried, time.monotonic() - began, settings)


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
    by_methods = [any(hasattr(m, name) for name in of_others) for m in models.values()]
    if outputs != "auto" and not any(modules) and all(by_methods):
        raise InvalidSettingError(
            f"{WHERE}: outputs is for functions, torch modules and ONNX files; the models say by their methods what "
            "they give. Leave it out."
        )


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
