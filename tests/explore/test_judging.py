"""What the page says of rows: the same as `farout score`, with the columns, the near rows and the weights."""

import io

import numpy as np
import pyarrow.csv
import pytest
from people_table import people

import farout as fo
from farout.explore.explorer import Explorer
from farout.explore.judging import SHOWN, judge, scores
from farout.explore.latent_map import LatentMap
from farout.explore.near import TrainingRows, deviations
from farout.runs.folder import Run, flow_of, open_run
from farout.runs.loading import load_test_data
from farout.runs.scoring import score_data, shares_of


def test_rows_are_judged_as_score_does_the_strangest_first(explored):
    explorer = explored("clf")
    (data,) = load_test_data(["digits:test"], None, run=explorer.run)
    judged = judge(explorer.run, data, explorer.training)
    wanted = score_data(explorer.run, data)
    np.testing.assert_array_equal(judged.table.score, wanted.score)
    np.testing.assert_array_equal(judged.places, np.argsort(wanted.score, kind="stable")[:SHOWN])
    np.testing.assert_array_equal(judged.shown.X, data.X[judged.places])
    assert judged.shares is None
    assert judged.weights is None


def test_rows_near_are_the_nearest_by_pixels_or_by_columns_of_unit_variance(explored):
    for name in ("clf", "people"):
        training = explored(name).training
        spread = training.codes.std(axis=0)
        scale = np.where(spread > 0, spread, 1) if name == "people" else 1.0
        row = training.codes[17:18] + 0.01 * scale
        found = training.nearest(row, 3)[0]
        assert found[0] == 17
        apart = np.linalg.norm((training.codes - row) / scale, axis=1)
        assert apart[found].tolist() == sorted(apart[found].tolist())


def test_a_row_of_training_finds_itself_with_its_number(explored):
    explorer = explored("people")
    data = explorer.training.shown.take([5])
    html = explorer.upload_html("one.csv", _csv(data.frame))
    near = html[html.index("Nearest training rows") :]
    assert "<td>6</td>" in near, "rows are counted from 1"
    assert near.index("<td>6</td>") < near.index("</tr>", near.index("<tbody>"))


def test_a_table_is_explained_by_its_columns_and_the_planted_one_leads(explored):
    explorer = explored("people")
    frame = people(3, seed=4).set_column(4, "debt", [[60_000.0, 900.0, 900.0]])
    data = judge_data(explorer, frame)
    judged = judge(explorer.run, data, explorer.training)
    first = judged.places.tolist().index(0)
    shares = {name: values[first] for name, values in judged.shares.items()}
    assert max(shares, key=shares.get) == "debt"
    np.testing.assert_allclose(sum(shares.values()), 1)
    np.testing.assert_array_equal(judged.shares["debt"], shares_of(explorer.run, judged.shown)["debt"])


def judge_data(explorer, frame):
    from farout.explore.uploads import read_upload

    return read_upload(explorer.run, "a.csv", _csv(frame)).data


def _csv(frame):
    file = io.BytesIO()
    pyarrow.csv.write_csv(frame, file)
    return file.getvalue()


@pytest.mark.parametrize("name", ["deep", "linear"])
def test_archetypes_give_weights_and_no_score(explored, name):
    explorer = explored(name)
    (data,) = load_test_data(["digits:test"], None, run=explorer.run)
    judged = judge(explorer.run, data, None)
    assert judged.table is None
    assert judged.near is None
    model = explorer.run.model
    wanted = model.encode(data) if name == "deep" else model.transform(data.X)
    np.testing.assert_allclose(judged.weights, wanted[:SHOWN], atol=1e-6)
    assert judged.places.tolist() == list(range(SHOWN))


def test_a_flow_gives_scores_and_no_decision(explored):
    explorer = explored("flow")
    (data,) = load_test_data(["digits:test@0-2"], None, run=explorer.run)
    table = scores(explorer.run, data)
    assert table.decision is None
    assert table.p_value is None


def test_deviations_are_of_the_users_columns_in_standard_deviations(explored):
    explorer = explored("people")
    far = deviations(explorer.run, judge_data(explorer, people(50, seed=8)))
    assert far.shape == (50, 5)
    assert 0.3 < np.median(far[:, 0]) < 1.5
    strange = people(2, seed=8).set_column(0, "age", [[50, 5000]])
    assert deviations(explorer.run, judge_data(explorer, strange))[1, 0] > 50


def test_a_departure_from_a_constant_is_infinitely_far(tmp_path):
    X = np.column_stack([np.random.default_rng(0).normal(size=(60, 2)), np.full(60, 7.0)])
    fo.FlowDensity(max_steps=5, random_state=0).fit(X).save(tmp_path / "run")
    run = open_run(tmp_path / "run")
    data = fo.load_data(_saved(tmp_path, [[0.0, 0.0, 7.0], [0.0, 0.0, 8.0]]))
    assert deviations(run, data)[:, 2].tolist() == [0.0, np.inf]


def _saved(folder, rows):
    np.save(folder / "rows.npy", np.array(rows))
    return folder / "rows.npy"


def test_rows_that_the_run_kept_stand_in_for_training_rows_that_are_gone(tmp_path):
    X = np.random.default_rng(0).normal(size=(200, 3))
    detector = fo.FlowDetector(random_state=0).fit(X)
    kept = TrainingRows.of(Run(tmp_path, detector, None, None))
    assert len(kept) == len(detector.typical_rows_)
    assert kept.nearest(detector.typical_rows_[3:4], 1).tolist() == [[3]]
    flow = fo.FlowDensity(max_steps=5, random_state=0).fit(X)
    assert TrainingRows.of(Run(tmp_path, flow, None, None)) is None


def test_the_map_places_training_rows_where_it_shows_them(explored):
    for name, plane in (("clf", "separates classes best"), ("people", "largest variance")):
        explorer = explored(name)
        latent = explorer.latent_map
        assert plane in latent.plane
        codes = explorer.training.codes[latent.rows[:9]]
        np.testing.assert_allclose(latent.place(codes), latent.points[:9], atol=1e-4)
        assert latent.points.shape == (len(latent.rows), 2)


def test_classes_are_apart_on_the_map(explored):
    explorer = explored("clf")
    latent, y = explorer.latent_map, explorer.training.shown.y[explorer.latent_map.rows]
    centres = np.stack([latent.points[y == c].mean(axis=0) for c in np.unique(y)])
    spread = np.mean([latent.points[y == c].std(axis=0).mean() for c in np.unique(y)])
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2)[np.triu_indices(3, 1)]
    assert apart.min() > 1.5 * spread


def test_there_is_no_map_without_a_flow_without_rows_or_where_latents_need_a_class(explored):
    explorer = explored("clf")
    flow = flow_of(explorer.run.model)
    assert LatentMap.of(None, explorer.training) is None
    assert LatentMap.of(flow, None) is None
    needs = fo.FlowDensity(max_steps=5, class_dropout=0, event_shape=(1, 8, 8), random_state=0)
    data = fo.load_data("digits:train@0-1")
    assert LatentMap.of(needs.fit(data.X, data.y), explorer.training) is None


def test_a_model_that_neither_draws_nor_judges_has_nothing_to_explore(tmp_path, explored):
    source = fo.NormalShell(flow=flow_of(explored("flow").run.model)).fit(np.empty((0, 64)))
    with pytest.raises(fo.errors.RunError, match=r"nothing to explore: it holds a NormalShell.*farout fit"):
        Explorer(Run(tmp_path, source, None, None))
