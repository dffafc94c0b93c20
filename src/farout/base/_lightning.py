"""The part of training that knows Lightning: the module, the callbacks, the trainer."""

import contextlib
import logging
import math
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from farout.base._callbacks import Bar, Interrupted, KeepBest
from farout.base.training import Batch, Budget, History, Objective, Training
from farout.errors import DivergedError, FaroutError, InvalidSettingError, RunError

__all__ = ["run"]

# A loss this far above where it began, for this many steps in a row, has diverged.
FAR_ABOVE = 20.0
STEPS_ABOVE = 20


def run(
    module: nn.Module,
    objective: Objective,
    rows: Batch,
    budget: Budget,
    validation_rows: Batch | None,
    where: Training,
    seed: int,
    verbose: bool,
    name: str,
) -> History:
    """Set a trainer up, fit, and leave ``module`` with the weights to keep."""
    task = _Task(module, objective, budget, name)
    keep, interrupted = KeepBest(), Interrupted(where)
    callbacks: list[Callback] = [keep, interrupted, *_checkpoints(where, validation_rows)]
    if validation_rows is not None and budget.patience is not None:
        callbacks.append(EarlyStopping("validation loss", patience=budget.patience, check_on_train_epoch_end=False))
    show = verbose and sys.stderr.isatty() if where.progress is None else where.progress
    if show:
        callbacks.append(Bar(name))
    generator = torch.Generator().manual_seed(seed)
    batch_size = min(budget.batch_size, len(rows[0]))
    with _quiet(), _sigint_kept():
        trainer = _trainer(where, budget, callbacks, validation_rows is not None)
        try:
            trainer.fit(
                task,
                _training_batches(rows, batch_size, generator),
                None if validation_rows is None else _validation_batches(validation_rows, 4 * batch_size),
                ckpt_path=_last_checkpoint(where),
                weights_only=True,
            )
        except SIGTERMException as error:  # a SystemExit of status 0, as if training had come to its end
            raise SystemExit(128 + signal.SIGTERM) from error
        except SystemExit as error:  # Lightning's answer to Ctrl-C
            if interrupted.happened:
                raise KeyboardInterrupt from error
            raise
        except FaroutError:
            raise
        except Exception as error:
            if task.started or _last_checkpoint(where) is None:
                raise
            raise RunError(
                f"{name}: can't go on from {_last_checkpoint(where)}: {error}. It was truncated, or isn't from this "
                "training; leave resume out, or give another checkpoint_dir."
            ) from error
    if keep.weights is not None:
        module.load_state_dict(keep.weights)
    task.history.stopped_early = trainer.global_step < budget.max_steps
    return task.history


class _Rows(Dataset[tuple[Tensor, ...]]):
    """Tensors by row; ``__getitems__`` takes a whole batch at once, which is many times quicker than row by row."""

    def __init__(self, tensors: Batch) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, i: int) -> tuple[Tensor, ...]:
        return tuple(t[i] for t in self.tensors)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, ...]:
        picked = torch.tensor(indices)
        return tuple(t[picked] for t in self.tensors)


def _as_is(batch: Any) -> Any:
    return batch


class _Shuffled(DataLoader[tuple[Tensor, ...]]):
    """Batches of equal size in a new order each pass, which goes on in the middle of a pass where a checkpoint left it.

    Lightning keeps ``state_dict`` in its checkpoints, and asks for a new iterator once or twice before the first batch.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # of DataLoader: Lightning makes copies for several devices
        super().__init__(*args, **kwargs)
        self.start = self._order().get_state()  # of this pass
        self.taken = 0  # batches of it
        self.went_on = False  # since the last iterator

    def _order(self) -> torch.Generator:
        return cast(torch.Generator, self.generator)

    def __iter__(self) -> Any:
        if self.went_on:
            self.start, self.taken, self.went_on = self._order().get_state(), 0, False
        else:
            self._order().set_state(self.start)
        batches = super().__iter__()
        for _ in range(self.taken):
            next(batches)
        return self._counted(batches)

    def _counted(self, batches: Any) -> Iterator[Any]:
        # By number: a sampler that is asked for more than there is draws another order from the generator.
        for taken in range(self.taken, len(self)):
            batch = next(batches)
            self.taken, self.went_on = taken + 1, True
            yield batch

    def state_dict(self) -> dict[str, Any]:
        if self.taken < len(self):
            return {"start": self.start, "taken": self.taken}
        return {"start": self._order().get_state(), "taken": 0}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.start, self.taken, self.went_on = state["start"], state["taken"], False


def _training_batches(rows: Batch, batch_size: int, generator: torch.Generator) -> _Shuffled:
    return _Shuffled(
        _Rows(rows), batch_size=batch_size, shuffle=True, generator=generator, drop_last=True, collate_fn=_as_is
    )


def _validation_batches(rows: Batch, batch_size: int) -> Any:
    return DataLoader(_Rows(rows), batch_size=batch_size, collate_fn=_as_is)


class _Task(pl.LightningModule):
    """Any module with any objective, Adam with a cosine schedule, and a watch for divergence."""

    def __init__(self, module: nn.Module, objective: Objective, budget: Budget, name: str) -> None:
        super().__init__()
        self.module = module
        self.objective = objective
        self.budget = budget
        self.title = name
        self.history = History()
        self.started = False
        self.first_loss: float | None = None
        self.steps_above = 0
        self.before: tuple[int, dict[str, Any]] | None = None  # a step, and the state that it began with
        self.noise: list[Tensor] | None = None  # of a checkpoint

    def on_train_start(self) -> None:
        self.started = True
        if self.noise is not None:
            _set_noise(self.noise)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["farout"] = {
            "steps": self.history.steps,
            "figures": self.history.figures,
            "first_loss": self.first_loss,
            "steps_above": self.steps_above,
            # A step that was cut off will be taken again, from what it began with.
            "drawn": self.before[1] if self.before and self.before[0] == self.global_step else self._drawn(),
        }

    def _drawn(self) -> dict[str, Any]:
        """All that makes the next step another one than the last, but for weights and batch."""
        objective: Any = self.objective
        known = objective.state_dict() if hasattr(objective, "state_dict") else None
        return {"noise": _noise(self.device), "objective": known}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint["farout"]
        self.history = History(saved["steps"], saved["figures"])
        self.first_loss = saved["first_loss"]
        self.steps_above = saved.get("steps_above", 0)
        drawn = saved.get("drawn", {})  # absent from the first checkpoints, after which noise begins anew
        self.noise = drawn.get("noise")
        if drawn.get("objective") is not None:
            cast(Any, self.objective).load_state_dict(drawn["objective"])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.before = self.global_step, self._drawn()
        try:
            loss, figures = self.objective(batch, self.global_step / self.budget.max_steps)
        except DivergedError as error:
            raise self._diverged(str(error)) from error
        value = float(loss.detach())
        self._watch(value)
        shown = {"loss": value, **figures}
        if self.global_step % max(1, self.budget.max_steps // 200) == 0:
            self.history.add(self.global_step, shown)
        self.log_dict(shown)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        # The same noise at every validation, so that only the weights make the difference.
        with torch.random.fork_rng():
            torch.manual_seed(batch_idx)
            try:
                loss, _ = self.objective(batch, 1.0)
            except DivergedError as error:
                raise self._diverged(str(error)) from error
        if not math.isfinite(float(loss)):
            raise self._diverged(f"the validation loss became {float(loss)}")
        self.log("validation loss", loss, batch_size=len(batch[0]), sync_dist=True)

    def configure_optimizers(self) -> Any:
        b = self.budget
        learning = [p for p in self.module.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(learning, lr=b.learning_rate, weight_decay=b.weight_decay, betas=b.betas)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate(self, step: int) -> float:
        warm_up = max(1, min(100, self.budget.max_steps // 10))
        decay = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.budget.max_steps)))
        return min(1.0, (step + 1) / warm_up) * max(decay, 1e-3)

    def _watch(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise self._diverged(f"the loss became {loss}")
        if self.first_loss is None:
            self.first_loss = loss
        far = loss > self.first_loss + FAR_ABOVE * max(1.0, abs(self.first_loss))
        self.steps_above = self.steps_above + 1 if far else 0
        if self.steps_above >= STEPS_ABOVE:
            raise self._diverged(f"the loss climbed from {self.first_loss:.4g} to {loss:.4g}")

    def _diverged(self, what: str) -> DivergedError:
        return DivergedError(
            f"{self.title}: training diverged at step {self.global_step}: {what}. No model was made. Lower "
            f"learning_rate (it is {self.budget.learning_rate:g}), or look for extreme values in the data."
        )


def _noise(device: torch.device) -> list[Tensor]:
    """States of the generators that a step on this device draws from."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def _set_noise(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0].cpu())
    for state in states[1:]:
        if torch.cuda.is_available():
            torch.cuda.set_rng_state(state.cpu())


def _checkpoints(where: Training, validation_rows: Batch | None) -> list[Callback]:
    if where.checkpoint_dir is None:
        return []
    common: dict[str, Any] = {
        "dirpath": where.checkpoint_dir,
        "enable_version_counter": False,
    }
    if validation_rows is None:
        return [ModelCheckpoint(save_last=True, save_top_k=0, every_n_train_steps=100, **common)]
    return [
        ModelCheckpoint(
            filename="best",
            monitor="validation loss",
            auto_insert_metric_name=False,
            save_last=True,
            **common,
        )
    ]


def _last_checkpoint(where: Training) -> str | None:
    if not where.resume or where.checkpoint_dir is None:
        return None
    last = Path(where.checkpoint_dir) / "last.ckpt"
    return str(last) if last.is_file() else None


def _trainer(where: Training, budget: Budget, callbacks: list[Callback], validates: bool) -> pl.Trainer:
    logger = _tensorboard(where)
    try:
        return _lightning_trainer(where, budget, callbacks, validates, logger)
    except (MisconfigurationException, ValueError, TypeError, RuntimeError, ImportError) as error:
        raise InvalidSettingError(
            f"Training(accelerator={where.accelerator!r}, devices={where.devices!r}, strategy={where.strategy!r}, "
            f"precision={where.precision!r}) can't be had on this machine: {error}"
        ) from error


def _lightning_trainer(
    where: Training, budget: Budget, callbacks: list[Callback], validates: bool, logger: Any
) -> pl.Trainer:
    return pl.Trainer(
        accelerator=where.accelerator,
        devices=where.devices,
        num_nodes=where.num_nodes,
        strategy=where.strategy,
        precision=cast(Any, where.precision),
        max_steps=budget.max_steps,
        max_epochs=-1,
        gradient_clip_val=budget.gradient_clip,
        val_check_interval=_validation_interval(budget) if validates else None,
        check_val_every_n_epoch=None if validates else 1,
        num_sanity_val_steps=0,
        callbacks=callbacks,
        logger=logger,
        log_every_n_steps=10,
        enable_checkpointing=where.checkpoint_dir is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=None if where.log_dir is None else str(where.log_dir),
    )


def _validation_interval(budget: Budget) -> int:
    """Steps between validations, near what was asked, so that the last validation sees the last weights."""
    return budget.max_steps // max(1, round(budget.max_steps / budget.validate_every))


def _tensorboard(where: Training) -> Any:
    if where.log_dir is None:
        return False
    from lightning.pytorch.loggers import TensorBoardLogger

    try:
        return TensorBoardLogger(str(where.log_dir), name=None, version="")
    except ModuleNotFoundError as error:
        raise InvalidSettingError(
            "log_dir asks for a TensorBoard log, and tensorboard isn't installed: "
            "pip install 'farout[tensorboard]', or leave log_dir out."
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's advice on loaders and devices: the choices are made here, on purpose."""
    loggers = [logging.getLogger(n) for n in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _sigint_kept() -> Iterator[None]:
    """Lightning switches Ctrl-C off while it ends; switch it back on after."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError, TypeError):  # not in the main thread, or not set from Python
            signal.signal(signal.SIGINT, handler)
