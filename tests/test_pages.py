"""The code of the site's pages prints what they show; their commands exist; their links lead somewhere."""

import contextlib
import functools
import importlib.util
import io
import re
import shlex
import sys
from pathlib import Path

import pytest
import typer
from PIL import Image

from farout.cli.app import make_app
from farout.cli.entry import main

pytestmark = pytest.mark.usefixtures("whole_choices")  # what users get

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(page for part in ("start", "howto", "methods", "develop") for page in (DOCS / part).glob("*.md"))
NAMES = [page.relative_to(DOCS).as_posix() for page in PAGES]
# All that is read, those without code that runs too; the last part of a name tells pages that the build makes.
TEXTS = NAMES + sorted(
    [page.relative_to(DOCS).as_posix() for part in (DOCS, DOCS / "results", DOCS / "talk") for page in part.glob("*.md")
     if page.name != "commands.md"]
    + [f"../{page.name}" for page in DOCS.parent.glob("*.md")]
)  # fmt: skip
FENCE = re.compile(r"^(`{3,}|:{3,})([^\n]*)\n(.*?)^\1 *$", flags=re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")

# Pages whose code takes less than about three seconds, and runs by default; all others are slow.
QUICK = {
    *(
        f"howto/{name}.md"
        for name in ("devices", "fooled", "loop", "photographs", "report", "robust", "sentences", "wrap")
    ),
    *(f"methods/{name}.md" for name in ("archetypes", "features", "sources")),
}


def blocks(name):
    """Kind, text and line of each block of code of a page, in order."""
    text = (DOCS / name).read_text(encoding="utf-8")
    return [(m[2].strip(), m[3], text.count("\n", 0, m.start()) + 2) for m in FENCE.finditer(text)]


def has_code(name):
    return any(kind == "python" for kind, _, _ in blocks(name))


def commands_of(text):
    """The words after ``farout`` of each command in a block."""
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("farout ")]


def output_of(code, line, name, names):
    """What a block prints, with the page and the line of the block in a traceback."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile("\n" * (line - 1) + code, str(DOCS / name), "exec"), names)
    return printed.getvalue()


def same(printed, shown):
    """Whether two texts agree, numbers within what other processors and a training make of them."""
    if NUMBER.sub("#", " ".join(printed.split())) != NUMBER.sub("#", " ".join(shown.split())):
        return False
    pairs = zip(NUMBER.findall(printed), NUMBER.findall(shown), strict=True)
    return all(
        float(ours) == pytest.approx(float(theirs), rel=0.15, abs=3 if "." not in theirs else 0.06)
        for ours, theirs in pairs
    )


def run_page(name, *, with_commands=False):
    """Run the blocks of a page in order, in one namespace; yield what each printed beside what the page shows.

    Where the page shows nothing, code must print nothing; what commands print needn't be shown.
    """
    found, names = blocks(name), {"__name__": "__main__"}
    for i, (kind, text, line) in enumerate(found):
        after = found[i + 1] if i + 1 < len(found) else ("", "", 0)
        shown = after[1] if after[0] == "text" else None
        if kind == "python":
            yield line, output_of(text, line, name, names), shown or ""
        elif kind == "" and with_commands:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                for words in commands_of(text):
                    assert main(words) == 0, words
            if shown is not None:
                yield line, printed.getvalue(), shown


@pytest.fixture
def clean(tmp_path, monkeypatch):
    """A temporary folder to work in, pictures without a screen, and nothing left of either."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # for modules that a page writes
    before = set(sys.modules)
    import matplotlib as mpl

    mpl.use("agg")
    yield
    from matplotlib import pyplot

    pyplot.close("all")
    for module in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[module], "__file__", None)):
            del sys.modules[module]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in NAMES if has_code(name)],
)
def test_the_code_prints_what_the_page_shows(name, clean):
    # Commands of the first pages use the files that their code has written, so there they run as well.
    for line, printed, shown in run_page(name, with_commands=name.startswith("start/")):
        assert same(printed, shown), f"docs/{name}:{line} prints\n{printed}"


@functools.cache
def application():
    return typer.main.get_command(make_app())


def unknown_in(words):
    """What of a command doesn't exist: a subcommand or an option; None if all do."""
    command, rest = application(), list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        if rest[0] not in command.commands:
            return rest[0]
        command = command.commands[rest.pop(0)]
    known = {"--help", "-h", "--debug", "--verbose", "--quiet"}
    known |= {option for p in command.params for option in [*p.opts, *p.secondary_opts] if option.startswith("-")}
    asked = [word.split("=")[0] for word in rest if re.match(r"--?[A-Za-z]", word)]
    return next((option for option in asked if option not in known), None)


def test_a_command_that_does_not_exist_is_told():
    assert unknown_in(["fit", "digits", "--out", "run", "-h"]) is None
    assert unknown_in(["fitt", "digits"]) == "fitt"
    assert unknown_in(["train", "classifier", "digits", "--sourse", "normal"]) == "--sourse"


@pytest.mark.parametrize("name", TEXTS)
def test_the_commands_exist(name):
    for kind, text, line in blocks(name):
        for words in commands_of(text) if kind == "" else []:
            assert unknown_in(words) is None, f"docs/{name}:{line}: farout {shlex.join(words)}"


def anchors(page):
    """The anchors of a page's headings, and those that it sets itself."""
    text = re.sub(r"^(`{3,}).*?^\1", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ +(.+)$", text, flags=re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}
    return made | set(re.findall(r"^\(([\w-]+)\)=$", text, flags=re.MULTILINE))


@pytest.mark.parametrize("name", TEXTS)
def test_the_links_lead_somewhere(name):
    page = DOCS / name
    text = re.sub(r"^(`{3,}).*?^\1", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "", text)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"docs/{name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"docs/{name}: {link}; there are {sorted(anchors(target))}"


def listed(page):
    """The pages that a page's tables of contents name."""
    text = page.read_text(encoding="utf-8")
    trees = [m[3] for m in FENCE.finditer(text) if "{toctree}" in m[2]]
    lines = [line.strip() for tree in trees for line in tree.splitlines()]
    return [line for line in lines if line and not line.startswith(":")]


@pytest.mark.parametrize("part", ["start", "howto", "methods"])
def test_each_page_is_in_the_table_of_contents(part):
    pages = {page.stem for page in (DOCS / part).glob("*.md")} - {"index"}
    assert sorted(listed(DOCS / part / "index.md")) == sorted(pages)


def shown_pictures():
    """The pictures of docs/methods that pages show, by name."""
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    return {name for text in texts for name in re.findall(r"!\[[^\]]*\]\((?:\.\./methods/)?([a-z]+)\.png\)", text)}


def test_each_picture_has_a_function_and_a_page():
    pictures = module_of("pictures").PICTURES
    files = {path.stem for path in (DOCS / "methods").glob("*.png")}
    assert set(pictures) == files == shown_pictures()
    assert max(path.stat().st_size for path in (DOCS / "methods").glob("*.png")) <= 60_000


@pytest.mark.parametrize(
    "name",
    ["archetypes", "gumbel", *(pytest.param(n, marks=pytest.mark.slow) for n in ("features", "sources", "stress"))],
)
def test_a_picture_is_drawn_as_the_page_shows_it(name, tmp_path, clean):
    module_of("pictures").main([name], tmp_path)
    with Image.open(tmp_path / f"{name}.png") as drawn, Image.open(DOCS / "methods" / f"{name}.png") as kept:
        sizes = drawn.size, kept.size
    # Fonts differ between machines by a few pixels.
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


def module_of(name):
    """A script of docs/, as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
