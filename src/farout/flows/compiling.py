"""A flow's training steps by ``torch.compile``, where a compiler is there and the training is long enough to pay."""

import contextlib
import shutil
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from farout.base.progress import stage
from farout.base.step import training_step
from farout.base.training import Budget, Training, TrainingRows
from farout.errors import InvalidSettingError
from farout.flows.flow import Flow
from farout.flows.reversible import Reversible

__all__ = ["compiled_for", "training_seconds"]

FLOPS = 5e10  # that a core does in a second, for the choice: a fixed figure, so that results don't hang on the machine
SAVED = 0.1  # share of a training that compiled steps save on a core, as measured (docs/results/part-8.md)
COST = 100.0  # seconds of a core that compiling takes


@contextlib.contextmanager
def compiled_for(
    flow: Flow, rows: TrainingRows, budget: Budget, where: Training | None = None, *, show: bool = False
) -> Iterator[bool]:
    """Within, training steps of ``flow`` are compiled if ``where.compile`` asks for it, or pays with "auto".

    Parameters
    ----------
    flow : Flow
    rows : sequence of Tensor
        Events and, for a flow with classes, class indices, as `train` is given them.
    budget : Budget
    where : Training, optional
    show : bool, default=False
        Show on stderr that it compiles.

    Raises
    ------
    InvalidSettingError
        If a reversible flow is to be compiled.

    Yields
    ------
    bool
        Whether steps are compiled. If the compiler fails there is a warning, and they aren't.
    """
    where = where or Training()
    wanted, is_reversible = where.compile, any(isinstance(part, Reversible) for part in flow.modules())
    if wanted is True and is_reversible:
        raise InvalidSettingError(
            "Training(compile=True): a reversible flow looks at its errors in every step and can't be compiled; leave "
            "compile, or the option reversible, out."
        )
    if wanted == "auto":
        on_a_core = where.device.type == "cpu" and where.devices == 1 and where.precision == "32-true"
        wanted = on_a_core and not is_reversible and shutil.which("g++") is not None
        wanted = wanted and SAVED * training_seconds(flow, rows, budget) > COST
    if not wanted:
        yield False
        return
    with flow.compiled():
        if where.device.type == "cpu":
            try:
                with stage("compiling the flow", show=show), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of the compiler's about itself
                    _first_step(flow, [t[: min(budget.batch_size, len(t))] for t in rows], where)
            except Exception as error:  # whatever a compiler may raise
                warnings.warn(
                    f"Training(compile={where.compile!r}): the flow couldn't be compiled, so it trains as it is: "
                    f"{type(error).__name__}: {str(error).splitlines()[0]}",
                    stacklevel=2,
                )
                flow.forget_compiled()
        yield flow.is_compiled


def training_seconds(flow: Flow, rows: TrainingRows, budget: Budget) -> float:
    """About how long a training takes on a core, from the arithmetic of its steps."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        flow.log_prob(*(t[:2] for t in rows))
    a_row = counter.get_total_flops() / min(2, len(rows[0]))
    n_rows = min(budget.batch_size, len(rows[0])) * budget.max_steps
    return float(3 * a_row * n_rows / FLOPS)  # the way back is twice the way forward


def _first_step(flow: Flow, batch: Sequence[Tensor], where: Training) -> None:
    """Compile forward and backward for batches of this size."""
    training = flow.training
    flow.train()
    with training_step(where.gradient_type(where.device)):
        flow.log_prob(*batch).mean().backward()
    flow.train(training)
    flow.zero_grad(set_to_none=True)
