"""The whole journey on scikit-learn's digits: 0 to 6 are normal, 7 to 9 outliers that no training sees."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farout.base.files import PART, locked, remove_folder, remove_parts
from farout.data import Dataset, load_data
from farout.errors import RunError
from farout.evaluation import Evaluation
from farout.runs.fitting import fit_flow, train_model
from farout.runs.folder import CONFIG, REPORT, Run
from farout.runs.generating import generate_outliers, write_outliers
from farout.runs.lessons import judged_classes, mistakes, trained_outliers
from farout.runs.provenance import Watch, duration
from farout.runs.scoring import EvaluatedSets, evaluate_run, write_evaluation
from farout.runs.settings import (
    ClassifierSettings,
    DetectorSettings,
    DiscriminatorSettings,
    FitSettings,
    FlowSettings,
    SourceSettings,
    TrainSettings,
)
from farout.runs.story import flow_pictures, latent_space, shown_outliers

__all__ = ["DemoResult", "run_demo"]

TRAIN, TEST, UNSEEN = "digits:train@0-6", "digits:test@0-6", "digits:all@7-9"
OUTLIERS = "outliers.npz"
BEGUN = f".demo{PART}"  # there until the demo is whole
MODELS = ("flow", "plain", "cautious", "discriminator", "detector")
CAUTIOUS = "cautious classifier"
FLOW_STEPS, MODEL_STEPS, STRENGTH = 150, 200, 2.5


@dataclass(frozen=True)
class DemoResult:
    """What the demo made.

    Attributes
    ----------
    tables : dict of str to Evaluation
        Model -> table, the plain classifier first.
    story : dict
        The report, by the names of `farout.report.ReportContent`.
    folder : Path
    """

    tables: dict[str, Evaluation]
    story: dict[str, Any]
    folder: Path


def run_demo(
    folder: str | Path,
    *,
    force: bool = False,
    verbose: bool = False,
    tell: Callable[[str], None] = lambda text: None,
    then: Callable[[DemoResult], None] = lambda result: None,
    flow_steps: int = FLOW_STEPS,
    model_steps: int = MODEL_STEPS,
) -> DemoResult:
    """Fit a flow, make outliers, train three models, evaluate them; all but the page.

    Parameters
    ----------
    folder : path
        Gets the runs ``flow``, ``plain``, ``cautious``, ``discriminator`` and ``detector``, and ``outliers.npz``.
    force : bool
        Replace an earlier demo there.
    verbose : bool
        Show progress bars, when stderr is a terminal.
    tell : callable
        Gets one line before each part.
    then : callable
        Called with the result, to add files to the folder before it counts as whole.
    flow_steps, model_steps : int
        Gradient steps of the flow, and of each model.

    Returns
    -------
    DemoResult

    Raises
    ------
    RunError
        If the folder holds a whole demo or other files and ``force`` is False; one that was cut off is begun again.
    """
    folder, watch = Path(folder), Watch()
    _require_free(folder, force)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "demo"):
        (folder / BEGUN).touch()
        result = _made(folder, watch, verbose, tell, flow_steps, model_steps)
        then(result)
        remove_parts(folder)
    return result


def _made(
    folder: Path, watch: Watch, verbose: bool, tell: Callable[[str], None], flow_steps: int, model_steps: int
) -> DemoResult:
    tell("1/4 fitting a flow on digits 0 to 6")
    fit = FitSettings(data=TRAIN, flow=FlowSettings(max_steps=flow_steps))
    flow = fit_flow(fit, folder / "flow", verbose=verbose).run
    tell(f"2/4 generating outliers at {STRENGTH} sigma")
    source = SourceSettings.model_validate({"name": "gumbel", "strength": STRENGTH})
    out = generate_outliers(flow, source, 1000)
    write_outliers(out, folder / OUTLIERS, flow)
    tell("3/4 training a plain classifier, a cautious one, a discriminator and a detector")
    runs = {
        name: train_model(settings, folder / key, verbose=verbose).run
        for name, key, settings in _models(folder / "flow", flow_steps, model_steps)
    }
    tell("4/4 evaluating on digits 7 to 9, which no training saw")
    result = _evaluated(folder, flow, runs, out.x)
    made = watch.stop()
    result.story["about"] = [
        ("made", f"{made.date}, in {duration(made.seconds or 0)}"),
        *([] if made.command is None else [("by", made.command)]),
        ("on", made.hardware),
        ("with", made.versions),
    ]
    return result


def _require_free(folder: Path, force: bool) -> None:
    """Raise if there is anything to lose; remove what an earlier demo has left."""
    if folder.is_file():
        raise RunError(f"{folder} is a file, and the demo makes a folder; give another name by --out.")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    unfinished = (folder / BEGUN).is_file()
    if not (force or unfinished):
        raise RunError(f"{folder} holds files already; choose another folder by --out, or add --force to replace them.")
    if not (unfinished or (folder / "flow" / CONFIG).is_file()):
        raise RunError(f"{folder} holds files that no demo made; choose another folder by --out.")
    (folder / BEGUN).touch()  # from here on it can be begun again
    for name in MODELS:
        remove_folder(folder / name)
    for name in (OUTLIERS, REPORT):
        (folder / name).unlink(missing_ok=True)


def _models(flow: Path, flow_steps: int, steps: int) -> list[tuple[str, str, TrainSettings]]:
    """Plain and cautious differ in beta only: same network, steps, seed and processing of inliers."""
    shared = {"data": TRAIN, "flow_run": str(flow), "source": {"name": "normal", "strength": STRENGTH}}

    def classifier(beta: float) -> TrainSettings:
        return ClassifierSettings.from_mapping(shared | {"model": {"beta": beta, "max_steps": steps}})

    # A flow of its own, which leaves rows out to set the threshold by: the first one has seen them all.
    detector = DetectorSettings(data=TRAIN, flow=FlowSettings(max_steps=flow_steps))
    discriminator = DiscriminatorSettings.from_mapping(shared | {"model": {"max_steps": steps}})
    return [
        ("plain classifier", "plain", classifier(0.0)),
        (CAUTIOUS, "cautious", classifier(1.0)),
        ("discriminator", "discriminator", discriminator),
        ("flow detector", "detector", detector),
    ]


def _evaluated(folder: Path, flow_run: Run, runs: dict[str, Run], generated: Any) -> DemoResult:
    train, test, unseen = (load_data(spec) for spec in (TRAIN, TEST, UNSEEN))
    tables, scores = {}, {}
    for name, run in runs.items():
        table, found, _ = evaluate_run(run, test, [unseen])
        write_evaluation(run, EvaluatedSets(table, TEST, (UNSEEN,)), found)
        tables[name], scores[name] = table, found
    flow = flow_run.model
    story = {
        "title": "farout demo: digits",
        "summary": _summary(tables),
        "event_shape": flow_run.event_shape,
        "evaluations": tables,
        "scores": scores,
        "thresholds": {name: run.model.offset_ for name, run in runs.items()},
        "mistakes": mistakes(runs[CAUTIOUS], {"digits 7 to 9": unseen, "inliers": test}, _renamed(scores[CAUTIOUS])),
        "mistaken": CAUTIOUS,
        "judged": {name: judged for name, run in runs.items() if (judged := judged_classes(run, test))},
        "trained_outliers": trained_outliers(runs[CAUTIOUS].model),
        "outlier_examples": shown_outliers({"digits 7 to 9": unseen}),
        "training": {"flow": flow.history_}
        | {name: run.model.history_ for name, run in runs.items() if hasattr(run.model, "history_")},
        "settings": {key: run.settings.to_dict() for key, run in runs.items() if run.settings is not None},
        "next_commands": [
            f"farout report {folder / 'cautious'}",
            f"farout score {folder / 'cautious'} digits:test --out scores.csv",
            f"farout generate {folder / 'flow'} --source gumbel --strength 2-4 -n 1000 --out more.npz",
        ],
    }
    story |= flow_pictures(flow, train)
    drawn = Dataset(generated, None, test.event_shape, "generated")
    sets = {"digits 0 to 6 (test)": test, "digits 7 to 9": unseen, f"generated at {STRENGTH:g} σ": drawn}
    return DemoResult(tables, story | latent_space(flow, sets, test.y), folder)


def _renamed(scores: dict[str, Any]) -> dict[str, Any]:
    """Scores of the unseen digits by the name that they have in the page."""
    return {"digits 7 to 9" if name == UNSEEN else name: values for name, values in scores.items()}


def _summary(tables: dict[str, Evaluation]) -> str:
    """What came out, as it came out."""
    plain, cautious = (tables[name] for name in ("plain classifier", CAUTIOUS))
    before, after = (table[UNSEEN].auroc for table in (plain, cautious))
    verb = "raised" if after > before + 0.005 else "lowered" if after < before - 0.005 else "left unchanged"
    change = f"from {before:.3f} to {after:.3f}" if verb != "left unchanged" else f"({before:.3f} and {after:.3f})"
    return (
        "Digits 0 to 6 are normal; no training saw a 7, 8 or 9. Training on generated outliers "
        f"{verb} the classifier's AUROC on those {change}; its accuracy on 0 to 6 went from "
        f"{plain.accuracy:.3f} to {cautious.accuracy:.3f}."
    )
