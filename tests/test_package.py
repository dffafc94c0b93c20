"""What is shipped: lists of releases with hashes, a source archive with its tests, a wheel that works elsewhere."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = [c.rpartition(" :: ")[2] for c in PROJECT["classifiers"] if re.fullmatch(r".*Python :: 3\.\d+", c)]
EXTRAS = PROJECT["optional-dependencies"]
LISTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("constraints*.txt"))}
WINDOWS = sys.platform == "win32"
COMMAND = ("-m", "farout") if WINDOWS else ("bin/farout",)  # in a virtual environment; Windows has a program there
BUILT = ("_build", "auto_examples")  # of docs/, by `make docs`
CACHES = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.pyc", *BUILT)


def pins(name: str) -> dict[str, Version]:
    """The release of each package that a list gives."""
    found = re.findall(r"^([a-z0-9-]+)==([^ ;]+)", LISTS[name], flags=re.MULTILINE)
    return {package: Version(version) for package, version in found}


def required(*extras: str) -> list[Requirement]:
    """What pyproject.toml asks for, with these extras."""
    lines = PROJECT["dependencies"] + [line for extra in extras for line in EXTRAS[extra]]
    return [Requirement(line) for line in lines if not line.startswith("farout[")]


@pytest.mark.parametrize("name", LISTS)
def test_every_release_of_a_list_has_hashes_and_no_address(name):
    entries = re.split(r"\n(?=[a-z0-9])", LISTS[name].split("\n", 1)[1].strip())
    for entry in entries:
        first, *rest = entry.split(" \\\n")
        assert re.fullmatch(r"[a-z0-9-]+==[^ ;@]+( ; .+)?", first), f"{first}: not an exact release"
        assert rest, f"{first}: no hash"
        assert all(re.fullmatch(r" +--hash=sha256:[0-9a-f]{64}", line) for line in rest), f"{first}: not a SHA-256 hash"
    assert "://" not in LISTS[name]


@pytest.mark.parametrize(
    ("extras", "names"),
    [
        (("dev", "tensorboard", "onnx"), ("constraints",)),
        (("browser", "explore"), ("constraints", "constraints-pages")),
        (("docs",), ("constraints", "constraints-docs")),
        (("peers",), ("constraints", "constraints-peers")),
        (("ray",), ("constraints", "constraints-ray")),
    ],
    ids=["test", "browser", "docs", "peers", "ray"],
)
def test_what_the_project_asks_for_is_listed(extras, names):
    listed = {package: version for name in names for package, version in pins(name).items()}
    for requirement in required(*extras):
        version = listed.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not listed: run `make lock`"
        assert version in requirement.specifier, f"{requirement} is listed as {version}: run `make lock`"


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", LISTS)
def test_every_python_gets_one_release_of_a_package(name, python):
    """A package of which older Pythons get another release has a line for each; none may be lost."""
    if name == "constraints-oldest":
        pytest.skip("for the oldest Python alone")
    found = re.findall(r"^([a-z0-9-]+)==[^ ;]+(?: ; ([^\\\n]+))?", LISTS[name], flags=re.MULTILINE)
    where = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    where |= {"platform_machine": "x86_64", "platform_system": "Linux", "os_name": "posix"}
    taken = [package for package, marker in found if not marker or Marker(marker.strip()).evaluate(where)]
    assert len(taken) == len(set(taken))
    left_out = {package for package, marker in found if package not in taken and "python" in marker}
    # Backports, which newer Pythons don't need, say nothing of older ones.
    assert all(any("<" in marker for p, marker in found if p == package) for package in left_out), left_out


def test_a_package_of_several_lists_has_one_release():
    newest = [pins(name) for name in LISTS if name not in ("constraints-cpu", "constraints-oldest")]
    for package in {package for listed in newest for package in listed}:
        assert len({listed[package] for listed in newest if package in listed}) == 1, f"{package}: run `make lock`"


def test_the_extra_of_all_is_all_that_users_have():
    developers = {"docs", "browser", "peers", "dev"}
    assert EXTRAS["all"] == [f"farout[{','.join(name for name in EXTRAS if name not in developers | {'all'})}]"]


def test_torch_without_cuda_is_the_release_that_is_listed():
    (version,) = pins("constraints-cpu").values()
    assert Version(version.public) == pins("constraints")["torch"] == pins("constraints-oldest")["torch"]


def test_the_oldest_releases_are_those_that_the_project_claims():
    oldest = pins("constraints-oldest")
    claimed = {canonicalize_name(r.name): next(iter(r.specifier)) for r in required("tensorboard", "onnx")}
    del claimed["torch"]  # its builds without CUDA are at hand for one release only
    assert all(floor.operator == ">=" for floor in claimed.values())
    assert {name: oldest[name] for name in claimed} == {name: Version(floor.version) for name, floor in claimed.items()}


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The source archive of a copy of this tree, and the wheel built from that archive."""
    folder = tmp_path_factory.mktemp("package")
    tree, out = folder / "tree", folder / "dist"
    for path in ROOT.iterdir():
        if path.name in ("src", "tests", "docs", "benchmarks", "examples", ".ci"):
            shutil.copytree(path, tree / path.name, ignore=CACHES)
        elif path.is_file():
            tree.mkdir(exist_ok=True)
            shutil.copy(path, tree)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(tree)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (source,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return source, wheel


def test_the_source_archive_holds_all_that_the_tests_need(archives):
    with tarfile.open(archives[0]) as archive:
        held = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    folders = ("src", "tests", "docs", "benchmarks", "examples", ".ci")
    wanted = {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and not {"__pycache__", *BUILT} & set(path.parts)
        if not any(part.endswith(".egg-info") for part in path.parts)
    }
    wanted |= {"conftest.py", "Makefile", "LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml"}
    wanted |= {"CITATION.cff", "CONTRIBUTING.md", "SECURITY.md"}
    wanted |= {f"{name}.txt" for name in LISTS}
    assert wanted - held == set()
    assert not [name for name in held if name.endswith((".pyc", ".installed"))]


def test_the_wheel_holds_the_package_and_nothing_else(archives):
    with zipfile.ZipFile(archives[1]) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
        metadata = [name for name in wheel.namelist() if ".dist-info/" in name]
    source = ROOT / "src"
    package = {
        path.relative_to(source).as_posix()
        for path in (source / "farout").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == package
    assert any(name.endswith("/LICENSE") for name in metadata)


@pytest.fixture(scope="module")
def installed(archives, tmp_path_factory):
    """A virtual environment with the wheel in it, which finds what farout needs in the one that runs the tests."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts" if WINDOWS else "bin") / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-compile"]
    subprocess.run([*pip, "--no-index", str(archives[1])], check=True)
    (packages,) = folder.glob("[Ll]ib/**/site-packages")
    # A path of its own line is searched, but its own .pth files are not read: farout's own source stays unseen.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def run(*command: str) -> str:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [python, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run.folder = folder
    return run


def test_the_wheel_works_outside_the_checkout(installed):
    code = """
import numpy as np, farout as fo
X = np.random.default_rng(0).normal(size=(64, 3))
flow = fo.FlowDensity(max_steps=3, random_state=0).fit(X)
flow.save("run")
assert np.array_equal(fo.load("run").score_samples(X), flow.score_samples(X))
print(fo.__file__)
"""
    where = Path(installed("-W", "error", "-c", code).strip())
    assert where.is_relative_to(installed.folder)
    assert installed(*COMMAND, "--version").split() == ["farout", PROJECT["version"]]


@pytest.mark.slow
def test_the_journey_and_the_archives_own_tests_pass_outside_the_checkout(installed, archives):
    installed(*COMMAND, "demo", "--out", "demo")
    assert (installed.folder / "demo" / "report.html").stat().st_size > 10_000
    with tarfile.open(archives[0]) as archive:
        archive.extractall(installed.folder, filter="data")
    (tree,) = installed.folder.glob("farout-*/")
    shutil.rmtree(tree / "src")  # the wheel is what is tried
    configuration = ["--rootdir", str(tree), "--config-file", str(tree / "pyproject.toml")]
    parts = (str(tree / "tests" / part) for part in ("base", "data"))
    assert " passed" in installed("-m", "pytest", "-q", *configuration, *parts)
