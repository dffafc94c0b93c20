"""
A model behind FastAPI
======================

A service that answers rows with scores, p-values and decisions, from an ONNX file alone: neither farout nor torch.

This example serves until you stop it, so it is shown here and not run:

.. code-block:: console

   farout export runs/clf --out model.onnx
   pip install fastapi uvicorn onnxruntime
   MODEL=model.onnx uvicorn --app-dir examples serve_fastapi:app --workers 4
   curl localhost:8000 -H "Content-Type: application/json" \\
     -d '{"columns": ["alcohol", "ash"], "data": [[13.2, 2.4]]}'
"""

import json
import os
from typing import Annotated

import numpy as np
import onnxruntime
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

# %%
# A worker opens the file once, when it starts. One thread each: many small requests are better shared among workers.
# The file's metadata hold what the model knows of its rows, each entry as JSON.

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
path = os.environ.get("MODEL", "model.onnx")
session = onnxruntime.InferenceSession(path, options)
metadata = session.get_modelmeta().custom_metadata_map
model = {name: json.loads(value) for name, value in metadata.items()}
width = int(np.prod(model["event_shape"]))

# %%
# A graph gives no errors: a NaN would get the decision -1. So rows are checked before: the number of their columns,
# that each cell is a number which float32 can hold, and how many they are, for memory grows with the batch. A service
# reads a body whole before it is checked: limit its bytes in the proxy before it.

Cell = Annotated[float, Field(strict=True, ge=-3.4e38, le=3.4e38, allow_inf_nan=False)]
Row = Annotated[list[Cell], Field(min_length=width, max_length=width)]


class Rows(BaseModel):
    """What pandas writes as ``frame.to_json(orient="split")``."""

    columns: list[str] | None = None
    data: Annotated[list[Row], Field(min_length=1, max_length=1000)]


# %%
# Names of columns guard against rows in another order. ``score`` is higher for more normal rows; ``decision`` is +1 for
# inliers and -1 for outliers; ``probabilities`` of a classifier are in the order of ``classes``.

app = FastAPI(title=f"{model['model']} of farout {model['farout']}")


@app.get("/")
def about() -> dict:
    """Columns, classes, threshold and version of the model."""
    return model


@app.post("/")
def judge(rows: Rows) -> dict[str, list]:
    """Score, p-value and decision of each row, and of a classifier probabilities."""
    if model["columns"] is not None and rows.columns != model["columns"]:
        raise HTTPException(422, f"columns: expected {model['columns']}")
    given = np.asarray(rows.data, np.float32).reshape(-1, *model["event_shape"])
    found = session.run(None, {"rows": given})
    names = [output.name for output in session.get_outputs()]
    return {name: values.tolist() for name, values in zip(names, found, strict=True)}


# %%
# A bad row is told in one line, such as ``body.data.0.3: Input should be a valid number``. FastAPI's own answer
# repeats the rows, and fails on a NaN, which JSON can't hold.


@app.exception_handler(RequestValidationError)
def refuse(request: Request, error: RequestValidationError) -> JSONResponse:
    """The first of what is wrong, and where."""
    wrong = error.errors()[0]
    place = ".".join(map(str, wrong["loc"]))
    return JSONResponse({"detail": f"{place}: {wrong['msg']}"}, 422)
