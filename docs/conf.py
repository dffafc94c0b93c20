"""Settings of the site. `make docs` builds it into docs/_build/html; it opens from disk."""

import os
import re
import sys
import warnings
from pathlib import Path

import latex2mathml.converter
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator
from sphinx_gallery.sorting import ExplicitOrder

import farout as fo

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
# Pages and examples are the same on every machine: no window, no colour, no progress.
os.environ |= {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "PYTHONWARNINGS": "ignore"}

GALLERY = (
    "plot_strengths",
    "plot_moons",
    "plot_detector",
    "plot_table_with_categories",
    "plot_p_values",
    "plot_own_network",
    "plot_own_training_loop",
    "plot_stress_forest",
    "plot_sentences",
    "plot_sources",
    "plot_archetypes",
    "plot_nullspace",
    "plot_radii",
    "plot_mapping",
    "pictures",
    "own_backbone",
    "serve_fastapi",
    "package_mlflow",
)

project = "farout"
author = "the farout developers"
project_copyright = "2026, the farout developers"
release = fo.__version__
version = ".".join(release.split(".")[:2])

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "talk/ours/*.md", "auto_examples/**/*.ipynb"]
# --- pages -----------------------------------------------------------------------------------------------------------
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 4
copybutton_prompt_text = ">>> "
# --- API -------------------------------------------------------------------------------------------------------------
autosummary_generate = True
autodoc_typehints = "none"  # docstrings tell types, with shapes and ranges
autodoc_member_order = "bysource"
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False  # the template lists methods
numpydoc_class_members_toctree = False
# --- gallery ---------------------------------------------------------------------------------------------------------
sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["auto_examples"],
    "filename_pattern": r"/plot_",  # others need what the build doesn't install: they are shown, not run
    "within_subsection_order": ExplicitOrder([f"{name}.py" for name in GALLERY]),
    "doc_module": ("farout",),
    "backreferences_dir": "api/backreferences",
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 5,
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "default_thumb_file": str(HERE / "picture.png"),
    "show_signature": False,
    "plot_gallery": os.environ.get("FAROUT_GALLERY", "1") != "0",  # 0: pages alone, in a minute
}
# --- looks -----------------------------------------------------------------------------------------------------------
html_theme = "pydata_sphinx_theme"
html_title = f"farout {release}"
html_static_path = ["_static"]
html_css_files = ["farout.css"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "farout"},
    "header_links_before_dropdown": 7,
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": ["search-button"],
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {"changelog": [], "commands": []}

warnings.filterwarnings("ignore")  # of libraries that draw; those of Sphinx are errors


def as_mathml(translator: HTML5Translator, node: nodes.Element) -> None:
    """Write a formula as MathML, which browsers draw without a script, so that pages opened from disk show it too."""
    block = "block" if isinstance(node, nodes.math_block) else "inline"
    formula = latex2mathml.converter.convert(node.astext(), display=block)
    translator.body.append(f'<div class="formula">{formula}</div>' if block == "block" else formula)
    raise nodes.SkipNode


def write_commands(app: Sphinx) -> None:
    """The page of commands: the help of each, as the terminal shows it."""
    from commands_page import page

    target = HERE / "commands.md"
    text = page()
    if not target.is_file() or target.read_text(encoding="utf-8") != text:
        target.write_text(text, encoding="utf-8", newline="\n")


def escape_stars(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Shapes such as (n, *event_shape) are no emphasis."""
    lines[:] = [re.sub(r"(?<![\\`*\w])\*(?=\w)", r"\\*", line) for line in lines]


def skip_others(app: Sphinx, what: str, name: str, member: object, skip: bool, options: object) -> bool | None:
    """Methods that scikit-learn gives are told in its own documentation."""
    module = getattr(member, "__module__", None) or getattr(getattr(member, "__func__", None), "__module__", None) or ""
    return True if module.split(".")[0] == "sklearn" else None


def setup(app: Sphinx) -> None:
    """Add what has no extension."""
    app.add_html_math_renderer("mathml", (as_mathml, None), (as_mathml, None))
    app.connect("builder-inited", write_commands)
    app.connect("autodoc-skip-member", skip_others)
    app.connect("autodoc-process-docstring", escape_stars, priority=100)  # before numpydoc reads them


html_math_renderer = "mathml"
