"""The promise of `test_far_away` for models as they come: every flow, trial and forest at its full length."""

import pytest
from test_far_away import DATA, MODELS, accepted, far_rows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("whole_choices")]


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("name", MODELS)
def test_at_ten_sigma_and_beyond_next_to_nothing_passes(name, data):
    X, y = DATA[data]()
    model = MODELS[name]().fit(X, None if name in ("detector", "discriminator") else y)
    assert accepted(model, X) > 0.85
    for sigmas in (10, 100, 1e6):
        assert accepted(model, far_rows(X, sigmas)) <= 0.01
