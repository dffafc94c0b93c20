"""How well detectors and sources do on outliers that no training saw.

    python benchmarks/outlier_quality.py tables --data-root ../shared/data --seeds 0 1 2
    python benchmarks/outlier_quality.py embeddings --data-root ../shared/data --classes-held-out 30 --seeds 0 1 2
    python benchmarks/outlier_quality.py choices --data-root ../shared/data --seeds 0 1
    python benchmarks/outlier_quality.py proxies --data-root ../shared/data
    python benchmarks/outlier_quality.py holdout --data-root ../shared/data --rows plain normal recommended
    python benchmarks/outlier_quality.py images --data-root ../shared/data --rows plain normal recommended --seeds 0 1 2
    python benchmarks/outlier_quality.py classes --data-root ../shared/data --rows plain recommended
    python benchmarks/outlier_quality.py natural --data-root ../shared/data --rows plain rotpred ours --seeds 0 1 2
    python benchmarks/outlier_quality.py probe --data-root ../shared/data --rows normal recommended

``tables``: ADBench's tables and ResNet features. ``embeddings``: CLINC150's questions, with out-of-scope ones as
outliers, or with intents held out, which is how anything on embeddings is chosen. ``choices``: what ``Recommended``
chooses on vectors, beside each of its candidates. ``proxies``: what the score on tables is chosen by. ``holdout``:
recipes of outliers by classes held out and by contamination, which is what they are chosen by. ``images``: the final
table on the unseen sets; ``natural``: photographs (CIFAR-10), with classes held out or textures as outliers;
``classes``: the table of ``images``, class by class. ``probe``: what grey levels and texture alone tell. A
run that was stopped goes on where it was; ``--out`` is where its measurements are.
"""

import argparse
from pathlib import Path

from quality import choices, embeddings, images, natural, proxies, tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    add_tables(commands.add_parser("tables", help="ADBench's tables and ResNet features, beside pyod's detectors"))
    embeddings.add_arguments(commands.add_parser("embeddings", help="questions that no intent covers (CLINC150)"))
    choices.add_arguments(commands.add_parser("choices", help="what Recommended chooses, beside its candidates"))
    part = commands.add_parser("proxies", help="tasks that need no anomaly of ADBench")
    part.add_argument("--data-root", type=Path, required=True, help="the folder that holds adbench/ and mnist/")
    part.add_argument("--seed", type=int, default=0)
    part.set_defaults(run=lambda a: proxies.run(a.data_root, a.seed))
    part = commands.add_parser("natural", help="photographs: classes held out, and textures (CIFAR-10)")
    natural.add_arguments(part)
    part.set_defaults(run=natural.run)
    for name, (run, text) in images.TASKS.items():
        part = commands.add_parser(name, help=text)
        images.add_arguments(part)
        part.set_defaults(run=run)
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
