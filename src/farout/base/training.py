"""One way to train anything here, by Lightning: budget, device, checkpoints, resume, early stopping.

Lightning itself is imported when training starts (``_lightning.py``), so that ``import farout`` stays quick.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from farout.errors import InvalidSettingError

__all__ = ["Budget", "History", "Objective", "Training", "inference_device", "seeded", "suitable_threads", "train"]

SMALL_ROWS = 256  # numbers in a row, up to which one thread is quickest

Batch = Sequence[Tensor]
# (batch, progress from 0 to 1) -> the loss to descend, and figures to show beside it
Objective = Callable[[Batch, float], tuple[Tensor, Mapping[str, float]]]


@dataclass(frozen=True)
class Training:
    """Where and how a fit runs; what it learns is the model's own business.

    Parameters
    ----------
    accelerator : str, default="auto"
        Lightning's name of a device: "auto", "cpu", "gpu", "mps".
    devices : int or str, default=1
        How many devices, or "auto".
    num_nodes : int, default=1
        How many machines.
    strategy : str, default="auto"
        Lightning's strategy for more than one device, such as "ddp".
    precision : str, default="32-true"
        Lightning's precision, such as "bf16-mixed".
    checkpoint_dir : path, optional
        Keep the best and the last checkpoint here.
    resume : bool, default=False
        Go on from the last checkpoint in ``checkpoint_dir``, when there is one.
    log_dir : path, optional
        Write a TensorBoard log here (needs the extra ``farout[tensorboard]``).
    progress : bool or None, default=None
        A progress bar on stderr; None shows it when the estimator is verbose and stderr is a terminal.

    Examples
    --------
    >>> Training(accelerator="cpu", precision="32-true").devices
    1
    """

    accelerator: str = "auto"
    devices: int | str = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    checkpoint_dir: str | Path | None = None
    resume: bool = False
    log_dir: str | Path | None = None
    progress: bool | None = None

    def elsewhere(self) -> "Training":
        """The same devices and precision without this fit's folders, for another fit on the way."""
        return replace(self, checkpoint_dir=None, resume=False, log_dir=None)

    def __post_init__(self) -> None:
        if self.resume and self.checkpoint_dir is None:
            raise InvalidSettingError(
                "Training: resume=True needs checkpoint_dir, the folder that holds the last checkpoint."
            )


@dataclass(frozen=True)
class Budget:
    """How long and how fast a module learns.

    Parameters
    ----------
    max_steps : int
        Gradient steps.
    batch_size : int
        Rows a step.
    learning_rate : float
        Peak of a cosine schedule with warm-up.
    weight_decay : float, default=0.0
    betas : pair of float, default=(0.9, 0.99)
        Of Adam.
    gradient_clip : float, default=5.0
        Largest norm of a gradient.
    validate_every : int, default=100
        Steps between validations, when there are validation rows.
    patience : int or None, default=None
        Validations without a new best before stopping; None trains to the end. With validation rows, the best
        weights are the ones kept.
    """

    max_steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    gradient_clip: float = 5.0
    validate_every: int = 100
    patience: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_steps", "batch_size", "learning_rate"):
            value = getattr(self, name)
            if not value > 0:
                raise InvalidSettingError(f"{name} must be above 0; got {value}.")


@dataclass
class History:
    """What training showed: for each logged step the figures by name, and how it ended."""

    steps: list[int] = field(default_factory=list)
    figures: dict[str, list[float]] = field(default_factory=dict)
    stopped_early: bool = False

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Append one row; a figure that is new here is filled with NaN before."""
        for name in figures.keys() - self.figures.keys():
            self.figures[name] = [float("nan")] * len(self.steps)
        self.steps.append(step)
        for name, column in self.figures.items():
            column.append(float(figures.get(name, float("nan"))))


def train(
    module: nn.Module,
    objective: Objective,
    rows: Batch,
    budget: Budget,
    *,
    validation_rows: Batch | None = None,
    where: Training | None = None,
    seed: int = 0,
    verbose: bool = False,
    name: str = "training",
) -> History:
    """Train ``module`` in place; with validation rows, it ends with its best weights.

    Parameters
    ----------
    module : Module
        What learns. ``objective`` closes over it.
    objective : callable
        ``(batch, progress) -> (loss, figures)``; called under ``module.eval()`` for validation. One that remembers
        batches has ``state_dict`` and ``load_state_dict``, by which checkpoints keep what it knows.
    rows, validation_rows : sequence of Tensor
        Tensors with as many rows each; a batch holds the same rows of all.
    budget : Budget
    where : Training, optional
    seed : int, default=0
        The same seed gives the same result on the same machine, in one go or resumed, as long as all that an objective
        draws is torch's; torch's global state is left as it was.
    verbose : bool, default=False
        Show a progress bar, when stderr is a terminal.
    name : str
        What the bar and the messages call this training.

    Returns
    -------
    History

    Raises
    ------
    DivergedError
        If the loss stops being finite or climbs far above where it began; the message has advice.
    KeyboardInterrupt
        If interrupted; the last checkpoint is kept.
    """
    from farout.base._lightning import run

    with suitable_threads(rows[0][0].numel()), torch.random.fork_rng():
        torch.manual_seed(seed)
        return run(
            module,
            objective,
            rows,
            budget,
            validation_rows,
            where or Training(),
            seed,
            verbose,
            name,
        )


@contextlib.contextmanager
def suitable_threads(n_features: int) -> Iterator[None]:
    """One torch thread for small rows, which are not worth sharing: threads would only wait for each other.

    On a busy machine of two cores, two threads took 8x8 images 30 times as long as one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if n_features <= SMALL_ROWS else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draws on the CPU from ``seed`` on, for first weights; torch's state, on all devices, is left as it was."""
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)


def inference_device(where: Training | None) -> torch.device:
    """The device that a fitted model works on: the first GPU that training may use, else the CPU."""
    accelerator = (where or Training()).accelerator
    gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return torch.device("cuda" if gpu else "cpu")
