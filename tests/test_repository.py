"""What surrounds the code: workflows, forms, hooks, the citation and the pages for contributors say what is so."""

import re
import tomllib
from pathlib import Path

import pytest

import farout

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parent.parent
FORGE = ROOT / ".github"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = [c.rpartition(" :: ")[2] for c in PROJECT["classifiers"] if re.fullmatch(r".*Python :: 3\.\d+", c)]
SYSTEMS = {"ubuntu-latest": "Linux", "macos-latest": "MacOS", "windows-latest": "Windows"}
# Major versions that were published when this was written; another one is looked up before it is added.
ACTIONS = {
    "actions/checkout@v6",
    "actions/setup-python@v6",
    "actions/upload-artifact@v7",
    "actions/download-artifact@v8",
    "pypa/gh-action-pypi-publish@release/v1",
}
WORKFLOWS = sorted(FORGE.glob("workflows/*.yml"))
FORMS = sorted(path for path in FORGE.glob("ISSUE_TEMPLATE/*.yml") if path.name != "config.yml")

in_checkout = pytest.mark.skipif(not FORGE.is_dir(), reason="a source archive has no .github")


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs():
    return [(f"{path.name}: {name}", job) for path in WORKFLOWS for name, job in read(path)["jobs"].items()]


def steps():
    return [(where, step) for where, job in jobs() for step in job["steps"]]


@in_checkout
def test_every_workflow_has_few_rights_and_ends():
    assert [path.stem for path in WORKFLOWS] == ["docs", "test", "wheels"]
    for path in WORKFLOWS:
        assert read(path)["permissions"] == {"contents": "read"}, path.name
    for where, job in jobs():
        assert job["timeout-minutes"] <= 90, where
        assert "pull_request_target" not in str(job)
        assert set(job.get("permissions", {})) <= {"id-token"}, where
        assert "secrets." not in str(job), where


@in_checkout
def test_workflows_use_actions_that_exist():
    assert {step["uses"] for _, step in steps() if "uses" in step} == ACTIONS


@in_checkout
def test_workflows_call_targets_and_scripts_that_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^\.PHONY: (.+)$", makefile, flags=re.MULTILINE)
    commands = "\n".join(step["run"] for _, step in steps() if "run" in step)
    targets = set(re.findall(r"\bmake ([a-z-]+)", commands))
    assert {"check", "docs", "dist"} <= targets <= set(listed.split())
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)
    files = set(re.findall(r"(?<=\s)(?:\.ci/\S+|constraints\S*\.txt)", commands))
    assert files == {".ci/install", "constraints.txt"}
    assert all((ROOT / file).is_file() for file in files)


@in_checkout
def test_commands_of_farout_in_workflows_are_there():
    from farout.cli.app import make_app

    known = {command.name or command.callback.__name__ for command in make_app().registered_commands}
    commands = "\n".join(step["run"] for _, step in steps() if "run" in step)
    assert {"demo", "doctor"} == set(re.findall(r"^farout ([a-z]+)", commands, flags=re.MULTILINE)) <= known


@in_checkout
@pytest.mark.parametrize("name", ["test.yml: test", "wheels.yml: journey"])
def test_every_python_and_system_that_is_claimed_is_tried(name):
    matrix = dict(jobs())[name]["strategy"]["matrix"]
    assert matrix["python"] == PYTHONS
    claimed = {c.rpartition(" :: ")[2] for c in PROJECT["classifiers"] if c.startswith("Operating System")}
    assert {SYSTEMS[runner] for runner in matrix["os"]} == claimed
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"


@in_checkout
def test_only_a_tag_is_published_and_only_with_approval():
    publish = dict(jobs())["wheels.yml: publish"]
    assert publish["if"] == "startsWith(github.ref, 'refs/tags/v')"
    assert publish["environment"] == "pypi"
    assert publish["needs"] == "journey"


@in_checkout
@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_forms_ask_with_a_label_and_an_id_of_their_own(path):
    form = read(path)
    assert {"name", "description", "body"} <= set(form)
    asked = [part for part in form["body"] if part["type"] != "markdown"]
    ids = [part["id"] for part in asked]
    assert len(set(ids)) == len(ids)
    assert all(part["attributes"]["label"] for part in asked)
    assert any(part.get("validations", {}).get("required") for part in asked)


@in_checkout
def test_a_bug_report_has_versions_and_the_doctors_word():
    text = (FORGE / "ISSUE_TEMPLATE" / "bug.yml").read_text(encoding="utf-8")
    assert "farout doctor" in text
    (code,) = re.findall(r'python -c "(.+?)"`', text, flags=re.DOTALL)
    printed = []
    exec(" ".join(code.split()), {"print": lambda *words, **_: printed.extend(words)})
    assert f"farout {farout.__version__}" in printed


@in_checkout
def test_hooks_have_the_release_of_ruff_that_is_listed():
    hooks = {repo["repo"].rpartition("/")[2]: repo for repo in read(ROOT / ".pre-commit-config.yaml")["repos"]}
    (listed,) = re.findall(r"^ruff==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert hooks["ruff-pre-commit"]["rev"] == f"v{listed}"


def test_the_citation_is_of_this_version():
    citation = read(ROOT / "CITATION.cff")
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]


def anchors(text):
    """Of the headings of a page, as the forge makes them."""
    return {
        re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md"])
def test_links_are_relative_and_lead_somewhere(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    for link in links:
        file, _, anchor = link.partition("#")
        assert (ROOT / file).exists(), link
        assert "://" not in link
        assert not anchor or anchor in anchors((ROOT / file).read_text(encoding="utf-8")), link
    for target in re.findall(r"`make ([a-z-]+)`", text):
        assert f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8"), target


def test_what_the_pages_for_developers_name_is_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in sorted((ROOT / "docs" / "develop").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for file in re.findall(r"`((?:src|tests|docs|benchmarks|examples|\.ci)/[\w./-]*|conftest\.py)`", text):
            assert (ROOT / file).exists(), f"{page.name}: {file}"
        for names, file in re.findall(r"((?:`\w+`(?:,| and)? )+)(?:in|of) `([\w./]+\.py)`", text):
            source = (ROOT / (file if "/" in file else f"src/farout/{file}")).read_text(encoding="utf-8")
            for name in re.findall(r"`(\w+)`", names):
                assert re.search(rf"\b{name}\b", source), f"{page.name}: {name} in {file}"
        for variable in re.findall(r"FAROUT_\w+", text):
            assert any(variable in file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("*.py")), (
                variable
            )
        for target in re.findall(r"`make ([a-z-]+)", text):
            assert f"\n{target}:" in makefile, f"{page.name}: make {target}"
        for link in re.findall(r"\]\(([\w./-]+\.md)", text):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_no_file_has_marks_of_a_merge():
    for part in ("src", "tests", "docs", "examples", "benchmarks", ".ci", ".github"):
        for file in (ROOT / part).rglob("*"):
            if (
                file.suffix in (".py", ".md", ".rst", ".yml", ".toml", ".j2", "")
                and file.is_file()
                and "_build" not in file.parts
            ):
                lines = file.read_bytes().splitlines()
                assert not [line for line in lines if line.startswith((b"<" * 7, b">" * 7 + b" "))], file
