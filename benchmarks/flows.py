"""Flows here beside the same ones in FrEIA, normflows, nflows and zuko: time, memory and errors of inversion.

    python benchmarks/flows.py [--quick] [--device cuda] [--only seed affine spline memory] [--json]

Within a round all libraries take turns, so that they share whatever else the machine does; a ratio is the median of the
rounds' ratios, theirs over ours: above 1 ours is faster, smaller or more exact. Time is CPU time of the process, or the
device's with ``--device cuda``. "farout" steps as the library trains: gradients in bfloat16 where the device multiplies
it natively, and recorded steps on a GPU; "farout, own loop" is the same flow by autograd alone. Prints Markdown tables;
with ``--json`` the last line is one JSON object of all ratios.
"""

import argparse
import json
import logging
import math
import platform
import statistics
import time
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from farout.base.capture import WARM_UP, CudaGraphs, ReplayedStep
from flow_peers import PEERS, Peer, Task, farout_stack, of_flow, stack, tasks

__all__ = ["main"]

OURS = "farout"
STEPS = 20  # of training before the error of inversion is measured, with a high learning rate

UNITS = {"step": "ms", "sampling": "ms", "memory": "MiB"}
SECTIONS = ("seed", "affine", "spline", "memory")


def loss_of(peer: Peer, x: Tensor, y: Tensor | None) -> Tensor:
    """Mean negative log-likelihood."""
    z, log_det = peer.encode(x, y)
    return (0.5 * z.square().sum(1) + 0.5 * z.shape[1] * math.log(2 * math.pi) - log_det).mean()


def optimizer_of(peer: Peer, learning_rate: float = 1e-4) -> torch.optim.Optimizer:
    weights = [p for p in peer.module.parameters() if p.requires_grad]
    return torch.optim.Adam(weights, lr=learning_rate, fused=True, capturable=weights[0].is_cuda)


def step_of(peer: Peer, x: Tensor, y: Tensor | None) -> Callable[[], object]:
    """A training step, optimizer included."""
    optimizer = optimizer_of(peer)

    def step(_: object = None) -> tuple[Tensor, dict[str, object]]:
        optimizer.zero_grad(set_to_none=True)
        with peer.step():
            loss = loss_of(peer, x, y)
            loss.backward()
        optimizer.step()
        return loss.detach(), {}

    if not (peer.replays and x.is_cuda):
        return step
    replayed = ReplayedStep(step, partial(optimizer.zero_grad, set_to_none=True), CudaGraphs())
    rows = torch.arange(len(x), device=x.device)
    for _ in range(WARM_UP + 1):
        replayed(rows)
    return partial(replayed, rows)


def sample_of(peer: Peer, x: Tensor, y: Tensor | None) -> Callable[[], object]:
    """A batch decoded from draws of the latent law."""

    @torch.no_grad()
    def sample() -> Tensor:
        return peer.decode(torch.randn(len(x), x[0].numel(), device=x.device), y)

    return sample


# --- what is measured --------------------------------------------------------------------------------------------


def milliseconds(call: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Of one call, on average: CPU time of the process, or time of the device between two events."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(repeats):
            call()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / repeats
    begin = time.process_time()
    for _ in range(repeats):
        call()
    return 1e3 * (time.process_time() - begin) / repeats


def rounds_of(
    calls: dict[str, Callable[[], object]], rounds: int, least_ms: float, device: torch.device
) -> dict[str, list[float]]:
    """Milliseconds of each call in each round; who begins changes from round to round."""
    repeats = {}
    for name, call in calls.items():
        call()  # the first call allocates
        repeats[name] = max(1, math.ceil(least_ms / max(milliseconds(call, 1, device), 1e-3)))
    order = list(calls)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(rounds):
        k = i % len(order)
        for name in order[k:] + order[:k]:
            times[name].append(milliseconds(calls[name], repeats[name], device))
    return times


class Saved(torch.autograd.graph.saved_tensors_hooks):
    """The most bytes of activations that are kept for the backward pass at a time, each storage counted once."""

    def __init__(self) -> None:
        self.most = 0
        self._now = 0
        self._users: dict[int, int] = {}
        super().__init__(self._pack, lambda kept: kept.tensor)

    def _pack(self, tensor: Tensor) -> "Kept":
        kept = Kept(tensor)
        if not (tensor.is_leaf and tensor.requires_grad):  # a weight is there anyway
            storage = tensor.untyped_storage()
            where, size = storage.data_ptr(), storage.nbytes()
            self._now += 0 if self._users.get(where) else size
            self._users[where] = self._users.get(where, 0) + 1
            self.most = max(self.most, self._now)
            weakref.finalize(kept, self._free, where, size)
        return kept

    def _free(self, where: int, size: int) -> None:
        self._users[where] -= 1
        self._now -= 0 if self._users[where] else size


@dataclass(eq=False)
class Kept:
    """A saved tensor."""

    tensor: Tensor


def peak_mib(peer: Peer, x: Tensor, y: Tensor | None) -> float:
    """Of a step's forward and backward pass: saved activations on the CPU, all that is allocated on a GPU."""
    peer.module.zero_grad(set_to_none=True)
    if x.device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        with peer.step():
            loss_of(peer, x, y).backward()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    saved = Saved()
    with saved, peer.step():
        loss_of(peer, x, y).backward()
    return saved.most / 2**20


def inversion_error(peer: Peer, x: Tensor, y: Tensor | None) -> float:
    """The largest |x - decode(encode(x))|, after some steps of training that move the weights."""
    optimizer = optimizer_of(peer, 1e-3)
    for _ in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        with peer.step():
            loss_of(peer, x, y).backward()
        optimizer.step()
    with torch.no_grad():
        z, _ = peer.encode(x, y)
        return float((peer.decode(z, y) - x).abs().max())


# --- tables ------------------------------------------------------------------------------------------------------


@dataclass
class Report:
    """Rows of a Markdown table, and ratios by "section mode figure library"."""

    names: list[str] = field(default_factory=lambda: list(PEERS))
    ratios: dict[str, float] = field(default_factory=dict)

    def header(self) -> None:
        cells = [f"{name}, times ours" if name != OURS else name for name in self.names]
        print(f"\n| task | | figure | {' | '.join(cells)} |\n|---|---|---|{'---|' * len(cells)}")

    def keep(self, ratio: float, *of_what: str) -> None:
        """A ratio, for the JSON."""
        self.ratios[" ".join(filter(None, of_what))] = round(ratio, 3)

    def row(
        self, task: str, mode: str, figure: str, values: dict[str, list[float]], notes: Mapping[str, str] | None = None
    ) -> None:
        """Values by library, one for each round."""
        cells = []
        for name in self.names:
            if name not in values:
                cells.append("-")
                continue
            here = statistics.median(values[name])
            note = (notes or {}).get(name, "")
            if name == OURS:
                cells.append(f"{here:.3g}{note}")
                continue
            pairs = zip(values[name], values[OURS], strict=True)
            ratio = statistics.median(theirs / max(ours, 1e-12) for theirs, ours in pairs)
            self.keep(ratio, task, mode, figure, name)
            cells.append(f"{ratio:.2f}x ({here:.3g}){note}")
        print(f"| {task} | {mode} | {with_unit(figure)} | {' | '.join(cells)} |", flush=True)


def with_unit(figure: str) -> str:
    return f"{figure}, {UNITS[figure]}" if figure in UNITS else figure


def built(task: Task, device: torch.device, names: Sequence[str] = tuple(PEERS)) -> dict[str, Peer]:
    """The flow of each library that is installed and has it."""
    result = {}
    for name in names:
        torch.manual_seed(0)
        try:
            peer = PEERS[name](task)
        except ModuleNotFoundError:
            continue
        if peer is not None:
            peer.module.to(device).train()
            result[name] = peer
    return result


def compiled(peer: Peer, x: Tensor, y: Tensor | None) -> tuple[Peer, str]:
    """The same flow by ``torch.compile``; where that fails as it was, with a note of it."""
    fast = replace(peer, encode=torch.compile(peer.encode), decode=torch.compile(peer.decode))
    try:
        step_of(fast, x, y)()
        sample_of(fast, x, y)()
    except Exception as error:  # whatever a compiler may raise
        return peer, f" eager: {type(error).__name__}"
    return fast, ""


def measure(name: str, task: Task, report: Report, options: argparse.Namespace) -> None:
    """All rows of one task."""
    device = torch.device(options.device)
    x = (torch.rand(task.batch, *task.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1).to(device)
    y = torch.arange(task.batch, device=device) % task.n_classes if task.n_classes else None
    peers = built(task, device)
    for mode in options.modes if task.compiles else ["eager"]:
        torch._dynamo.reset()
        timed = {n: compiled(peer, x, y) if mode == "compiled" else (peer, "") for n, peer in peers.items()}
        notes = {n: note for n, (_, note) in timed.items()}
        for figure, call_of in (("step", step_of), ("sampling", sample_of)):
            calls = {n: call_of(peer, x, y) for n, (peer, _) in timed.items()}
            report.row(name, mode, figure, rounds_of(calls, options.rounds, options.least_ms, device), notes)
    report.row(name, "", "memory", {n: [peak_mib(peer, x, y)] for n, peer in peers.items()})
    report.row(name, "", "inversion error", {n: [inversion_error(peer, x, y)] for n, peer in peers.items()})


def measure_memory(report: Report, options: argparse.Namespace) -> None:
    """Stacks of blocks of 16x8x8, by their number: kept activations and time of a step."""
    device, batch = torch.device(options.device), 64 if options.quick else 512
    names = ["reversible", "plain", "FrEIA"]
    print(
        "\n| blocks | figure | ours, reversible | ours, plain, times that | FrEIA, times that |\n|---|---|---|---|---|"
    )
    for n_blocks in (8, 32) if options.quick else (8, 16, 32, 64):
        of_freia = built(stack(n_blocks, batch), device, ["FrEIA"])
        peers = {n: of_flow(farout_stack(n_blocks, n == "reversible").to(device)) for n in names[:2]} | of_freia
        x = torch.randn(batch, 16, 8, 8, generator=torch.Generator().manual_seed(0)).to(device)
        steps = {n: step_of(peer, x, None) for n, peer in peers.items()}
        figures = {"step": rounds_of(steps, 3, 0.0, device)}  # first, so that subnets are not zero after it
        figures["memory"] = {n: [peak_mib(peer, x, None)] for n, peer in peers.items()}
        for figure, values in figures.items():
            middle = {n: statistics.median(v) for n, v in values.items()}
            cells = [f"{middle['reversible']:.4g}"]
            for name in names[1:]:
                if name in middle:
                    ratio = middle[name] / middle["reversible"]
                    report.keep(ratio, "memory", f"{n_blocks} blocks", figure, name)
                cells.append(f"{ratio:.2f}x ({middle[name]:.4g})" if name in middle else "-")
            print(f"| {n_blocks} | {with_unit(figure)} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Measure what is asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds: a first look")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument(
        "--modes", nargs="+", choices=("eager", "compiled"), help="both, unless quick: compiling takes minutes"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="last line of output: one JSON object of all ratios")
    options = parser.parse_args()
    options.modes = options.modes or (["eager"] if options.quick else ["eager", "compiled"])
    torch.set_num_threads(options.threads)
    torch._dynamo.config.recompile_limit = 64  # libraries share the code of this file
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)  # graph breaks, which only cost time
    options.rounds, options.least_ms = (5, 20.0) if options.quick else (15, 100.0)
    machine = torch.cuda.get_device_name() if options.device == "cuda" else platform.machine()
    print(f"torch {torch.__version__}, {machine}, {options.threads} thread(s), {options.rounds} rounds")
    report = Report()
    sections = tasks(options.quick)
    with warnings.catch_warnings():
        # Libraries call torch.tensor on tensors, and the like: not what is measured here.
        warnings.simplefilter("ignore")
        for section in options.only:
            if section == "memory":
                measure_memory(report, options)
            elif section in sections:
                report.header()
                for name, task in sections[section].items():
                    measure(" ".join(filter(None, (section, name))), task, report, options)
    if options.json:
        print(json.dumps(report.ratios))


if __name__ == "__main__":
    main()
