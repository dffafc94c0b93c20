"""Run a command of farout, and print its peak of memory above the start, in MiB: ``python peak.py COMMAND...``."""

import importlib
import sys
from pathlib import Path


def memory(key):
    """A figure of this process in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


if __name__ == "__main__":
    for name in ("farout.runs.fitting", "farout.runs.scoring", "farout.runs.generating", "farout.cli.learn",
                 "lightning.pytorch", "scipy.stats", "sklearn.neighbors"):  # fmt: skip
        importlib.import_module(name)
    import farout.cli

    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forget the peak of the imports
    start = memory("VmRSS")
    code = farout.cli.main(sys.argv[1:])
    print(f"peak {memory('VmHWM') - start:.0f}")
    sys.exit(code)
