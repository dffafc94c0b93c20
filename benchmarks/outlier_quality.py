"""How well detectors and sources do on outliers that no training saw.

    python benchmarks/outlier_quality.py tables --data-root ../shared/data --seeds 0 1 2

A run that was stopped goes on where it was; ``--out`` is where its measurements are kept.
"""

import argparse
from pathlib import Path

from quality import tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    add_tables(commands.add_parser("tables", help="ADBench's tables and ResNet features, beside pyod's detectors"))
    arguments = parser.parse_args()
    arguments.run(arguments)


def add_tables(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-root", type=Path, required=True, help="the folder that holds adbench/")
    parser.add_argument("--out", type=Path, default=Path("runs/outlier_quality/tables.jsonl"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sets", nargs="+", default=[], help="such as 6_cardio; all when left out")
    parser.add_argument("--detectors", nargs="+", default=tables.DEFAULT, choices=[*tables.detectors()])
    parser.set_defaults(run=lambda a: tables.run(a.data_root, a.out, a.seeds, a.sets, a.detectors))


if __name__ == "__main__":
    main()
