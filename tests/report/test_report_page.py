"""The page as a whole: self-contained, escaped, complete, written whole or not at all."""

import dataclasses
import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from farout.errors import InvalidDataError, RunError
from farout.evaluation import evaluate
from farout.report import ReportContent, write_report
from farout.report.page import render_report
from farout.report.sections import flat_settings, sections, table_rows

NARROW = "\N{NO-BREAK SPACE}"
VOID = {"meta", "br", "wbr", "link", "img", "input", "hr"}
EVIL = "<script>alert(1)</script>\"'&"


class Outline(HTMLParser):
    """Tags, ids and addresses of a page, and whether every tag is closed in order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.ids, self.addresses = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.addresses += [v for name, v in attrs if name.split(":")[-1] in ("href", "src")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def full(name="letters", event_shape=(1, 4, 4)):
    rng = np.random.default_rng(0)
    d = int(np.prod(event_shape))
    X = rng.random((24, d))
    scores = {name: rng.normal(0, 1, 30), "inliers": rng.normal(2, 1, 40)}
    table = evaluate(scores["inliers"], {name: scores[name]}, accuracy=0.875, n_bootstrap=50)
    return ReportContent(
        title=f"Title {name}",
        summary=f"Summary {name}",
        event_shape=event_shape,
        samples=X,
        sample_labels=np.arange(24) % 3,
        data=X[::-1],
        outliers_by_strength=[(1.0, X[:3]), (2.5, 3 * X[3:6])],
        strength_rows=["0", name, "2"],
        outlier_examples={name: X[:5]},
        scores={name: scores},
        evaluations={name: table},
        radii={name: np.linalg.norm(X, axis=1)},
        latent_dim=d,
        trials=[
            {"source": "none", "auroc": 0.8, "network": 0.7, "accuracy": 0.95, "chosen": False},
            {"source": "exchange", "auroc": 0.912, "network": 0.9, "accuracy": None, "chosen": True},
        ],
        score_weights={"network": 1.0, "distance": 0.5},
        shares=None if len(event_shape) == 3 else np.eye(d)[:2],
        share_columns=[f"{name} {i}" for i in range(d)],
        share_rows=["first", name],
        training={name: {"step": [0, 1], "loss (nats)": [1.0, 0.5]}},
        settings={name: {"seed": 4711}},
        next_commands=[f"farout score {name}"],
        warnings=[f"{name} shares rows with the 60 000 of training."],
        about=[("trained", "2026-11-27 03:10 UTC, in 2 min 5 s"), ("by", f"farout train {name}")],
        mistakes=[mistake(name, X[:3], True), mistake("inliers", X[3:6], False)],
        trained_outliers={name: X[:4]},
        thresholds={name: 0.5},
        judged={name: {"y": np.arange(20) % 3, "probabilities": rng.dirichlet([1, 1, 1], 20), "classes": np.arange(3)}},
        latents={"inliers": X, name: X[:9] + 1},
        latent_labels=np.arange(24) % 3,
        flow_role=f"The flow of {name} made outliers.",
    )


def mistake(name, X, outliers):
    """As `farout.runs.lessons.mistakes` gives it, of images; of tables without the images."""
    told = {"name": name, "outliers": outliers, "n": 2000, "accepted": 0.931, "says": ["score", "taken for"]}
    if X.shape[1] in (16, 48):
        return told | {"X": X, "captions": ["0.987\n7"] * len(X)}
    return told | {
        "header": ["row", "score", "taken for", "src_bytes"],
        "rows": [["3", "0.987", name, "-1.5"]] * len(X),
    }


@pytest.fixture(scope="module")
def page():
    return render_report(full())


def test_sections_of_the_flow_say_what_it_has_to_do_with_the_model(page):
    told = [part for part in page.split("<section id=") if "The flow of letters made outliers." in part]
    assert [part.split('"')[1] for part in told] == ["strengths", "samples", "radii"]


@pytest.mark.parametrize("event_shape", [(1, 4, 4), (3, 4, 4), (5,), (2,)])
def test_every_part_has_its_section(event_shape):
    outline = Outline(render_report(full(event_shape=event_shape)))
    keys = ["mistakes", "results", "trained", "scores", "reliability", "confusion", "examples", "trials", "strengths"]
    keys += ["samples", "radii", "latent", "training", "about"]
    for key in [*keys, *(["columns"] if len(event_shape) == 1 else []), "settings", "next"]:
        assert key in outline.ids
        assert f"#{key}" in outline.addresses, "in the contents"
    assert outline.open == []


def test_the_page_needs_nothing_but_itself(page):
    outline = Outline(page)
    assert {"script", "link", "iframe", "object"}.isdisjoint(outline.tags)
    assert all(a.startswith(("#", "data:image/png;base64,")) for a in outline.addresses)
    assert not re.search(r"@import|url\((?!#)", page)
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_ids_are_unique_and_links_lead_somewhere(page):
    outline = Outline(page)
    assert len(set(outline.ids)) == len(outline.ids)
    links = {a[1:] for a in outline.addresses if a.startswith("#")}
    assert links <= set(outline.ids)


def test_every_picture_says_what_it_shows(page):
    svgs = re.findall(r"<svg [^>]*>", page)
    assert len(svgs) == 14
    assert all(re.search(r'aria-label="[^"]{10,}"', svg) for svg in svgs)


def test_numbers_of_the_table_are_on_the_page(page):
    row = full().evaluations["letters"]["letters"]
    for metric in ("auroc", "ap_in", "ap_out", "fpr95"):
        low, high = row.interval(metric)
        assert re.search(rf"{row[metric]:.3f}\s*<small>{low:.3f}–{high:.3f}</small>", page), metric
    assert "accuracy 0.875" in page
    assert "exchange (chosen)" in page
    assert "network 1, distance 0.5" in page
    assert f"95{NARROW}% bootstrap" in page
    assert "4711" in page


def test_what_is_wrong_comes_first_with_what_it_costs(page):
    ids = Outline(page).ids
    assert ids.index("mistakes") < ids.index("results") < ids.index("trained") < ids.index("scores")
    text = page.replace(NARROW, " ")
    assert "letters: taken for the most normal" in text
    assert "93 % of 2 000 pass as inliers." in text
    assert "inliers: doubted most" in text
    assert "6.9 % of 2 000 are called outliers." in text
    assert "Below each image: its score, and the class that it is taken for." in text
    (scores,) = [s for s in sections(full()) if s.key == "scores"]
    texts = re.findall(r"<text[^>]*>([^<]*)<", scores.pictures[0].svg)
    inliers = full().scores["letters"]["inliers"]
    (told,) = [t for t in texts if t.startswith("inliers: ")]
    assert float(told.split()[1]) == pytest.approx(100 * (inliers >= 0.5).mean(), abs=0.5)
    assert told.endswith("% accepted")
    assert "threshold" in texts


def test_warnings_stand_above_everything_and_the_run_is_told_below(page):
    text = page.replace(NARROW, " ")
    warned = text.index("letters shares rows with the 60 000 of training.")
    assert text.index("<h1>") < warned < text.index('<section id="mistakes">')
    assert "in 2 min 5 s" in text
    words = re.search(r"<code>(.*?)</code>", text[text.index('id="about"') :]).group(1)
    assert re.sub("<[^>]*>", "", words).strip() == "farout train letters"
    assert "warnings" not in render_report(SMALL).split("</style>")[1]


def test_mistakes_of_a_table_are_rows():
    page = render_report(full("letters", event_shape=(5,)))
    assert page.count('<td class="num">0.987</td>') == 6
    assert '<th scope="col">src_<wbr>bytes</th>' in page
    assert '<td class="num">-1.5</td>' in page
    assert "<td>letters</td>" in page


def test_no_line_break_parts_a_number_from_its_unit(page):
    words = re.sub(r"<svg.*?</svg>|<style>.*?</style>", "", page, flags=re.DOTALL)
    assert f"95{NARROW}% " in words
    assert not re.search(r"(?<!>)\d (%|σ)", re.sub(r'"[^"]*"', "", words.split("<main>")[1]))
    assert f"60{NARROW}000" in page


def test_names_are_escaped_wherever_they_stand():
    page = render_report(full(EVIL))
    outline = Outline(page)
    assert "script" not in outline.tags
    assert outline.open == []
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 10


def test_strange_rows_are_shown_with_their_columns():
    text = render_report(full(EVIL, event_shape=(5,)))
    assert Outline(text).open == []
    assert "<script" not in text
    page = render_report(full("speed", event_shape=(5,)))
    assert "largest of each row: first: speed 0; speed: speed 1" in page
    for found, wrong in [(np.eye(4)[:2], "shares"), (np.eye(5)[:3], "share_rows")]:
        with pytest.raises(InvalidDataError, match=wrong):
            dataclasses.replace(full(event_shape=(5,)), shares=found)


def test_an_empty_report_is_a_page_without_sections():
    content = ReportContent(title="Only a title", summary="And this.", event_shape=(3,))
    outline = Outline(render_report(content))
    assert sections(content) == []
    assert "section" not in outline.tags
    assert "nav" not in outline.tags


def test_the_same_content_gives_the_same_page(page):
    assert render_report(full()) == page


def test_the_best_of_several_models_is_marked():
    inliers, sets = [3.0, 2.0], {"a": [1.0, 2.5], "b": [0.0, 0.0]}
    good = evaluate([3.0, 2.0], {"a": [1.0, 0.0], "b": [0.0, 0.0]}, n_bootstrap=0)
    rows = table_rows({"poor": evaluate(inliers, sets, n_bootstrap=0), "good": good})
    marks = [[cell["best"] for cell in row["cells"]] for row in rows]
    assert marks == [[False] * 4, [True] * 4, [True] * 4, [True] * 4]
    assert [row["model"] for row in rows] == ["poor", None, "good", None]
    assert not any(cell["best"] for row in table_rows({"alone": good}) for cell in row["cells"])


def test_classes_are_rows_of_the_sample_sheet():
    content = full()
    (samples,) = [s for s in sections(content) if s.key == "samples"]
    generated, real = (re.findall(r"<text[^>]*>([^<]*)<", p.svg) for p in samples.pictures)
    assert generated == ["0", "1", "2", "class"]
    assert real == []


def test_settings_are_flattened_to_dotted_names():
    nested = {"flow": {"net": {"width": 8}, "extra": {}}, "seed": None}
    assert flat_settings(nested) == [
        ("flow.net.width", "8"),
        ("flow.extra", "{}"),
        ("seed", "None"),
    ]


SMALL = ReportContent(title="Grüße", summary="かな", event_shape=(2,))


def test_a_report_is_written_into_new_folders_as_utf8(tmp_path):
    path = write_report(SMALL, tmp_path / "a" / "b" / "report.html")
    assert path.read_text(encoding="utf-8") == render_report(SMALL)
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_nothing_is_replaced_without_force(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(RunError, match=r"report\.html exists.*force"):
        write_report(SMALL, path)
    assert path.read_text() == "mine"
    assert write_report(SMALL, path, force=True) == path
    assert "Grüße" in path.read_text(encoding="utf-8")


def test_a_failed_write_leaves_the_old_report_and_no_draft(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(RunError, match="No space left on device"):
        write_report(SMALL, path, force=True)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "old"


def test_folders_and_impossible_paths_give_one_clear_message(tmp_path):
    with pytest.raises(RunError, match="is a folder"):
        write_report(SMALL, tmp_path, force=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="can't write the report"):
        write_report(SMALL, tmp_path / "file" / "report.html")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"samples": np.zeros((2, 3))}, r"samples.*shape \(n, 4\).*found \(2, 3\)"),
        ({"data": np.zeros((0, 4))}, r"data.*found \(0, 4\)"),
        ({"outlier_examples": {"kana": np.full((1, 4), np.nan)}}, "kana.*finite; found 4"),
        ({"outliers_by_strength": [(2.5, np.zeros(4))]}, "strength 2.5"),
        ({"samples": np.zeros((2, 4)), "sample_labels": [1]}, "1 labels for 2 samples"),
        ({"data_labels": [1]}, "1 labels for 0 samples"),
        ({"scores": {"m": {"letters": np.zeros(2)}}}, r"scores\['m'\].*'inliers'"),
        ({"scores": {"m": {"inliers": np.zeros(2)}}}, "and an outlier set"),
        ({"scores": {"m": {"inliers": [0.0], "a": [np.inf]}}}, r"\['m'\]\['a'\].*finite"),
        ({"radii": {"in": np.zeros(2)}}, "latent_dim"),
        ({"radii": {"in": np.zeros((2, 2))}, "latent_dim": 2}, r"radii\['in'\]"),
        ({"trained_outliers": {"NormalShell": np.zeros((1, 3))}}, r"trained_outliers\['NormalShell'\]"),
        ({"latents": {"in": np.zeros((2, 2)), "b": np.zeros((2, 3))}}, r"latents\['b'\]"),
        ({"mistakes": [{"name": "a", "X": np.zeros((1, 2))}]}, "mistakes in 'a'"),
        ({"judged": {"m": {"probabilities": np.zeros((2, 2)), "classes": [0, 1, 2]}}}, r"judged\['m'\]"),
    ],
)
def test_bad_content_is_named(part, message):
    with pytest.raises(InvalidDataError, match=message):
        ReportContent(title="t", summary="s", event_shape=(4,), **part)
