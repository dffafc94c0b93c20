"""
A run packaged by MLflow
========================

A saved run becomes a model of MLflow: logged with its columns and packages, loaded and served as any other.

This example needs MLflow, so it is shown here and not run:

.. code-block:: console

   pip install mlflow
   python examples/package_mlflow.py
   mlflow models serve --model-uri models:/outliers/1
"""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel

import farout as fo
from farout.detectors.calibration import conformal

# %%
# MLflow asks a model by ``predict``. What is packaged is a copy of this file, in which ``set_model`` names the model,
# and the run folder: no pickle. Frames with text, dates and missing cells are checked and encoded by farout, as in
# training.


class Outliers(PythonModel):
    """Score, p-value and decision of each row."""

    def load_context(self, context):
        """Load the run, once."""
        self.detector = fo.load(context.artifacts["run"])

    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:
        """Judge a frame."""
        score = self.detector.score_samples(model_input)  # once: it is the costly part
        p_value = conformal(score, self.detector.calibration_scores_)
        decision = np.where(score >= self.detector.offset_, 1, -1)
        return pd.DataFrame({"score": score, "p_value": p_value, "decision": decision})


mlflow.models.set_model(Outliers())

# %%
# MLflow takes the names and types of columns from the example rows, and refuses other ones. ``pip_requirements`` pins
# farout: a run is read by the version that wrote it. ``mlflow.pyfunc.save_model(path=...)`` writes the same to a
# folder, without a tracking server.


def main() -> None:
    """Fit, save, log, load again and compare."""
    from sklearn.datasets import load_wine

    wines = load_wine(as_frame=True).data
    detector = fo.FlowDetector("likelihood", random_state=0).fit(wines[:120])
    with tempfile.TemporaryDirectory() as folder:
        info = mlflow.pyfunc.log_model(
            name="outliers",
            registered_model_name="outliers",
            python_model=__file__,
            artifacts={"run": str(detector.save(Path(folder) / "run"))},
            input_example=wines[:2],
            pip_requirements=[f"farout=={fo.__version__}"],
        )
    again = mlflow.pyfunc.load_model(info.model_uri).predict(wines)
    same = np.array_equal(again["score"], detector.score_samples(wines))
    print(f"the same after logging and loading: {same}")


if __name__ == "__main__":
    main()
