"""One way to train anything here: the settings of a training, and the one loop.

Devices, precision and processes are Lightning Fabric's, which is imported when the first training begins, since that
takes seconds. Batches, schedule, validation, checkpoints and signals are below, in the order of the loop.
"""

import contextlib
import importlib
import io
import math
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from farout.base.blocks import RowsOnDemand, blocks_of
from farout.base.capture import CudaGraphs, Recorder, ReplayedStep
from farout.base.files import write_atomically
from farout.base.process import Signals, alone, generators_of, seeded, stopped_by, suitable_threads
from farout.base.progress import stage
from farout.base.ranks import sharing
from farout.base.reading import quiet
from farout.base.step import quickest_type, training_step
from farout.base.unnoticed import unnoticed
from farout.errors import DivergedError, FaroutError, InvalidSettingError, RunError

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch.utils.tensorboard import SummaryWriter

__all__ = [
    "Budget",
    "History",
    "Objective",
    "Training",
    "TrainingRows",
    "inference_device",
    "not_finite_in",
    "seeded",
    "shared_seed",
    "started_by_torchrun",
    "suitable_threads",
    "train",
]

FAR_ABOVE, STEPS_ABOVE = 20.0, 20  # a loss so far above where it began, for so many steps in a row, has diverged
LARGE_INPUT = 1000.0  # a number of the training rows that an error of divergence points to
SAVE_EVERY = 100  # steps between checkpoints, where no validation tells when
LOG_EVERY = 10  # steps between two points of a TensorBoard log
AT_ONCE = 10  # losses read from a GPU in one go; steps after which processes ask each other whether to stop
FORMAT = "farout-training-1"

RECORDERS: dict[str, Recorder] = {"cuda": CudaGraphs()}  # of steps, by kind of device

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "64-true", "bf16-true", "16-true")
GRADIENTS = ("auto", "float32", "bfloat16")
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", "ddp_fork", "ddp_notebook")

Batch = Sequence[Tensor]
TrainingRows = Sequence[Tensor | RowsOnDemand]
# (batch, progress from 0 to 1) -> the loss to descend, and figures to show beside it
Objective = Callable[[Batch, float], tuple[Tensor, Mapping[str, Any]]]


@dataclass(frozen=True)
class Training:
    """Device, precision, checkpoints and logs of a training.

    Parameters
    ----------
    accelerator : {"auto", "cpu", "gpu", "cuda", "mps"}, default="auto"
    devices : int or str, default=1
        Number of devices, "auto" for all, or the indices of some, such as "0,2".
    num_nodes : int, default=1
        Number of machines.
    strategy : {"auto", "ddp", "ddp_find_unused_parameters_true", "ddp_fork", "ddp_notebook"}, default="auto"
        Lightning's strategy for several devices. Each batch is split among them, and training is as by one device.
    precision : {"32-true", "bf16-mixed", "16-mixed", "64-true", "bf16-true", "16-true"}, default="32-true"
        Lightning's precision. The trained model keeps the precision it had before.
    gradients : {"auto", "float32", "bfloat16"}, default="auto"
        Type in which the gradients of a flow's subnets are computed with precision "32-true"; the forward pass stays in
        float32. "auto" is bfloat16 where the device multiplies it natively (a CPU with AMX or AVX-512 BF16, a GPU from
        Ampere on), else float32. A step of large convolutions then takes down to half of the time; small subnets, which
        gain nothing, keep float32. No effect with other precisions.
    compile : {"auto", True, False}, default="auto"
        Whether training steps of a flow are compiled (``torch.compile``; on a CPU it needs a C++ compiler). This takes
        a minute or two and saves a tenth of the time of a training on one core; reversible flows can't be compiled.
        "auto" compiles trainings of more than a quarter of an hour. A GPU replays recorded steps instead, without a
        compiler.
    checkpoint_dir : path, optional
        Folder in which the best and the last checkpoint are kept.
    resume : bool, default=False
        Whether to resume from the last checkpoint in ``checkpoint_dir``, when there is one.
    log_dir : path, optional
        Folder for a TensorBoard log (needs the extra ``farout[tensorboard]``).
    progress : bool or None, default=None
        Show progress on stderr; None shows it when the estimator is verbose.

    Raises
    ------
    InvalidSettingError
        If a value makes no sense.

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
    gradients: str = "auto"
    compile: bool | str = "auto"
    checkpoint_dir: str | Path | None = None
    resume: bool = False
    log_dir: str | Path | None = None
    progress: bool | None = None

    def elsewhere(self) -> "Training":
        """The same devices and precision without this fit's folders, for another fit on the way."""
        return replace(self, checkpoint_dir=None, resume=False, log_dir=None)

    def __post_init__(self) -> None:
        for name, known in (
            ("accelerator", ACCELERATORS),
            ("precision", PRECISIONS),
            ("gradients", GRADIENTS),
            ("strategy", STRATEGIES),
        ):
            value = getattr(self, name)
            if not isinstance(value, str) or value not in known:
                raise self._wrong(name, f"one of {', '.join(map(repr, known))}")
        listed = isinstance(self.devices, str) and re.fullmatch(r"auto|\d+(,\d+)+|\d+,", self.devices)
        if not (listed or _is_whole(self.devices)):
            raise self._wrong("devices", "a whole number, 1 or more, 'auto', or numbers of devices such as '0,2'")
        if not _is_whole(self.num_nodes):
            raise self._wrong("num_nodes", "a whole number, 1 or more")
        for name in ("checkpoint_dir", "log_dir"):
            if not isinstance(getattr(self, name), str | os.PathLike | None):
                raise self._wrong(name, "the path of a folder, or None")
        if not isinstance(self.compile, bool) and not (isinstance(self.compile, str) and self.compile == "auto"):
            raise self._wrong("compile", "'auto', True or False")
        if not isinstance(self.resume, bool):
            raise self._wrong("resume", "True or False")
        if not isinstance(self.progress, bool | None):
            raise self._wrong("progress", "True, False or None")
        if self.resume and self.checkpoint_dir is None:
            raise InvalidSettingError(
                "Training: resume=True needs checkpoint_dir, the folder that holds the last checkpoint."
            )

    @property
    def device(self) -> torch.device:
        """The kind of device that a training takes, or its first one."""
        gpu = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        kinds = {"auto": gpu, "gpu": gpu}
        return torch.device(kinds.get(self.accelerator, self.accelerator))

    @property
    def several(self) -> bool:
        """Whether it may take several processes: more devices than one, or machines, were asked for."""
        return self.num_nodes > 1 or not (self.devices == 1 or re.fullmatch(r"\d+,", str(self.devices)))

    def gradient_type(self, device: torch.device) -> torch.dtype:
        """The type that gradients of subnets have on a device."""
        return quickest_type(device) if self.gradients == "auto" else cast(torch.dtype, getattr(torch, self.gradients))

    def _wrong(self, name: str, allowed: str) -> InvalidSettingError:
        return InvalidSettingError(f"Training: {name} must be {allowed}; got {getattr(self, name)!r}.")


@dataclass(frozen=True)
class Budget:
    """Optimization settings: steps, batch size, learning rate, early stopping.

    Parameters
    ----------
    max_steps : int
        Gradient steps.
    batch_size : int
        Rows a step, over all devices.
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
        for name in ("max_steps", "batch_size"):
            if not _is_whole(getattr(self, name)):
                raise InvalidSettingError(f"{name} must be a whole number; got {getattr(self, name)!r}.")

    def rate(self, step: int) -> float:
        """The learning rate of a step: a cosine, after a warm-up of up to 100 steps."""
        warm_up = max(1, min(100, self.max_steps // 10))
        decay = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.max_steps)))
        return self.learning_rate * min(1.0, (step + 1) / warm_up) * max(decay, 1e-3)

    @property
    def validation_interval(self) -> int:
        """Steps between validations, near what was asked, so that the last validation sees the last weights."""
        return int(self.max_steps // max(1, round(self.max_steps / self.validate_every)))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= 1)


@dataclass
class History:
    """What training showed: for each logged step the figures by name, and how it ended."""

    steps: list[int] = field(default_factory=list)
    figures: dict[str, list[float]] = field(default_factory=dict)
    stopped_early: bool = False

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Append one row; a figure that is new here is filled with NaN before."""
        for name in [name for name in figures if name not in self.figures]:  # a set has another order in each process
            self.figures[name] = [float("nan")] * len(self.steps)
        self.steps.append(step)
        for name, column in self.figures.items():
            column.append(float(figures.get(name, float("nan"))))


def train(
    module: nn.Module,
    objective: Objective,
    rows: TrainingRows,
    budget: Budget,
    *,
    validation_rows: Batch | None = None,
    where: Training | None = None,
    seed: int = 0,
    verbose: bool = False,
    name: str = "training",
    same_work: bool = False,
) -> History:
    """Train ``module`` in place; with validation rows, it ends with its best weights.

    Parameters
    ----------
    module : Module
        What learns. ``objective`` closes over it.
    objective : callable
        ``(batch, progress) -> (loss, figures)``; called under ``module.eval()`` for validation. One that remembers
        batches has ``state_dict`` and ``load_state_dict``, by which checkpoints keep what it knows. In several
        processes each is given the joint batch, which ``objective`` splits, and gives the joint loss: see
        `farout.base.ranks`.
    rows, validation_rows : sequence of Tensor
        Tensors with as many rows each; a batch holds the same rows of all. `RowsOnDemand` are made a batch at a time.
    budget : Budget
    where : Training, optional
    seed : int, default=0
        The same seed gives the same result on the same machine, in one go or resumed, in any thread, as long as all
        that an objective draws is torch's; torch's global state is left as it was.
    verbose : bool, default=False
        Show progress on stderr.
    name : str
        What progress and messages call this training.
    same_work : bool, default=False
        Whether the objective does the same work for every batch, whatever its progress, and looks at no numbers. On a
        GPU its steps are then recorded once and replayed.

    Returns
    -------
    History

    Raises
    ------
    DivergedError
        If the loss, a gradient or a weight stops being finite, or the loss climbs far above where it began. The message
        names the step and, unless a GPU had gone on meanwhile, the first layer or weight, and has advice; checkpoints
        from before are kept.
    KeyboardInterrupt
        If interrupted: once the step is over and its checkpoint is kept, or at once after a second Ctrl-C.
    SystemExit
        With status 143, if told to terminate; the checkpoint is kept likewise.
    RunError
        If a checkpoint to resume from was truncated, or isn't of this training.
    """
    where = where or Training()

    def fit(fabric: "Fabric") -> History:
        with _as_it_was(module):
            loop = _Loop(fabric, module, objective, rows, budget, validation_rows, where, seed, name, same_work)
            try:
                return loop.run(verbose if where.progress is None else where.progress)
            finally:
                loop.let_go()

    with alone, suitable_threads(rows[0][0].numel()):
        fabric = _fabric(where)
        launcher = fabric.strategy.launcher
        if launcher is not None and launcher.is_interactive_compatible:
            return _forked_off(fabric, module, fit)
        return fit(fabric) if launcher is None else cast(History, fabric.launch(fit))


def _forked_off(fabric: "Fabric", module: nn.Module, fit: "Callable[[Fabric], History]") -> History:
    """Train in processes that are forked off, and bring back what the first of them made.

    It comes by a file: the launcher's pipe holds 64 kB, and whoever wrote more into it would wait for ever.
    """
    if torch.cuda.is_initialized():
        raise InvalidSettingError(
            "Training: this strategy forks the process off, and it has used a GPU already, with which no forked one "
            "can go on; begin a new process, or train by torchrun."
        )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trained"

        def fit_and_keep(fabric: "Fabric") -> None:
            history = fit(fabric)
            if fabric.is_global_zero:
                torch.save({"history": vars(history), "weights": module.state_dict()}, file)

        fabric.launch(fit_and_keep)
        made = torch.load(file, weights_only=True)
    module.load_state_dict(made["weights"])
    return History(**made["history"])


_MOMENTS = {"step", "exp_avg", "exp_avg_sq"}  # what Adam keeps of each weight


@dataclass
class _State:
    """Where a training is, beside weights, optimizer and noise; all of it is in a checkpoint."""

    seed: int
    step: int = 0  # steps that are done
    first_loss: float | None = None
    steps_above: int = 0
    best: float = math.inf  # validation loss
    waited: int = 0  # validations since then
    stopped: bool = False


class _Loop:
    """One training: from the first step, or from a checkpoint, to the last."""

    def __init__(
        self,
        fabric: "Fabric",
        module: nn.Module,
        objective: Objective,
        rows: TrainingRows,
        budget: Budget,
        validation_rows: Batch | None,
        where: Training,
        seed: int,
        name: str,
        same_work: bool,
    ) -> None:
        self.fabric, self.device, self.processes = fabric, fabric.device, fabric.world_size
        self.module, self.objective, self.budget, self.where, self.name = module, objective, budget, where, name
        self.rows = self._placed(rows)
        self.validation_rows = None if validation_rows is None else self._placed(validation_rows)
        self.batch_size = min(budget.batch_size, len(rows[0]))
        if self.batch_size < self.processes:
            raise InvalidSettingError(
                f"{name}: {self.processes} devices can't share a batch of {self.batch_size} row(s); set "
                "Training(devices=...) lower, or batch_size higher."
            )
        replays = same_work and self._can_replay()
        module.to(self.device)  # before Fabric does, which warns of parts on several devices: a flow's on a GPU, say
        self.optimizer = torch.optim.AdamW(
            [p for p in module.parameters() if p.requires_grad],
            lr=torch.tensor(budget.learning_rate, device=self.device) if replays else budget.learning_rate,
            weight_decay=budget.weight_decay,
            betas=budget.betas,
            fused=self.device.type in ("cpu", "cuda") or None,
            capturable=replays,
        )
        self.task = _Task(module, objective, self.rows)
        self.loss, self.scaled_optimizer = fabric.setup(self.task, self.optimizer)
        self.gradients = where.gradient_type(self.device)
        forget = partial(self.optimizer.zero_grad, set_to_none=True)
        self.take = ReplayedStep(self._taken, forget, RECORDERS[self.device.type]) if replays else self._taken
        self.named, self.buffers = list(module.named_parameters()), list(module.buffers())
        self.generators = generators_of(self.device)
        self.state, self.history = _State(seed), History()
        self.best_weights: dict[str, Tensor] | None = None
        self.order, self.order_of = torch.empty(0), -1  # of the rows, in a pass
        self.unread: list[tuple[int, Tensor, Mapping[str, Any]]] = []  # steps whose loss is still on the device
        self.before: dict[str, Any] | None = None  # what the next step, or the one in progress, begins with
        self.figures: dict[str, Any] = {}  # the newest
        self.log: SummaryWriter | None = None

    def run(self, show: bool) -> History:
        """Train, and leave the module with the weights to keep."""
        state_of_noise = seeded(self.state.seed, self.device)  # each process draws for the joint batch
        with state_of_noise, Signals() as signals, warnings.catch_warnings():
            # DDP's, of convolutions of 1x1, whose two layouts in memory are the same one
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
            self._resume()
            state, steps = self.state, self.budget.max_steps
            showing = stage(self.name, steps, done=state.step, show=show and self.fabric.is_global_zero)
            with _log(self.where, self.fabric, state.step) as self.log, showing as advance:
                self.before = self._drawn()
                try:
                    while state.step < steps and not state.stopped:
                        self._step()
                        due = self._due()
                        self._read(at_least=1 if due or self._reads_at_once else AT_ONCE)
                        if due and self.validation_rows is not None:
                            self._validate(self.validation_rows)
                        advance(1, **self.figures)
                        self.before = self._drawn()
                        asked = self._asked_to_stop(signals, due)
                        if due or asked:
                            self._save("last.ckpt", self.before)
                        if asked:
                            raise stopped_by(asked)
                except BaseException as error:
                    self._save_what_was_whole(error)
                    raise
        self._require_finite_weights()
        if self.best_weights is not None:
            self.module.load_state_dict(self.best_weights)
        if self.processes > 1:  # parameters are the same anyway; of buffers, only what farout's own layers keep there
            for buffer in self.module.buffers():
                torch.distributed.broadcast(buffer, 0)
        self.history.stopped_early = state.step < steps
        return self.history

    def let_go(self) -> None:
        """Drop rows and objective at once: cycles of references would keep them until Python looks for such."""
        del self.task.rows, self.task.objective
        vars(self).clear()

    # --- a step --------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        step = self.state.step
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(self.budget.rate(step))
            else:
                group["lr"] = self.budget.rate(step)
        picked = self._picked(step)
        if isinstance(self.take, ReplayedStep):  # a replay doesn't pass by the line in `_taken` that says so
            self.before = None
        try:
            loss, figures = self.take(picked)
        except DivergedError as error:
            raise self._diverged(str(error)) from error
        self.unread.append((step, loss, figures))
        self.state.step += 1

    def _taken(self, picked: Tensor) -> tuple[Tensor, Mapping[str, Any]]:
        """Loss, gradients and new weights for the rows of these numbers."""
        with training_step(self.gradients), sharing(self.fabric.global_rank, self.processes):
            loss = self.loss(picked, self.state.step / self.budget.max_steps)
            if self._reads_at_once and not math.isfinite(loss.detach()):  # before the weights learn from it
                raise DivergedError(f"the loss became {float(loss.detach())}{self._first_output(picked)}")
            self.fabric.backward(loss)
        self._clip()
        self.before = None  # from here on the step can't be taken again
        self.scaled_optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach(), self.task.figures

    def _clip(self) -> None:
        """Clip the gradients; where a look at them waits for nothing, those that aren't finite are an error."""
        # A scaler of half precision skips steps of such gradients, and tries a smaller scale.
        if not self._reads_at_once or self.fabric.strategy.precision.state_dict():
            self.fabric.strategy.clip_gradients_norm(
                self.task, self.optimizer, self.budget.gradient_clip, error_if_nonfinite=False
            )
            return
        named = [(name, p) for name, p in self.named if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([cast(Tensor, p.grad) for _, p in named])
        if not math.isfinite(norm):
            bad = _first_of([name for name, p in named if not _finite(cast(Tensor, p.grad))])
            if bad:  # else the norm alone overflows
                raise DivergedError(f"the gradient of {bad} is not finite")
        torch.nn.utils.clip_grads_with_norm_([p for _, p in named], self.budget.gradient_clip, norm)

    def _can_replay(self) -> bool:
        """Whether a GPU can replay a recorded step: one process, rows that lie on it, and no casts that are cached."""
        single = self.processes == 1 and self.where.precision == "32-true"
        return single and self.device.type in RECORDERS and self.rows[0].device == self.device

    def _picked(self, step: int) -> Tensor:
        """Numbers of the rows of a step: each pass has its own order, of which the rest that fills no batch is left."""
        batches = len(self.rows[0]) // self.batch_size
        if self.order_of != step // batches:
            self.order_of = step // batches
            generator = torch.Generator().manual_seed(_mixed(self.state.seed, self.order_of))
            self.order = torch.randperm(len(self.rows[0]), generator=generator).to(self.rows[0].device)
        begin = step % batches * self.batch_size
        return self.order[begin : begin + self.batch_size]

    def _placed(self, rows: TrainingRows) -> list[Tensor | RowsOnDemand]:
        """Rows on the device, if they leave half of a GPU's free memory to the rest; else a batch goes there a time."""
        if not self.fabric.strategy.precision.precision.endswith("mixed"):
            rows = self.fabric.strategy.precision.convert_input(list(rows))
        size = sum(t.numel() * t.element_size() for t in rows)
        fits = self.device.type != "cuda" or size <= torch.cuda.mem_get_info(self.device)[0] // 2
        return [t.to(self.device) if fits else t for t in rows]

    # --- losses --------------------------------------------------------------------------------------------------

    @property
    def _reads_at_once(self) -> bool:
        """Whether a look at the loss waits for nothing."""
        return self.device.type == "cpu"

    def _read(self, at_least: int) -> None:
        """Watch the losses that came since the last look, if they are so many, and note some of them."""
        if len(self.unread) < at_least:
            return
        for step, on_device, figures in self.unread:
            loss = float(on_device)
            self._watch(step, loss)
            self.figures |= {"loss": loss, **figures}
            noted, logged = step % max(1, self.budget.max_steps // 200) == 0, step % LOG_EVERY == 0
            if noted or logged:
                found = {"loss": loss, **{name: float(value) for name, value in figures.items()}}
                if noted:
                    self.history.add(step, found)
                if logged:
                    self._to_log(step, found)
        self.unread = []

    def _watch(self, step: int, loss: float) -> None:
        state = self.state
        if not math.isfinite(loss):
            raise self._diverged(f"the loss became {loss}", step)
        if state.first_loss is None:
            state.first_loss = loss
        far = loss > state.first_loss + FAR_ABOVE * max(1.0, abs(state.first_loss))
        state.steps_above = state.steps_above + 1 if far else 0
        if state.steps_above >= STEPS_ABOVE:
            raise self._diverged(f"the loss climbed from {state.first_loss:.4g} to {loss:.4g}", step)

    def _diverged(self, what: str, step: int | None = None) -> DivergedError:
        advice = [f"Lower learning_rate (it is {self.budget.learning_rate:g})"]
        if self.where.precision.startswith("16"):
            advice.append(f"train in 'bf16-mixed' or '32-true': {self.where.precision!r} ends at 65 504")
        advice.append(self._extreme_value() or "look for extreme values in the data")
        folder = self.where.checkpoint_dir
        saved = folder is not None and (Path(folder) / "last.ckpt").is_file()
        kept = f" The last good checkpoint stays in {folder}." if saved else ""
        return DivergedError(
            f"{self.name}: training diverged at step {self.state.step if step is None else step}: "
            f"{what.rstrip('.')}. No model was made.{kept} {', or '.join(advice)}."
        )

    def _require_finite_weights(self) -> None:
        """Raise if a weight or a running statistic is not finite: before it is kept, written or given back."""
        bad = not_finite_in(self.module)
        if bad:
            raise self._diverged(f"{bad} is not finite")

    @torch.no_grad()
    def _first_output(self, picked: Tensor) -> str:
        """The first layer that makes a number that isn't finite of a batch, in words; "" where none does."""
        bad = not_finite_in(self.module)
        if bad:
            return f", since {bad} is not finite"
        found: list[str] = []

        def look(name: str) -> Callable[[nn.Module, Any, Any], None]:
            def hook(layer: nn.Module, given: Any, made: Any) -> None:
                parts = made if isinstance(made, tuple | list) else [made]
                if not found and not all(_finite(t) for t in parts if isinstance(t, Tensor)):
                    found.append(f", first in {name or 'the output'} ({type(layer).__name__})")

            return hook

        hooks = [layer.register_forward_hook(look(name)) for name, layer in self.module.named_modules()]
        try:
            with contextlib.suppress(FaroutError):
                self.objective(self.task.pick(self.rows, picked), self.state.step / self.budget.max_steps)
        finally:
            for hook in hooks:
                hook.remove()
        return "".join(found)

    @torch.no_grad()
    def _extreme_value(self) -> str:
        """Advice on the largest number of the training rows, where it is large."""
        found = (0.0, 0, 0)  # the number, its row and its column
        for part in blocks_of(len(self.rows[0])):
            rows = self.rows[0][part]
            if rows.is_floating_point() and rows.numel() and rows.dim() > 1:  # else they are numbers of rows
                rows = rows.flatten(1)
                row, column = divmod(int(rows.abs().argmax()), rows.shape[1])
                found = max(found, (float(rows[row, column]), part.start + row, column), key=lambda one: abs(one[0]))
        value, row, column = found
        if abs(value) < LARGE_INPUT:
            return ""
        return f"look at column {column}, which has {value:.3g} in training row {row}"

    def _to_log(self, step: int, figures: Mapping[str, float]) -> None:
        if self.log is not None:
            for name, value in figures.items():
                self.log.add_scalar(name, value, step)

    # --- validation ----------------------------------------------------------------------------------------------

    def _due(self) -> bool:
        """Whether to validate, and to save: the last time is after the last step."""
        step, last = self.state.step, self.budget.max_steps
        if self.validation_rows is None:
            return step == last or step % SAVE_EVERY == 0
        every = self.budget.validation_interval
        return step == last or (step % every == 0 and step + every <= last)

    def _validate(self, rows: TrainingRows) -> None:
        state = self.state
        loss = self._validation_loss(rows)
        if not math.isfinite(loss):
            raise self._diverged(f"the validation loss became {loss}")
        self._require_finite_weights()
        self.figures["validation loss"] = loss
        self.history.add(state.step, {"validation loss": loss})
        self._to_log(state.step, {"validation loss": loss})
        if loss < state.best:
            state.best, state.waited, self.best_weights = loss, 0, _copied(self.module)
            self._save("best.ckpt", self._drawn())
        else:
            state.waited += 1
            state.stopped = self.budget.patience is not None and state.waited >= self.budget.patience

    @torch.no_grad()
    def _validation_loss(self, rows: TrainingRows) -> float:
        """The mean over rows, under the same noise each time, so that only the weights make a difference."""
        modes = {part: part.training for part in self.module.modules()}
        self.module.eval()
        total, n = 0.0, len(rows[0])
        try:
            parts = torch.arange(n, device=rows[0].device).split(4 * self.batch_size)
            for i in range(self.fabric.global_rank, len(parts), self.processes):
                with seeded(i, self.device), self.fabric.autocast():
                    total += float(self.objective(self.task.pick(rows, parts[i]), 1.0)[0]) * len(parts[i])
        except DivergedError as error:
            raise self._diverged(str(error)) from error
        finally:
            for part, mode in modes.items():
                part.training = mode
        if self.processes > 1:
            sums: Any = self.fabric.all_reduce(torch.tensor(total, device=self.device), reduce_op="sum")
            total = float(sums)
        return total / n

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def _drawn(self) -> dict[str, Any]:
        """All that makes the next step another one than the last, but for weights and rows."""
        objective: Any = self.objective
        known = objective.state_dict() if hasattr(objective, "state_dict") else None
        versions = [b._version for b in self.buffers]  # that a step which has changed some can be told
        return {"noise": [g.get_state() for g in self.generators], "objective": known, "buffers": versions}

    def _save(self, file: str, drawn: dict[str, Any]) -> None:
        if self.where.checkpoint_dir is None:
            return
        self._read(at_least=1)  # so that nothing is saved of a training that has diverged
        self._require_finite_weights()
        self.before = None  # it is in this checkpoint
        if self.fabric.is_global_zero:
            saved = {
                "format": FORMAT,
                "state": asdict(self.state),
                "history": {"steps": self.history.steps, "figures": self.history.figures},
                "weights": self.module.state_dict(),
                "best_weights": self.best_weights,
                "optimizer": self.optimizer.state_dict(),
                "precision": self.fabric.strategy.precision.state_dict(),
                "drawn": [drawn],  # the same in all processes
            }
            _write(Path(self.where.checkpoint_dir) / file, saved)

    def _save_what_was_whole(self, error: BaseException) -> None:
        """After an error within a step, save the state from before it, unless the training itself failed."""
        begun = self.before
        if begun is None or isinstance(error, FaroutError) or self.processes > 1:
            return
        same = [id(b) for b in self.module.buffers()] == [id(b) for b in self.buffers]
        if same and begun["buffers"] == [b._version for b in self.buffers]:
            with contextlib.suppress(OSError, FaroutError):  # the error that people should see is another one
                self._save("last.ckpt", begun)

    def _resume(self) -> None:
        if not self.where.resume or self.where.checkpoint_dir is None:
            return
        last = Path(self.where.checkpoint_dir) / "last.ckpt"
        content = last.read_bytes() if self.fabric.is_global_zero and last.is_file() else None
        if self.processes > 1:  # which need not see the first one's disk
            content = self.fabric.broadcast(content)
        if content is None:
            return
        try:
            with quiet():  # torch warns of what a file that was changed may hold
                saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            _check_saved(saved, self.module)
            self.state, self.history = _State(**saved["state"]), History(**saved["history"])
            self.module.load_state_dict(saved["weights"])
            self.best_weights = saved["best_weights"]
            for group, own in zip(saved["optimizer"]["param_groups"], self.optimizer.param_groups, strict=True):
                group |= {name: value for name, value in own.items() if name != "params"}  # this device's and budget's
            self.optimizer.load_state_dict(saved["optimizer"])
            for weights, moments in self.optimizer.state.items():
                if any(moments[name].shape != (() if name == "step" else weights.shape) for name in _MOMENTS):
                    raise ValueError("its optimizer is of other weights")
            self.fabric.strategy.precision.load_state_dict(saved["precision"])
            drawn = saved["drawn"][0]
            if drawn["objective"] is not None:
                objective: Any = self.objective
                objective.load_state_dict(drawn["objective"])
            for generator, state in zip(self.generators, drawn["noise"], strict=True):
                generator.set_state(state)
        except Exception as error:
            raise RunError(
                f"{self.name}: can't go on from {last}: {error}. It was truncated, or isn't from this training; leave "
                "resume out, or give another checkpoint_dir."
            ) from error

    def _asked_to_stop(self, signals: Signals, due: bool) -> int:
        if self.processes == 1:
            return signals.asked
        if self.state.step % AT_ONCE and not due:  # processes talk now and then, and stop after the same step
            return 0
        asked: Any = self.fabric.all_reduce(torch.tensor(float(signals.asked)), reduce_op="max")
        return int(asked)


class _Task(nn.Module):
    """The objective as a module, so that Fabric joins the gradients of processes, and casts as the precision says.

    It takes numbers of rows, since mixed precision would round the rows themselves.
    """

    def __init__(self, module: nn.Module, objective: Objective, rows: TrainingRows) -> None:
        super().__init__()
        self.module = module
        self.objective = objective
        self.rows = rows
        self.figures: Mapping[str, Any] = {}

    def forward(self, picked: Tensor, progress: float) -> Tensor:
        loss, self.figures = self.objective(self.pick(self.rows, picked), progress)
        return loss

    def pick(self, rows: TrainingRows, picked: Tensor) -> list[Tensor]:
        """Some of the rows, on the device of the weights."""
        device = next(self.module.parameters()).device
        return [t.index_select(0, picked).to(device) for t in rows]


def _check_saved(saved: Any, module: nn.Module) -> None:
    """Refuse a checkpoint whose parts are of other types, which would be missed only steps later or at the end."""
    if not isinstance(saved, dict) or saved.get("format") != FORMAT:
        raise ValueError("it is of another version of farout, or of another program")
    state, history, optimizer = saved["state"], saved["history"], saved["optimizer"]
    dicts = [state, history, optimizer, saved["weights"]]
    if all(isinstance(part, dict) for part in dicts):
        dicts += [history["figures"], optimizer["state"]]
    if all(isinstance(part, dict) for part in dicts):
        dicts += [*optimizer["state"].values(), *optimizer["param_groups"], *saved["drawn"]]
    if not all(isinstance(part, dict) for part in dicts):
        raise ValueError("it holds parts of another type")
    counts = [state[name] for name in ("seed", "step", "steps_above", "waited")]
    losses = [state["best"], *([] if state["first_loss"] is None else [state["first_loss"]])]
    if not all(type(n) is int and n >= 0 for n in counts) or not all(type(loss) is float for loss in losses):
        raise ValueError("its counts of steps are no whole numbers, or its losses no numbers")
    if type(state["stopped"]) is not bool:
        raise ValueError("it doesn't say whether the training had stopped")
    columns = [history["steps"], *history["figures"].values()]
    if not all(type(c) is list and all(isinstance(v, int | float) for v in c) for c in columns):
        raise ValueError("its history holds what are no numbers")
    if len({len(column) for column in columns}) != 1:
        raise ValueError("its history holds columns of several lengths")
    shapes = {name: t.shape for name, t in module.state_dict().items()}
    for weights in (saved["weights"], saved["best_weights"]):
        if weights is not None and {name: getattr(t, "shape", None) for name, t in weights.items()} != shapes:
            raise ValueError("its weights are of another network")
    moments = optimizer["state"].values()
    if not all(set(m) == _MOMENTS and all(isinstance(t, Tensor) for t in m.values()) for m in moments):
        raise ValueError("its optimizer is another one")


def not_finite_in(module: nn.Module) -> str:
    """The first of a network's weights and buffers that holds a number that isn't finite; "" where there is none.

    A buffer may hold -inf, as masks do.

    Examples
    --------
    >>> layer = nn.BatchNorm1d(2)
    >>> not_finite_in(layer)
    ''
    >>> layer.running_var[0] = float("inf")
    >>> not_finite_in(layer)
    'running_var'
    """
    names = [name for name, p in module.named_parameters() if not _finite(p)]
    names += [name for name, b in module.named_buffers() if not _finite(b) and not bool((b < torch.inf).all())]
    return _first_of(names)


def _finite(t: Tensor) -> bool:
    return bool(torch.isfinite(t).all())


def _first_of(names: Sequence[str]) -> str:
    return "".join(names[:1]) + (f" (and of {len(names) - 1} more)" if len(names) > 1 else "")


def _mixed(seed: int, n: int) -> int:
    """A seed of its own for each pass."""
    return int(np.random.SeedSequence((seed, n)).generate_state(1, np.uint64)[0])


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().to("cpu", copy=True) for name, t in module.state_dict().items()}


def _write(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint; a failure leaves what was there before, and is the system's error."""
    content = io.BytesIO()  # torch's own writer hides why a disk can't be written to
    torch.save(state, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda part: part.write_bytes(content.getbuffer()))


@contextlib.contextmanager
def _as_it_was(module: nn.Module) -> Iterator[None]:
    """Bring the weights back to their devices and types, without gradients."""

    def tensors() -> dict[str, Tensor]:
        return {**dict(module.named_parameters()), **dict(module.named_buffers())}

    before = {name: (t.device, t.dtype) for name, t in tensors().items()}
    try:
        yield
    finally:
        for name, t in tensors().items():
            if name in before:
                t.data = t.data.to(*before[name])
            t.grad = None


# --- Lightning Fabric --------------------------------------------------------------------------------------------


def _fabric(where: Training) -> "Fabric":
    with unnoticed("lightning_fabric"), warnings.catch_warnings():
        importlib.import_module("torch._dynamo")  # which an optimizer imports at its first step
        from lightning_fabric import Fabric
    devices = where.devices if isinstance(where.devices, str) else int(where.devices)
    num_nodes, started = int(where.num_nodes), started_by_torchrun()
    if started and where.several:
        devices, num_nodes = started[0] if devices == "auto" else devices, started[1] // started[0]
    try:
        return Fabric(
            accelerator=where.accelerator,
            devices=devices,
            num_nodes=num_nodes,
            strategy=where.strategy,
            precision=where.precision,  # type: ignore[arg-type]
        )
    except Exception as error:
        raise InvalidSettingError(
            f"Training(accelerator={where.accelerator!r}, devices={where.devices!r}, strategy={where.strategy!r}, "
            f"precision={where.precision!r}) can't be had on this machine: {error}"
        ) from error


def started_by_torchrun() -> tuple[int, int] | None:
    """How many processes torchrun has started on this machine, and on all; None where it has not."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    return int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])


def shared_seed(seed: int, where: Training | None) -> int:
    """The first process's seed, in all processes of a training; those are started here, where it begins with it."""
    if where is None or not where.several:
        return seed
    fabric = _fabric(where)
    launcher = fabric.strategy.launcher
    if fabric.world_size == 1 or launcher is None or launcher.is_interactive_compatible:  # which forks off in `train`
        return seed
    fabric.launch()
    return int(fabric.broadcast(seed))


@contextlib.contextmanager
def _log(where: Training, fabric: "Fabric", step: int) -> Iterator["SummaryWriter | None"]:
    """The TensorBoard log that was asked for; points that an earlier run wrote after ``step`` are dropped."""
    if where.log_dir is None or not fabric.is_global_zero:
        yield None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InvalidSettingError(
            "log_dir asks for a TensorBoard log, and tensorboard isn't installed: "
            "pip install 'farout[tensorboard]', or leave log_dir out."
        ) from error
    with SummaryWriter(str(where.log_dir), purge_step=step or None) as writer:
        yield writer


def inference_device(where: Training | None) -> torch.device:
    """The device that a fitted model works on: the first GPU that training may use, else the CPU."""
    cuda = (where or Training()).device.type == "cuda" and torch.cuda.is_available()
    return torch.device("cuda" if cuda else "cpu")
