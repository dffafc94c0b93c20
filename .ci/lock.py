"""Write the `constraints*.txt` of this project: every release that is installed, with the hashes of its files.

Run by `make lock`, which has uv at hand. A release that is listed already stays; `make lock UPGRADE=1` takes the newest
ones. All wheels of a release are listed, so that other platforms and newer Pythons install from the same files. Last,
the set is resolved once more for each of `PLATFORMS`, which fails where a file is missing.

- `constraints-build.txt`: what builds farout, and the packages that are released as source only.
- `constraints.txt`: to run and to test (`make demo`, `make test`).
- `constraints-cpu.txt`: torch's build without CUDA, a tenth in size. Installed first, where pip is told of such a build
  (`--find-links`, `--extra-index-url`); the index itself has none for Linux on x86.
- `constraints-cuda.txt`: what torch's CUDA builds need besides. Installed only where torch asks for it.
- `constraints-pages.txt`: what `make browser` adds; `constraints-docs.txt`: what `make docs` adds to constraints.txt;
  `constraints-ray.txt`: what `make ray` adds; `constraints-peers.txt`: what benchmarks against peers add to
  constraints.txt and constraints-pages.txt.
- `constraints-oldest.txt`: the oldest releases that pyproject.toml allows, for `make test-oldest`.
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
UV = [sys.executable, "-m", "uv"]
PYTHON = "3.11"  # the oldest that pyproject.toml allows
PLATFORMS = (
    ("x86_64-unknown-linux-gnu", "3.11"),
    ("x86_64-unknown-linux-gnu", "3.12"),
    ("x86_64-unknown-linux-gnu", "3.13"),
    ("aarch64-unknown-linux-gnu", "3.12"),
    ("aarch64-apple-darwin", "3.12"),
    ("aarch64-apple-darwin", "3.13"),
    ("x86_64-pc-windows-msvc", "3.11"),
    ("x86_64-pc-windows-msvc", "3.13"),
)
SOURCES = ("freia", "nflows")  # released as source only
CUDA = re.compile(r"nvidia-|cuda-|triton==")
HEADER = "# {what} Written by `make lock`; not by hand.\n"

# What the oldest releases are tested with: other libraries as old as the tests can use, tools as new as they are.
OLDEST = ("pandas>=2.2.2", "polars>=1.30", "skl2onnx>=1.18", "FrEIA>=0.2", "zuko>=1.4")
# The oldest matplotlib uses names that pyparsing 3.3 warns of, and warnings are errors in tests.
TOOLS = ("pytest>=8.3", "pytest-xdist>=3.6", "hypothesis>=6.120", "pyparsing<3.3")


def compiled(*arguments: str) -> str:
    """Run `uv pip compile` in the project's folder; return what it writes."""
    command = [*UV, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python-version", PYTHON, *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def listed(lines: Sequence[str], *arguments: str, as_: str = "requirement") -> str:
    """Compile what is listed, as requirements or as constraints, with further arguments."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "listed.in"
        file.write_text("\n".join(lines), encoding="utf-8", newline="\n")
        return compiled(*arguments, str(file) if as_ == "requirement" else f"--constraint={file}")


def entries(text: str) -> dict[str, str]:
    """Split the text of a requirements file into entries, by the name of the package.

    A package of which older Pythons get another release has several lines in its entry.
    """
    found: dict[str, str] = {}
    for block in re.split(r"\n(?=[A-Za-z0-9])", "\n" + text.strip()):
        if block.strip():
            name = re.split(r"[=\s\[]", block, maxsplit=1)[0]
            found[name] = f"{found[name]}\n{block}" if name in found else block
    return found


def without_cuda(release: str) -> dict[str, str]:
    """The build of torch without CUDA that pip takes here; where it has none, the one listed already, if it fits."""
    path = ROOT / "constraints-cpu.txt"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, release]
        subprocess.run(command, check=True)
        (file,) = Path(folder).iterdir()
        version = unquote(file.name).split("-")[1]
        if "+" in version:
            return {"torch": f"torch=={version} \\\n    --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"}
    listed_already = entries(path.read_text(encoding="utf-8").split("\n", 1)[1]) if path.exists() else {}
    return {name: block for name, block in listed_already.items() if block.startswith(f"{release}+")}


def write(name: str, what: str, blocks: dict[str, str]) -> None:
    """Write one file of constraints, sorted by name."""
    body = "\n".join(blocks[name] for name in sorted(blocks))
    (ROOT / name).write_text(HEADER.format(what=what) + body + "\n", encoding="utf-8", newline="\n")
    print(f"{name}: {len(blocks)} releases, {body.count('--hash')} hashes")


def lock(upgrade: bool) -> None:
    """Resolve all parts as one set, then write a file for each."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    write("constraints-build.txt", "What builds farout.", entries(listed(build, "--universal", "--generate-hashes")))
    universal = ("pyproject.toml", "--universal")
    kept = [] if upgrade else [f"--constraint={path.name}" for path in newest_files() if path.exists()]
    extras = ("dev", "browser", "explore", "peers", "docs", "ray")
    whole = entries(compiled(*universal, *(f"--extra={extra}" for extra in extras), *kept))
    pins = [line for block in whole.values() for line in block.splitlines()]  # without hashes a line a release

    def part(*extras: str) -> dict[str, str]:
        arguments = [f"--extra={extra}" for extra in extras]
        return entries(listed(pins, *universal, *arguments, "--generate-hashes", as_="constraint"))

    main, pages, peers = part("dev"), part("dev", "browser", "explore"), part("dev", "browser", "explore", "peers")
    docs, ray = part("dev", "docs"), part("dev", "ray")
    cuda = {name: main.pop(name) for name in list(main) if CUDA.match(main[name])}
    for file, what, blocks, elsewhere in zip(
        newest_files(),
        (
            "To run and to test farout.",
            "What torch's CUDA builds need besides constraints.txt.",
            "What tests of pages need besides constraints.txt.",
            "What benchmarks against peers need besides constraints.txt.",
            "What `make docs` adds to constraints.txt.",
            "What tests of Ray need besides constraints.txt.",
        ),
        (main, cuda, pages, peers, docs, ray),
        ({}, {}, main | cuda, main | pages, main | cuda, main | cuda),
        strict=True,
    ):
        write(file.name, what, {name: block for name, block in blocks.items() if name not in elsewhere})
    torch = main["torch"].split()[0]
    write("constraints-cpu.txt", "Torch without CUDA, for where pip is told of such a build.", without_cuda(torch))
    write("constraints-oldest.txt", "The oldest releases that pyproject.toml allows, and their tests'.", oldest(torch))


def newest_files() -> list[Path]:
    """The files of newest releases; a package that pages and docs both add has the same release in both."""
    return [ROOT / f"constraints{part}.txt" for part in ("", "-cuda", "-pages", "-peers", "-docs", "-ray")]


def oldest(torch: str) -> dict[str, str]:
    """The oldest direct dependencies, torch excepted: builds without CUDA are at hand for one release only."""
    extras = ("--extra=tensorboard", "--extra=onnx")
    direct = listed(OLDEST, "pyproject.toml", *extras, "--resolution=lowest-direct", "--no-deps").splitlines()
    floors = [line for line in direct if not line.startswith("torch==")]
    found = entries(listed((*floors, *TOOLS, torch), "--generate-hashes"))
    return {name: block for name, block in found.items() if not CUDA.match(block)}


def check() -> None:
    """Choose a file for every release on each platform, without taking it."""
    files = [
        f"--requirement={path.name}" for path in newest_files() if path.stem.rpartition("-")[2] not in ("peers", "ray")
    ]
    for platform, python in PLATFORMS:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                [*UV, "pip", "install", "--quiet", "--dry-run", "--require-hashes", "--no-deps", "--target", folder]
                + [f"--python-platform={platform}", f"--python-version={python}", "--only-binary=:all:", *files]
                + [f"--no-binary={name}" for name in SOURCES],
                cwd=ROOT,
                env=os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"},  # the oldest that onnxruntime is made for
                check=True,
            )
        print(f"{platform}, Python {python}: every release has a file")


if __name__ == "__main__":
    lock(upgrade="--upgrade" in sys.argv[1:])
    check()
