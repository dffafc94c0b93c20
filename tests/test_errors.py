"""The kinds of errors are also the built-in errors that people catch."""

import pickle

import pytest
import sklearn.exceptions

import farout as fo
from farout import errors

KINDS = {
    "InvalidDataError": ValueError,
    "InvalidTypeError": TypeError,
    "InvalidSettingError": ValueError,
    "DataNotFoundError": FileNotFoundError,
    "ReadingOptionError": ValueError,
    "NotFittedError": sklearn.exceptions.NotFittedError,
    "DivergedError": ArithmeticError,
    "RunError": ValueError,
}


def test_every_kind_is_listed_here():
    assert set(errors.__all__) == {*KINDS, "FaroutError"}


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_is_farouts_and_the_built_in(name):
    kind = getattr(errors, name)
    assert issubclass(kind, fo.FaroutError)
    assert issubclass(kind, KINDS[name])
    assert str(kind("what, where, what to do")) == "what, where, what to do"
    assert str(pickle.loads(pickle.dumps(kind("across processes")))) == "across processes"  # joblib's workers do this


def test_an_unfitted_estimator_is_caught_as_scikit_learns():
    for model in (fo.FlowDensity(), fo.FlowDetector(), fo.OutlierDiscriminator(), fo.CautiousClassifier()):
        with pytest.raises(sklearn.exceptions.NotFittedError):
            model.score_samples([[0.0, 1.0]])
