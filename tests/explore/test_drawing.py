"""Outliers that follow a dial: the same draws, farther out; every source that is offered draws."""

import numpy as np
import pytest

import farout as fo
from farout.errors import InvalidDataError, RunError
from farout.explore.drawing import AS_TRAINED, DRAWN, Drawers, rows_shown, strength_told
from farout.outliers.source import Outliers
from farout.runs.folder import Run, open_run
from farout.runs.generating import sources_for


@pytest.mark.parametrize("name", ["flow", "people", "linear"])
@pytest.mark.slow
def test_every_source_that_is_offered_draws_rows_that_can_be_shown(explored, name):
    explorer = explored(name)
    drawers = explorer.drawers
    assert len(drawers.names) >= 4
    for source in drawers.names:
        drawers.prepare(source)
        out = drawers.draw(source, seed=1)
        assert len(out) == DRAWN, source
        html, told = explorer.outliers_html(out)
        assert html.count("<figure" if explorer.is_image else "<tr>") == DRAWN + (not explorer.is_image), source
        assert drawers.help(source)
        assert isinstance(told, str)


def test_every_dial_moves_what_is_drawn_and_nothing_else_does(explored):
    of_archetypes = [(explored("deep").drawers, source) for source in ("archetypal", "nullspace")]
    drawers = explored("people").drawers
    others = [(drawers, source) for source in drawers.names if drawers.dial(source)]
    assert {source for _, source in others} == {"normal", "gumbel", "noise", "boundary", "exchange"}
    for drawers, source in of_archetypes + others:
        drawers.prepare(source)
        dial = drawers.dial(source)
        low, again, high = (drawers.draw(source, value, seed=3).x for value in (dial.low, dial.low, dial.high))
        np.testing.assert_array_equal(low, again)
        assert not np.allclose(low, high), source


def test_the_slider_keeps_directions_and_moves_out_along_them(explored):
    explorer = explored("flow")
    flow = explorer.run.model
    near, far = (explorer.drawers.draw("normal", p, label=2, seed=5) for p in (1.0, 2.0))
    assert set(near.y.tolist()) == {2}
    Z = np.random.default_rng(5).standard_normal((DRAWN, 64))
    np.testing.assert_array_equal(far.x, flow.decode(2.0 * Z, far.y, clip=True))
    np.testing.assert_allclose(far.sigma, 2 * near.sigma)
    other = explorer.drawers.draw("normal", 2.0, label=2, seed=6)
    assert not np.allclose(other.x, far.x)


def test_a_dial_does_not_change_the_model_that_the_run_was_trained_with(explored):
    explorer = explored("clf")
    explorer.drawers.draw("normal", 9.0)
    own = explorer.drawers.draw(AS_TRAINED)
    assert set(own.strength.tolist()) == {3.0}
    assert explorer.run.model.source_.strength == 3.0


def test_a_source_that_is_not_fitted_or_knows_no_such_class_says_so(runs):
    drawers = Drawers(open_run(runs / "flow"))
    assert drawers.is_ready("normal")
    assert not drawers.is_ready("exchange")
    with pytest.raises(RunError, match="exchange isn't fitted"):
        drawers.draw("exchange")
    with pytest.raises(InvalidDataError, match="77"):
        drawers.draw("normal", label=77)


def test_sources_are_those_that_the_data_and_the_run_allow(explored):
    of_images, of_tables = sources_for(explored("flow").run), sources_for(explored("people").run)
    assert {"turned", "scrambled"} <= set(of_images) - set(of_tables)
    assert "noise" in set(of_tables) - set(of_images)
    assert {"archetypal", "nullspace"} <= set(sources_for(explored("deep").run)) - set(of_images)
    assert "normal" not in sources_for(explored("linear").run)
    assert "real" not in of_images


def test_outliers_of_a_table_come_with_its_columns_and_types(explored, runs):
    explorer = explored("people")
    data = rows_shown(explorer.run, explorer.drawers.draw("normal", 4.0))
    assert data.frame.schema.names == ["age", "income", "<b>city</b>", "since", "debt"]
    assert data.frame.schema.types == fo.load_data(runs / "people.csv").frame.schema.types


def test_a_table_of_numbers_without_names_is_shown_too(tmp_path):
    X = np.random.default_rng(0).normal(size=(100, 3))
    flow = fo.FlowDensity(max_steps=10, random_state=0).fit(X)
    flow.save(tmp_path / "run")
    run = open_run(tmp_path / "run")
    out = Drawers(run).draw("gumbel", 2.0)
    assert rows_shown(run, out).feature_names == ("x0", "x1", "x2")


def told(sigma, tail, least=0.01):
    n = len(sigma)
    values = np.array(sigma), np.array(tail)
    return strength_told(Outliers(np.zeros((n, 2)), None, np.ones(n), np.full(n, "a"), None, None, *values, least))


def test_strength_is_told_as_far_as_it_is_known():
    assert told([2.0, 4.0], [0.02, 0.02]).endswith("about 1 in 50 lie as far out.")
    assert "At a median of 3 sigma" in told([2.0, 4.0], [0.02, 0.02])
    assert "fewer than 1 in 100" in told([2.0, 4.0], [0.01, 0.01])
    assert "62% lie as far out" in told([1.0, 1.0], [0.62, 0.62])
    assert "1 in 1\u202f230 lie" in told([3.0], [1 / 1234], 1e-5)
    assert told([np.nan], [np.nan]) == ""
    assert strength_told(Outliers(np.zeros((1, 2)), None, np.ones(1), np.array(["a"]))) == ""


def test_a_run_made_in_python_draws_from_its_flow_alone(tmp_path):
    X = np.random.default_rng(0).normal(size=(100, 3))
    flow = fo.FlowDensity(max_steps=10, random_state=0).fit(X)
    drawers = Drawers(Run(tmp_path, flow, None, None))
    with pytest.raises(fo.errors.InvalidDataError, match="doesn't say what it was trained on"):
        drawers.prepare("exchange")
    assert len(drawers.draw("normal", 2.0)) == DRAWN
