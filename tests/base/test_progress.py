"""Waits as people see them: bars on terminals of any width, lines in logs, nothing where nobody asked."""

import io
import re
import sys
import threading

import pytest

from farout.base import progress
from farout.base.progress import stage
from farout.base.training import Budget, Training, train
from small_training import X, Y, fit, linear, squares


class Terminal(io.StringIO):
    """What a terminal is given; `screens` are the texts that stood on it."""

    def isatty(self):
        return True

    @property
    def text(self):
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())

    @property
    def screens(self):
        return [line for line in re.split(r"[\r\n]+", self.text) if line.strip()]


@pytest.fixture
def on_terminal(monkeypatch):
    def begin(columns=80, term="xterm-256color"):
        terminal = Terminal()
        monkeypatch.setattr(progress, "REFRESH", 0.0)
        monkeypatch.setattr(sys, "stderr", terminal)
        for name, value in {"COLUMNS": str(columns), "LINES": "24", "TERM": term}.items():
            monkeypatch.setenv(name, value)
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            monkeypatch.delenv(name, raising=False)
        return terminal

    return begin


@pytest.mark.parametrize("columns", [60, 80, 160])
def test_the_time_left_is_there_in_any_width(columns, on_terminal):
    terminal = on_terminal(columns)
    figures = {"loss": -1234.5678, "bits/dim": 3.21, "validation loss": 0.12345, "reconstruction": 1.0, "nll": 2.0}
    with stage("a stage with quite a long name, longer than thirty", total=3000) as advance:
        for _ in range(3):
            advance(1000, **figures)
    bars = [line for line in terminal.screens if "3000/3000" in line]
    assert bars
    assert all(len(line.rstrip()) <= columns for line in bars)
    assert all(re.search(r"a stage with.* 3000/3000 0:00:00 left ", line) for line in bars)
    assert ("nll" in bars[-1]) == (columns == 160)


def test_a_stage_without_a_known_end_shows_the_time_spent(on_terminal):
    terminal = on_terminal()
    with stage("looking for duplicates") as advance:
        advance(7)
    assert any(re.search(r"looking for duplicates.*7/\? +0 s", line) for line in terminal.screens)
    assert re.fullmatch(r"looking for duplicates: done in 0\.\d s", terminal.screens[-1].strip())


def test_stages_that_are_nested_and_follow_each_other_share_one_display(on_terminal):
    terminal = on_terminal()
    with stage("outer", total=2) as outer:
        for i in range(2):
            with stage(f"inner {i}", total=1) as inner:
                inner(error=0.5)
            outer()
    with stage("next", total=1) as advance:
        advance()
    ends = [line for line in terminal.screens if "done in" in line]
    assert [line.split(":")[0].strip() for line in ends] == ["inner 0", "inner 1", "outer", "next"]
    assert "error 0.5" in ends[0]
    assert progress._display is None


def test_stages_in_threads(on_terminal):
    terminal = on_terminal()

    def work(name):
        with stage(name, total=5) as advance:
            for _ in range(5):
                advance()

    threads = [threading.Thread(target=work, args=(f"thread {i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(re.findall(r"thread \d: done in", terminal.text)) == [f"thread {i}: done in" for i in range(4)]
    assert progress._display is None


def test_names_are_taken_as_they_are(on_terminal):
    terminal = on_terminal()
    with stage("[bold]x[/bold] :smile:", total=1) as advance:
        advance()
    assert any("[bold]x[/bold] :smile:" in line and "1/1" in line for line in terminal.screens)
    assert terminal.screens[-1].startswith("[bold]x[/bold] :smile:: done")


def test_an_error_ends_the_stage(on_terminal):
    terminal = on_terminal()
    with pytest.raises(ZeroDivisionError), stage("work", total=3) as advance:
        advance(1 // 0)
    assert "work: stopped after 0." in terminal.screens[-1]
    assert progress._display is None
    assert sys.stderr is terminal


def test_results_are_not_drawn_into_the_display(on_terminal, capsys):
    on_terminal()
    with stage("work", total=1) as advance:
        print("a result")
        advance()
    assert capsys.readouterr().out == "a result\n"


def test_a_log_has_one_line_as_a_stage_begins_and_one_as_it_ends(capsys):
    with stage("fitting the flow", total=3000, done=1000) as advance:
        advance(loss=0.25)
        advance(loss=0.125)
    out, err = capsys.readouterr()
    assert out == ""
    begun, ended = err.splitlines()
    assert begun == "fitting the flow: begun, 2000 steps"
    assert re.fullmatch(r"fitting the flow: done in 0\.\d s  loss 0\.125", ended)


def test_a_dumb_terminal_gets_lines(on_terminal):
    terminal = on_terminal(term="dumb")
    with stage("work", total=1) as advance:
        advance()
    assert [line.split(":")[1][:5] for line in terminal.screens] == [" begu", " done"]


@pytest.mark.parametrize("widgets", [None, object()])
def test_a_notebook_has_a_bar_where_it_can_show_one(widgets, monkeypatch):
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr(progress.importlib.util, "find_spec", lambda name: widgets if name == "ipywidgets" else None)
    assert progress._draws() == (widgets is not None)


def test_nothing_is_shown_where_nobody_asked(capsys, on_terminal):
    terminal = on_terminal()
    with stage("work", total=1, show=False) as advance:
        advance(3, loss=1.0)
    assert terminal.getvalue() == ""


def test_without_stderr_there_is_nothing_to_show_on(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    with stage("work") as advance:
        advance(loss=1.0)
    assert capsys.readouterr().out == ""


# --- of a training -----------------------------------------------------------------------------------------------


def test_a_training_has_a_bar_with_its_figures(on_terminal):
    terminal = on_terminal(160)
    fit(where=Training(progress=True), validation=True, name="my flow")
    last = [line for line in terminal.screens if "60/60" in line][-1]
    assert re.search(r"my flow .* 60/60 0:00:00 left +loss 0\.\S+  bits/dim 0\.\S+  validation loss 0\.", last)


@pytest.mark.parametrize("wish", [None, True, False])
@pytest.mark.parametrize("verbose", [True, False])
def test_progress_is_for_the_verbose_unless_told(wish, verbose, capsys):
    module, shown = linear(), verbose if wish is None else wish
    train(module, squares(module), (X, Y), Budget(3, 50, 0.1), verbose=verbose, where=Training(progress=wish))
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(",")[0].split(" in")[0] for line in err.splitlines()] == (
        ["training: begun", "training: done"] if shown else []
    )


def test_a_resumed_training_counts_from_where_it_was(tmp_path, capsys):
    fit(where=Training(checkpoint_dir=tmp_path))
    fit(where=Training(checkpoint_dir=tmp_path, resume=True, progress=True), max_steps=100)
    assert capsys.readouterr().err.startswith("test: begun, 40 steps\n")
