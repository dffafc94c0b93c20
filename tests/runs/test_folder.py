"""Run folders: taken, begun, failed, finished."""

import pytest

import farout as fo
from farout.errors import InvalidDataError, RunError
from farout.runs.fitting import fit_flow
from farout.runs.folder import CONFIG, begun_run, flow_of, open_run
from farout.runs.settings import FitSettings, FlowSettings, SourceSettings, TrainingSettings
from farout.runs.sources import make_source

SETTINGS = FitSettings(data="toy", flow=FlowSettings(max_steps=3))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fit_flow(SETTINGS, tmp_path_factory.mktemp("runs") / "flow").run


def test_a_run_opens_as_it_was_finished(run):
    again = open_run(run.path)
    assert again.settings == SETTINGS
    assert again.record == run.record
    assert again.record.feature_names == ("x1", "x2")
    assert again.event_shape == (2,)


def test_a_model_saved_in_python_is_a_run_without_settings(run, tmp_path):
    run.model.save(tmp_path / "plain")
    again = open_run(tmp_path / "plain")
    assert again.settings is None
    assert again.record is None
    assert again.kind == "FlowDensity"


def test_rows_of_another_shape_are_refused(run):
    with pytest.raises(InvalidDataError, match=r"\(1, 8, 8\).* shape \(2,\)"):
        run.rows_of(fo.load_data("digits"))


def fail(out, error, *, checkpoint):
    with begun_run(out, SETTINGS) as begun:
        folder = begun.training("flow").checkpoint_dir
        assert folder == out / "checkpoints" / "flow"
        if checkpoint:
            folder.mkdir()
            (folder / "last.ckpt").write_text("")
        raise error


def test_a_failure_before_the_first_checkpoint_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        fail(tmp_path / "a" / "b", ZeroDivisionError, checkpoint=False)
    assert not list(tmp_path.iterdir())


def test_a_failure_after_a_checkpoint_can_be_resumed(tmp_path):
    out = tmp_path / "r"
    with pytest.raises(ZeroDivisionError):
        fail(out, ZeroDivisionError, checkpoint=True)
    with pytest.raises(RunError, match=r"--resume.*--force"), begun_run(out, SETTINGS):
        pass
    with pytest.raises(RunError, match="unfinished"):
        open_run(out)


def test_data_that_can_not_be_used_leave_no_checkpoint(tmp_path):
    out = tmp_path / "r"
    with pytest.raises(InvalidDataError):
        fail(out, InvalidDataError, checkpoint=True)
    assert not list(tmp_path.iterdir())


def test_other_files_are_never_mixed_up(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="no run"), begun_run(tmp_path, SETTINGS, force=True):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_tensorboard_goes_to_the_run(tmp_path):
    pytest.importorskip("tensorboard")
    asked = TrainingSettings(tensorboard=True)
    with begun_run(tmp_path / "r", SETTINGS.model_copy(update={"training": asked})) as begun:
        where = begun.training("flow")
        begun.finish(fo.FlowDensity(max_steps=1, training=where).fit([[0.0, 1], [1, 0], [2, 3]]), fo.load_data("toy"))
    assert list((tmp_path / "r" / "log" / "flow").glob("events.out.*"))
    assert fo.load(tmp_path / "r").training.log_dir is None


def test_the_flow_is_found_wherever_it_is(run):
    flow = run.model
    source = fo.Mixture([fo.NormalShell(2.0, flow), fo.GumbelShell(2.0, flow=flow)]).fit([[0.0, 1], [1, 0]])
    assert flow_of(flow) is flow
    assert flow_of(source) is flow
    assert flow_of(fo.RealOutliers([[0.0, 1]]).fit([[0.0, 1]])) is None


def test_sources_are_what_the_settings_say():
    source = make_source(SourceSettings(name="gumbel", strength=3, law="author", covariance="class"), None)
    assert isinstance(source, fo.GumbelShell)
    assert (source.strength, source.law, source.covariance) == (3.0, "author", "class")
    assert make_source(SourceSettings(covariance="class"), None).strength == 2.5
    assert type(make_source(SourceSettings(), None)) is fo.Recommended


def cut_off(begun, model):
    """A run that ends with checkpoints there."""
    folder = begun.training("flow").checkpoint_dir
    folder.mkdir()
    (folder / "last.ckpt").write_text("")
    begun.finish(model, fo.load_data("toy"))


def test_a_run_that_is_replaced_is_never_whole_halfway(run, tmp_path, monkeypatch):
    """A kill between two files leaves an unfinished run, and not old weights under new settings."""
    from pathlib import Path

    out = tmp_path / "r"
    fit_flow(SETTINGS, out)
    replace = Path.replace

    def killed(self, target):
        if self.parent.name == "whole" and self.name == "settings.toml":
            replace(self, target)
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    other = SETTINGS.model_copy(update={"seed": 5})
    with pytest.raises(KeyboardInterrupt), begun_run(out, other, force=True) as begun:
        cut_off(begun, run.model)
    assert not (out / CONFIG).exists()
    with pytest.raises(RunError, match="unfinished"):
        open_run(out)


def test_no_path_of_checkpoints_is_kept_wherever_a_model_is(run, tmp_path):
    with begun_run(tmp_path / "r", SETTINGS) as begun:
        where = begun.training("flow")
        flow = fo.FlowDensity(max_steps=1, training=where, verbose=True)
        source = fo.Mixture([fo.NormalShell(2.0, flow), fo.GumbelShell(2.0, flow=flow)])
        model = fo.OutlierDiscriminator(source, max_steps=1, training=begun.training("model"))
        data = fo.load_data("toy:test")
        begun.finish(model.fit(data.X), data)
    assert str(tmp_path) not in (tmp_path / "r" / CONFIG).read_text()


def test_a_run_that_another_process_makes_is_not_begun_again(tmp_path):
    out = tmp_path / "r"
    with begun_run(out, SETTINGS) as begun:
        for change in ({}, {"force": True}, {"resume": True}):
            with (
                pytest.raises(RunError, match="another process is making a run there"),
                begun_run(out, SETTINGS, **change),
            ):
                pass
        assert (out / "checkpoints" / "settings.toml").is_file()
        begun.finish(fo.FlowDensity(max_steps=1).fit([[0.0, 1], [1, 0], [2, 3]]), fo.load_data("toy"))
    assert open_run(out).kind == "FlowDensity"
