"""Settings: layers, TOML and the messages for what doesn't fit."""

import inspect
import tomllib
from typing import get_args

import pytest

import farout as fo
from farout.errors import InvalidSettingError
from farout.flows.architectures import ARCHITECTURES
from farout.runs.settings import (
    OLD_NAMES,
    ClassifierSettings,
    DetectorSettings,
    DiscriminatorSettings,
    FitSettings,
    FlowSettings,
    SourceSettings,
    layered,
    read_settings,
    settings_of,
)


def test_toml_gives_the_same_settings_again():
    settings = ClassifierSettings(
        data="mnist:train@0-6",
        seed=3,
        source=SourceSettings(name="gumbel", strength="2-4", law="author"),
        flow=FlowSettings(max_steps=10, noise=0.1, options={"coupling": "gin"}),
    )
    again = settings_of(tomllib.loads(settings.to_toml()), "run.toml")
    assert again == settings
    assert again.flow.options == {"coupling": "gin"}
    assert again.source.options == {"strength": (2.0, 4.0), "law": "author"}


def test_toml_leaves_out_what_is_not_set():
    assert "label" not in FitSettings(data="toy").to_toml()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"data": "toy", "sede": 1}, r"settings: unknown setting 'sede'; did you mean 'seed'\?"),
        ({"data": "toy", "flow": {"max_step": 1}}, r"unknown setting 'flow.max_step'; did you mean 'max_steps'\?"),
        ({"data": "toy", "flow": {"zzz": 1}}, r"unknown setting 'flow.zzz'; The settings here are: architecture"),
        ({"data": "toy", "seed": "1"}, r"seed = '1' can't be used: expected an integer"),
        ({"data": "toy", "flow": {"max_steps": 1.5}}, r"flow.max_steps = 1.5 can't be used: expected an integer"),
        ({"data": "toy", "training": {"devices": []}}, r"devices = \[\] can't be used: expected an integer or auto"),
        ({"data": "toy", "training": {"tensorboard": 1}}, r"tensorboard = 1 can't be used: expected true or false"),
        ({"data": 3}, r"data = 3 can't be used: expected a text"),
        ({"data": "toy", "flow": 3}, r"flow = 3 can't be used: expected a section"),
        ({"data": "toy", "flow": {"max_steps": -1}}, r"flow.max_steps = -1 can't be used: expected more than 0"),
        ({"seed": 1}, r"the setting 'data' is missing"),
    ],
)
def test_what_does_not_fit_is_named(values, said):
    with pytest.raises(InvalidSettingError, match=said):
        FitSettings.from_mapping(values)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            {"name": "gumble"},
            "source = 'gumble' .*recommended, normal, .*collage, turned, salient, scrambled, boundary",
        ),
        ({"strength": "zwei"}, "--strength zwei: 'zwei' is not a number, such as 2.5, or a range"),
        ({"name": "normal", "law": "exact"}, "--law has no meaning for the source 'normal'"),
        ({"strenght": 2}, r"unknown setting 'source.strenght'; did you mean 'strength'\?"),
        (3, r"source = 3 can't be used: expected a section"),
    ],
)
def test_a_source_that_can_not_be_made_is_refused_with_its_options(source, said):
    values = {"data": "toy", "kind": "classifier", "source": source}
    with pytest.raises(InvalidSettingError, match=f"run.toml: {said}"):
        settings_of(values, "run.toml")


def test_a_source_without_a_name_is_told_by_its_options():
    assert SourceSettings().name == "recommended"
    assert SourceSettings(strength=3.0).name == "normal"


def test_settings_of_an_earlier_version_are_those_of_today(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text('data = "toy"\nkind = "discriminator"\n[model]\nkind_weight = 0.5\nmismatched = false\n')
    model = settings_of(read_settings(file), "f").model
    assert (model.auxiliary_weight, model.one_vs_rest) == (0.5, False)
    file.write_text('data = "toy"\nkind = "detector"\n[source]\nname = "normal"\nstrength = "3"\n')
    assert isinstance(settings_of(read_settings(file), "f"), DetectorSettings)


@pytest.mark.parametrize(
    ("section", "home"),
    [
        (FlowSettings, "FlowDensity"),
        (ClassifierSettings.model_fields["model"].annotation, "CautiousClassifier"),
        (DiscriminatorSettings.model_fields["model"].annotation, "OutlierDiscriminator"),
        (DetectorSettings.model_fields["model"].annotation, "FlowDetector"),
    ],
)
def test_defaults_are_those_of_the_estimators(section, home):
    known = inspect.signature(getattr(fo, home)).parameters
    for name, field in section.model_fields.items():
        theirs = "score_by" if name == "score" else name
        theirs = theirs if theirs in known else OLD_NAMES[name]
        default = {} if name == "options" else field.default
        assert default == ({} if name == "options" else known[theirs].default), name


def test_architectures_are_those_there_are():
    assert get_args(FlowSettings.model_fields["architecture"].annotation) == ("auto", *ARCHITECTURES)


def test_later_layers_win_and_none_never_does():
    defaults = {"seed": 0, "flow": {"noise": 0.1, "max_steps": 5}}
    file = {"seed": 1, "flow": {"max_steps": 7}}
    flags = {"seed": None, "flow": {"max_steps": None, "noise": 0.0}}
    assert layered(defaults, file, flags) == {"seed": 1, "flow": {"noise": 0.0, "max_steps": 7}}


def test_layers_are_left_as_they_were():
    base = {"flow": {"noise": 0.1}}
    layered(base, {"flow": {"noise": 0.2}})
    assert base == {"flow": {"noise": 0.1}}


def test_a_broken_file_names_its_line(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("seed = 1\nflow 3\n")
    with pytest.raises(InvalidSettingError, match=r"run.toml can.t be read as TOML .*line 2"):
        read_settings(file)
    with pytest.raises(InvalidSettingError, match="no settings file"):
        read_settings(tmp_path / "absent.toml")
