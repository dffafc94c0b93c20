"""State shared by all experiments of a reproduction: data, preset, and models that are fitted once and stored."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from farout.archetypes.deep import DeepArchetypes
from farout.base.files import remove_folder
from farout.base.persistence import load
from farout.base.training import Training
from farout.data import Dataset, load_data
from farout.detectors.classifier import CautiousClassifier
from farout.flows.density import FlowDensity
from farout.runs.archetypes import some_rows
from farout.talk.presets import Preset
from farout.talk.sets import JudgedSet

__all__ = ["Context", "Figure", "Finding", "Table"]

MODELS = "models"
Of = Literal["inliers", "faces"]
Model = TypeVar("Model", FlowDensity, DeepArchetypes, CautiousClassifier)


@dataclass(frozen=True)
class Figure:
    """A figure to draw: the name of a function of `farout.plots`, and its arguments."""

    draw: str
    arguments: dict[str, Any]
    caption: str
    alt: str


@dataclass(frozen=True)
class Table:
    """A table of text for a page."""

    caption: str
    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Finding:
    """Result of an experiment.

    Attributes
    ----------
    name : str
        Of the experiment, such as "cluster-distance"; also the name of its files.
    title : str
    text : str
        What is seen and how it differs from the talk, in 1 to 3 sentences.
    figures : list of Figure
    tables : list of Table
    records : list of dict
        Rows of the experiment's CSV, all with the same keys; empty writes none.
    """

    name: str
    title: str
    text: str
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Context:
    """Data and shared models of one reproduction.

    Attributes
    ----------
    preset : Preset
    out : Path
        Folder of all results; models are stored in ``out / "models"``.
    train, test : Dataset
        Inliers, for training and for testing.
    outliers : dict of str to JudgedSet
        By name. ``.judged`` is test data, not used in training.
    faces : Dataset or None
        Pictures of people; None where no chosen experiment needs them.
    seed : int
    tell : callable
        Called with each line of progress.
    verbose : bool
        Show progress on stderr.
    """

    preset: Preset
    out: Path
    train: Dataset
    test: Dataset
    outliers: dict[str, JudgedSet]
    faces: Dataset | None = None
    seed: int = 0
    tell: Callable[[str], None] = lambda text: None
    verbose: bool = False
    _models: dict[str, Any] = field(default_factory=dict, repr=False)

    def data(self, of: Of = "inliers") -> Dataset:
        """Training data of flows and archetypes.

        Raises
        ------
        RuntimeError
            If the experiment uses faces but is not named in ``WITH_FACES``; a mistake in its code.
        """
        if of == "inliers":
            return self.train
        if self.faces is None:
            raise RuntimeError("this experiment uses faces, and isn't named in run.WITH_FACES")
        return self.faces

    def flow(self, noise: float | None = None, of: Of = "inliers") -> FlowDensity:
        """The flow of the inliers or of the faces, conditioned on labels; fitted once.

        Parameters
        ----------
        noise : float, optional
            Training noise in model units, such as the author's 0.15; the library's default when omitted.
        of : {"inliers", "faces"}
        """
        data = self.data(of)
        steps = self.preset.flow_steps if of == "inliers" else self.preset.face_flow_steps
        chosen: dict[str, Any] = {} if noise is None else {"noise": noise}

        def make(where: Training) -> FlowDensity:
            return FlowDensity(
                event_shape=data.event_shape if data.is_image else None,
                max_steps=steps,
                training=where,
                random_state=self.seed,
                verbose=self.verbose,
                **chosen,
            )

        name = f"flow-{of}" + ("" if noise is None else f"-noise-{noise:g}")
        return self.kept(name, make, data, f"a flow on {data.name}, {steps} steps")

    def archetypes(self, k: int, bias: bool = False, of: Of = "inliers") -> DeepArchetypes:
        """Deep archetypes on `flow`, with labels; fitted once.

        Parameters
        ----------
        k : int
            Number of archetypes.
        bias : bool
            Whether the heads have a bias.
        of : {"inliers", "faces"}
        """
        data = self.data(of)
        name = f"archetypes-{of}-{k}" + ("-bias" if bias else "")
        steps = self.preset.archetype_steps
        about = f"{k} deep archetypes{' with a bias' if bias else ''} on {data.name}, {steps} steps"
        flow = None if self._is_done(name) else self.flow(of=of)

        def make(where: Training) -> DeepArchetypes:
            return DeepArchetypes(
                k,
                flow,
                event_shape=data.event_shape if data.is_image else None,
                bias=bias,
                max_steps=steps,
                training=where,
                random_state=self.seed,
                verbose=self.verbose,
            )

        return self.kept(name, make, data, about)

    def toy(self, classes: bool = True) -> tuple[Dataset, FlowDensity]:
        """The talk's three Gaussians in the plane, and the author's flow for them: two GLOW blocks; fitted once.

        Parameters
        ----------
        classes : bool
            Whether the flow is conditioned on classes. Without, it maps the mixture of all classes; a conditional flow
            learns that map from only the tenth of the rows whose class is dropped.
        """
        data, steps = load_data("toy:train"), self.preset.toy_steps
        name, about = ("", "") if classes else ("-no-class", " without its classes")

        def make(where: Training) -> FlowDensity:
            return FlowDensity(
                architecture="toy", max_steps=steps, training=where, random_state=self.seed, verbose=self.verbose
            )

        fitted = data if classes else replace(data, y=None)
        return data, self.kept(f"flow-toy-author{name}", make, fitted, f"a flow on toy{about}, {steps} steps")

    def some(self, data: Dataset, most: int | None, seed: int = 0) -> Dataset:
        """At most ``most`` rows of a data set, drawn at random, in their original order."""
        if most is None or len(data) <= most:
            return data
        return data.take(np.sort(some_rows(len(data), most, seed)))

    def kept(self, name: str, make: Callable[[Training], Model], data: Dataset, about: str) -> Model:
        """Return a shared model: from memory, from its run folder, or newly fitted (from its last checkpoint if any).

        Parameters
        ----------
        name : str
            Name of its folder in ``out / "models"``.
        make : callable
            Called with where to train; returns an unfitted model.
        data : Dataset
            Training data, with labels if there are any.
        about : str
            Words for the progress line.
        """
        folder = self.out / MODELS / name
        checkpoints = folder.with_name(f"{name}.checkpoints")
        if name not in self._models and self._is_done(name):
            self._models[name] = load(folder)
            remove_folder(checkpoints)  # of a process that was killed before it came to that
        if name not in self._models:
            self.tell(f"fitting {about}")
            model = make(Training(checkpoint_dir=checkpoints, resume=True))
            model.fit(data.X, data.y)
            model.training = None  # the place of training is not part of the model
            model.verbose = False
            model.save(folder)
            remove_folder(checkpoints)
            self._models[name] = model
        found: Model = self._models[name]
        return found

    def _is_done(self, name: str) -> bool:
        return name in self._models or (self.out / MODELS / name / "config.json").is_file()
