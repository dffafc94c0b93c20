"""Results as JSON lines, one a measurement: a run that was killed goes on, and tables are made of what is there."""

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class Records:
    """Measurements in a file, found again by their key."""

    def __init__(self, path: Path, keys: Sequence[str]) -> None:
        self.path = path
        self.keys = tuple(keys)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        # A line that a kill cut short doesn't count.
        self.rows: list[Record] = [json.loads(line) for line in lines if line.endswith("}")]

    def has(self, **key: Any) -> bool:
        return any(all(row[k] == key[k] for k in self.keys) for row in self.rows)

    def add(self, row: Record) -> None:
        self.rows.append(row)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def mean_sd(values: Iterable[float], digits: int = 3) -> str:
    """``0.912 ± 0.004``; the deviation of the sample, left out for one value."""
    numbers = list(values)
    if not numbers:
        return "–"
    mean = f"{statistics.fmean(numbers):.{digits}f}"
    return mean if len(numbers) < 2 else f"{mean} ± {statistics.stdev(numbers):.{digits}f}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, all columns but the first to the right."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
