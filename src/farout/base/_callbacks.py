"""What watches a training: the best weights, Ctrl-C, and the bar."""

import math
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from farout.base.training import Training

__all__ = ["Bar", "Interrupted", "KeepBest"]


class KeepBest(Callback):
    """Holds the weights of the best validation; part of every checkpoint, so that a resumed run has them too.

    It also notes the validation in the history: the module's own hook would come after the checkpoint is written.
    """

    def __init__(self) -> None:
        self.best = math.inf
        self.weights: dict[str, Tensor] | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        value = float(trainer.callback_metrics["validation loss"])
        cast(Any, pl_module).history.add(trainer.global_step, {"validation loss": value})
        if value < self.best:
            self.best = value
            state = cast(Any, pl_module).module.state_dict()
            self.weights = {k: v.detach().cpu().clone() for k, v in state.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.weights = state_dict["best"], state_dict["weights"]


class Interrupted(Callback):
    """Remembers that Ctrl-C ended training, which Lightning turns into a plain exit, and keeps where it was."""

    def __init__(self, where: Training) -> None:
        self.happened = False
        self.where = where

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.happened = isinstance(exception, KeyboardInterrupt)
        # Not for other exceptions: nobody should go on from a training that diverged.
        if self.happened and self.where.checkpoint_dir is not None and cast(Any, pl_module).started:
            # The batch that was cut off doesn't count, or every later validation would come a step early.
            progress = trainer.fit_loop.epoch_loop.batch_progress.total
            cast(Any, trainer.train_dataloader).taken -= progress.ready - progress.completed
            progress.reset_on_restart()
            trainer.save_checkpoint(Path(self.where.checkpoint_dir) / "last.ckpt")


class Bar(Callback):
    """One bar from the first step to the last, with the figures of the moment, on stderr."""

    def __init__(self, title: str) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=Console(stderr=True),
        )
        self.row = self.progress.add_task(title, figures="")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.progress.update(self.row, total=trainer.max_steps)
        self.progress.start()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        shown = {k: float(v) for k, v in trainer.callback_metrics.items()}
        figures = "  ".join(f"{k} {v:.4g}" for k, v in shown.items())
        self.progress.update(self.row, completed=trainer.global_step, figures=figures)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.progress.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.progress.stop()
