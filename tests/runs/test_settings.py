"""Settings: layers, TOML and the messages for what doesn't fit."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farout.runs.settings import (
    FitSettings,
    FlowSettings,
    SourceSettings,
    TrainSettings,
    layered,
    parse_strength,
    read_toml,
)
from farout.errors import InvalidSettingError


def test_toml_gives_the_same_settings_again():
    settings = TrainSettings(
        data="mnist:train@0-6",
        kind="classifier",
        seed=3,
        source=SourceSettings(name="gumbel", strength="2-4", law="author"),
        flow=FlowSettings(max_steps=10, noise=0.1, options={"coupling": "gin"}),
    )
    again = TrainSettings.from_mapping(tomllib.loads(settings.to_toml()))
    assert again == settings
    assert again.flow.options == {"coupling": "gin"}
    assert again.source.strength == "2-4"


def test_toml_leaves_out_what_is_not_set():
    assert "label" not in FitSettings(data="toy").to_toml()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"data": "toy", "sede": 1}, r"settings: unknown setting 'sede'; did you mean 'seed'\?"),
        ({"data": "toy", "flow": {"max_step": 1}}, r"unknown setting 'flow.max_step'; did you mean 'max_steps'\?"),
        ({"data": "toy", "flow": {"zzz": 1}}, r"unknown setting 'flow.zzz'; The settings here are: architecture"),
        ({"data": "toy", "seed": "1"}, r"seed = '1' can't be used: expected a valid integer"),
        ({"data": "toy", "flow": {"max_steps": 1.5}}, r"flow.max_steps = 1.5 can't be used: expected a valid integer"),
        ({"data": "toy", "training": {"devices": []}}, r"training.devices = \[\] can't be used"),
        ({"seed": 1}, r"the setting 'data' is missing"),
    ],
)
def test_what_does_not_fit_is_named(values, said):
    with pytest.raises(InvalidSettingError, match=said):
        FitSettings.from_mapping(values)


def test_a_wrong_choice_lists_the_right_ones():
    values = {"data": "toy", "kind": "classifier", "source": {"name": "gumble"}}
    with pytest.raises(
        InvalidSettingError,
        match=r"name = 'gumble' .*'real', 'archetypal', 'nullspace', 'collage', 'turned' or 'boundary'",
    ):
        TrainSettings.from_mapping(values, "run.toml")


def test_later_layers_win_and_none_never_does():
    defaults = {"seed": 0, "flow": {"noise": 0.1, "max_steps": 5}}
    file = {"seed": 1, "flow": {"max_steps": 7}}
    flags = {"seed": None, "flow": {"max_steps": None, "noise": 0.0}}
    assert layered(defaults, file, flags) == {"seed": 1, "flow": {"noise": 0.0, "max_steps": 7}}


def test_layers_are_left_as_they_were():
    base = {"flow": {"noise": 0.1}}
    layered(base, {"flow": {"noise": 0.2}})
    assert base == {"flow": {"noise": 0.1}}


@given(st.floats(0.01, 1e6), st.floats(0.01, 1e6))
def test_strengths_read_as_written(low, high):
    low, high = float(f"{low:f}"), float(f"{high:f}")
    assert parse_strength(f"{low:f}") == low
    assert parse_strength(f"{low:f}-{high:f}") == (low, high)


@pytest.mark.parametrize("text", ["strong", "", "1-2-3", "1-", "-2"])
def test_what_is_no_strength_is_refused(text):
    with pytest.raises(InvalidSettingError, match="neither a number above 0"):
        parse_strength(text)


def test_a_broken_file_names_its_line(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("seed = 1\nflow 3\n")
    with pytest.raises(InvalidSettingError, match=r"run.toml is no valid TOML: .*line 2"):
        read_toml(file)
    with pytest.raises(InvalidSettingError, match="no settings file"):
        read_toml(tmp_path / "absent.toml")
