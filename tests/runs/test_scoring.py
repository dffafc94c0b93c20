"""Scores of data under a run: as the model's own, by as few passes as need be."""

import numpy as np
import pytest

import farout as fo
from farout.runs.folder import open_run
from farout.runs.scoring import score_data

FLOW = fo.FlowDensity(max_steps=3, random_state=0)
MODELS = {
    "classifier": fo.CautiousClassifier(fo.NormalShell(flow=FLOW), max_steps=20, random_state=0),
    "discriminator": fo.OutlierDiscriminator(fo.NormalShell(flow=FLOW), max_steps=20, random_state=0),
}


@pytest.mark.parametrize("name", MODELS)
def test_each_row_goes_through_the_network_once(name, tmp_path):
    train, test = fo.load_data("toy:train"), fo.load_data("toy:test")
    run = open_run(MODELS[name].fit(train.X, train.y).save(tmp_path / "run"))
    seen = []
    run.model._inference_network().register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    table = score_data(run, test)
    assert sum(seen) == len(test.X)
    np.testing.assert_array_equal(table.score, run.model.score_samples(test.X))
    np.testing.assert_array_equal(table.p_value, run.model.p_values(test.X))
    if name == "classifier":
        np.testing.assert_array_equal(table.predicted, run.model.predict(test.X))
    else:
        assert table.predicted is None
