"""ONNX files: written from a torch module with its metadata, checked by onnxruntime, opened again."""

import contextlib
import io
import json
import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from farout.base.files import beside, put, write_atomically
from farout.base.unnoticed import unnoticed
from farout.errors import FaroutError, InvalidSettingError
from farout.version import own_version

__all__ = ["Graph", "count_below", "open_session", "padded_table", "require_onnx", "write_graph"]

OPSET = 20
ALONE = 2**30  # bytes of weights and rows, from which on they are a file of their own: a message may have 2 GiB, in all
NEEDED = ("onnx", "onnxscript", "onnxruntime")


class Graph(nn.Module):
    """Base of the modules that models are exported as: what a model does in NumPy, done in torch.

    Attributes
    ----------
    inputs, outputs : tuple of str
        Their names; a first dimension is the batch, of any size.
    alike : float
        How far results may be from the model's own, relatively.
    """

    inputs: tuple[str, ...] = ("rows",)
    outputs: tuple[str, ...] = ()
    alike: float = 1e-4

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Outputs of a batch of inputs."""
        raise NotImplementedError

    def attributes(self) -> dict[str, dict[str, Any]]:
        """Attributes of operators that this module asks for by name, by the type of these."""
        return {}

    def constant(self, name: str, values: Any, dtype: torch.dtype | None = torch.float64) -> None:
        """Keep numbers as a buffer of that name; of their own type where ``dtype`` is None."""
        self.register_buffer(name, torch.tensor(np.asarray(values), dtype=dtype))


def require_onnx(where: str) -> None:
    """Raise if a package that an export needs isn't installed, or is too old."""
    import importlib.util

    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InvalidSettingError(
            f"{where}: an export to ONNX needs {', '.join(missing)}, which isn't installed: pip install 'farout[onnx]'."
        )
    if not hasattr(torch.onnx, "ops"):
        raise InvalidSettingError(
            f"{where}: an export to ONNX needs a newer torch, which has torch.onnx.ops; this is {torch.__version__}: "
            "pip install -U torch."
        )


def write_graph(
    build: Callable[[bool], Graph],
    example: Sequence[Tensor],
    expected: Mapping[str, NDArray[Any]],
    facts: Mapping[str, Any],
    path: str | Path | None,
    where: str,
) -> Any:
    """Export a model as ONNX, checked by onnxruntime before anything is written.

    Parameters
    ----------
    build : callable
        Gives the graph, with its networks in double precision for True, in their own for False. The latter is taken
        where onnxruntime lacks an operator in double precision.
    example : sequence of Tensor
        An input each, of 2 rows or more.
    expected : mapping of str to ndarray
        What outputs of these names are to be for the example.
    facts : mapping of str to object
        The metadata: each is kept as JSON under its name, and farout's version beside them.
    path : path, optional
        None: nothing is written.
    where : str
        Who asks, for messages.

    Returns
    -------
    Path or onnx.ModelProto
        The path, where one was given.

    Raises
    ------
    InvalidSettingError
        If torch can't export it, onnxruntime can't run it, or it gives other results; the message says which.
    """
    require_onnx(where)
    graph = build(True)
    try:
        program, session = _runnable(graph, example, facts, where)
    except _UnknownOperatorError:
        graph = build(False)
        program, session = _runnable(graph, example, facts, where)
    names = [output.name for output in session.get_outputs()]
    feed = {given.name: value.numpy() for given, value in zip(session.get_inputs(), example, strict=True)}
    found = dict(zip(names, session.run(None, feed), strict=True))
    for name, values in expected.items():
        _require_alike(found[name], values, graph.alike, name, where)
    if path is None:
        return program.model_proto
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    _save(program.model, file)
    return file


class _UnknownOperatorError(InvalidSettingError):
    """onnxruntime has no such operator, or not for numbers of this type."""


def _runnable(graph: Graph, example: Sequence[Tensor], facts: Mapping[str, Any], where: str) -> tuple[Any, Any]:
    """The exported graph with its metadata, and a session of it."""
    program = _exported(graph, example, where)
    model = program.model
    for node in model.graph.all_nodes():
        node.metadata_props.clear()  # where in Python it comes from: most of a small file, and paths of this machine
    given = {
        name: facts for part in graph.modules() if isinstance(part, Graph) for name, facts in part.attributes().items()
    }
    for node in model.graph.all_nodes():
        for name, value in given.get(node.op_type, {}).items():
            node.attributes[name] = _attribute(name, value)
    model.producer_name, model.producer_version = "farout", own_version()
    for name, value in {"farout": own_version(), **facts}.items():
        model.metadata_props[name] = json.dumps(value, ensure_ascii=False)
    try:
        if _size(model) <= ALONE:
            return program, open_session(program.model_proto.SerializeToString(), where)
        with tempfile.TemporaryDirectory() as folder:
            _save(model, Path(folder) / "model.onnx")
            return program, open_session(Path(folder) / "model.onnx", where)
    except InvalidSettingError as error:
        if "NOT_IMPLEMENTED" not in str(error):
            raise
        raise _UnknownOperatorError(str(error)) from error


def _attribute(name: str, value: Any) -> Any:
    import onnx_ir as ir

    listed = value.tolist() if isinstance(value, np.ndarray) else value
    first = listed[0] if isinstance(listed, list) else listed
    kinds = {
        int: (ir.AttrInt64, ir.AttrInt64s),
        float: (ir.AttrFloat32, ir.AttrFloat32s),
        str: (ir.AttrString, ir.AttrStrings),
    }
    return kinds[type(first)][isinstance(listed, list)](name, listed)


def _require_alike(found: NDArray[Any], expected: NDArray[Any], alike: float, name: str, where: str) -> None:
    """Raise unless the numbers are the same, relative to themselves or to the middle one of the output."""
    expected = np.asarray(expected, np.float64).reshape(found.shape)
    size = np.maximum(np.abs(expected), np.median(np.abs(expected)))
    with np.errstate(invalid="ignore"):  # infinities
        wrong = ~((found == expected) | (np.abs(found - expected) <= alike * size + 1e-9))
    if wrong.any():
        place = np.unravel_index(int(wrong.argmax()), wrong.shape)
        raise InvalidSettingError(
            f"{where}: the graph gives other results than the model: {name} of row {place[0]} is {found[place]:.6g} "
            f"instead of {expected[place]:.6g} ({wrong.mean():.0%} of the numbers differ). A network of your own may "
            "compute something that depends on the size of the batch, or draw random numbers."
        )


def _exported(graph: Graph, example: Sequence[Tensor], where: str) -> Any:
    """What torch makes of a module; its exporter's own talk is left out."""
    batch = tuple({0: torch.export.Dim.DYNAMIC} for _ in example)
    with _quiet():
        try:
            return torch.onnx.export(
                graph.eval(),
                tuple(example),
                dynamo=True,
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                dynamic_shapes=(batch,),
                opset_version=OPSET,
                verbose=False,
                custom_translation_table={torch.ops.aten.atan.default: _arc_tangent()},
            )
        except FaroutError:
            raise
        except Exception as error:  # whatever a network of one's own makes torch raise
            raise InvalidSettingError(
                f"{where}: torch can't export it to ONNX: {_cause(error)}. Of a network of your own, leave out what "
                "depends on the numbers it is given (if, item, nonzero), or export it with a simpler one."
            ) from error


def _cause(error: BaseException) -> str:
    """The first line of the first error that led to this one, which is about the module rather than the exporter."""
    while (before := error.__cause__) is not None:
        error = before
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0] if said else ''}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logs = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    before = [log.level for log in logs]
    with unnoticed(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # of torch's about itself
        for log in logs:
            log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for log, level in zip(logs, before, strict=True):
                log.setLevel(level)


def _arc_tangent() -> Any:
    """How ``atan`` is written: onnxruntime knows it in single precision alone.

    In double precision one step of Newton's makes it exact: ``atan x = a + atan((x - t) / (1 + x t))``, ``t = tan a``.
    """
    import onnx_ir as ir
    from onnxscript import opset20 as op

    def atan(x: Any) -> Any:
        if x.dtype != ir.DataType.DOUBLE:
            return op.Atan(x)
        rough = op.Cast(op.Atan(op.Cast(x, to=ir.DataType.FLOAT)), to=ir.DataType.DOUBLE)
        sine, cosine = op.Sin(rough), op.Cos(rough)
        # Over the cosine, so that neither is large where the tangent is.
        return op.Add(rough, op.Div(op.Sub(op.Mul(x, cosine), sine), op.Add(cosine, op.Mul(x, sine))))

    return atan


def _save(model: Any, path: Path) -> None:
    """The graph, and where it is large its numbers in a file beside it, which is there first."""
    import onnx_ir as ir

    if _size(model) <= ALONE:
        write_atomically(path, lambda part: ir.save(model, part))
        return
    data = path.with_name(f"{path.name}.data")
    with beside(path) as part, beside(data) as numbers:
        ir.save(model, part, external_data=numbers.name)
        # The graph names the file that its numbers are in, which has its own name only once it is whole.
        written = ir.load(part)
        for value in written.graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = _renamed(value.const_value, data.name)
        ir.save(written, part)
        put(numbers, data)
        put(part, path)


def _size(model: Any) -> int:
    """Bytes of the numbers in a graph."""
    return sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)


def _renamed(tensor: Any, location: str) -> Any:
    import onnx_ir as ir

    return ir.ExternalTensor(
        location=location,
        offset=tensor.offset,
        length=tensor.length,
        dtype=tensor.dtype,
        shape=tensor.shape,
        name=tensor.name,
        base_dir=tensor.base_dir,
    )


def open_session(source: Path | bytes, where: str, threads: int | None = None) -> Any:
    """An onnxruntime session on the CPU, of a file or of a model in memory.

    Parameters
    ----------
    source : Path or bytes
    where : str
        What it is, for messages.
    threads : int, optional
        As many as onnxruntime sees fit, when omitted.

    Raises
    ------
    InvalidSettingError
        If onnxruntime isn't installed, or can't read it.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise InvalidSettingError(
            f"{where}: an ONNX file needs onnxruntime, which isn't installed: pip install 'farout[onnx]'."
        ) from error
    if isinstance(source, Path) and not source.is_file():
        raise InvalidSettingError(f"{where}: no such file.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    given = str(source) if isinstance(source, Path) else source
    try:
        return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InvalidSettingError(f"{where}: onnxruntime can't read it: {str(error).splitlines()[0]}") from error


# --- a binary search, which ONNX has not -----------------------------------------------------------------------------


def padded_table(ordered: Tensor) -> Tensor:
    """Ascending numbers, of shape (..., m), padded with infinity to ``2**k - 1`` of them, as `count_below` wants it."""
    wanted = 2 ** int(ordered.shape[-1]).bit_length() - 1
    return F.pad(ordered, (0, wanted - ordered.shape[-1]), value=math.inf)


def count_below(ordered: Tensor, values: Tensor, *, equal: bool) -> Tensor:
    """How many of the numbers of a table are below each value, or with ``equal`` no more than it.

    Parameters
    ----------
    ordered : Tensor of shape (m,) or (d, m)
        Of `padded_table`.
    values : Tensor of shape (n,) or (n, d)
        With two dimensions, column j is compared with row j of the table.

    Returns
    -------
    int64 Tensor
        Of the shape of ``values``.

    Examples
    --------
    >>> table = padded_table(torch.tensor([1.0, 2.0, 2.0, 5.0]))
    >>> values = torch.tensor([0.0, 2.0, 9.0])
    >>> count_below(table, values, equal=True).tolist(), count_below(table, values, equal=False).tolist()
    ([0, 3, 4], [0, 1, 4])
    """
    width = ordered.shape[-1]
    place = torch.zeros_like(values, dtype=torch.int64)
    starts = torch.arange(0, ordered.numel(), width) - 1  # of each column's table, less 1
    step, flat = (width + 1) // 2, ordered.flatten()
    while step:
        found = flat[place + (starts + step)]
        place = place + step * ((found <= values) if equal else (found < values))
        step //= 2
    return place
