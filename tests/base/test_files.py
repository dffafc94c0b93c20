"""Files that are there whole or not at all, and folders that one process at a time works in."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from farout.base.files import PART, beside, is_part, locked, put, remove_folder, remove_parts, write_atomically
from farout.errors import RunError

HOLD = """
import sys, time
from pathlib import Path
from farout.base.files import beside, locked
folder = Path(sys.argv[1])
with locked(folder, "run"), beside(folder / "a.csv") as part:
    part.write_text("half")
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """A process that works in the folder, and has written half of a file."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_failure_leaves_what_was_there(tmp_path):
    (tmp_path / "a.csv").write_text("before")

    def failing(part):
        part.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "a.csv", failing)
    assert names(tmp_path) == ["a.csv"]
    assert (tmp_path / "a.csv").read_text() == "before"


@pytest.mark.parametrize("there", [True, False])
def test_what_a_link_points_to_is_written(tmp_path, there):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "b.csv", tmp_path / "a.csv"
    if there:
        target.write_text("before")
    link.symlink_to(target)
    write_atomically(link, lambda part: part.write_text("after"))
    assert link.is_symlink()
    assert target.read_text() == "after"
    assert [path.name for path in (*tmp_path.iterdir(), *target.parent.iterdir())].count("b.csv") == 1
    assert not any(is_part(path) for path in (*tmp_path.iterdir(), *target.parent.iterdir()))


def test_a_full_disk_says_for_which_file(tmp_path):
    def write(part):
        raise OSError(errno.ENOSPC, "No space left on device")  # as a write has it, which knows no name

    with pytest.raises(OSError, match="No space left") as told:
        write_atomically(tmp_path / "a.csv", write)
    assert told.value.filename == str(tmp_path / "a.csv")


def test_what_a_killed_process_left_is_taken_over(tmp_path, other):
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert names(tmp_path) == [f".a.csv{PART}"]
    write_atomically(tmp_path / "a.csv", lambda part: part.write_text("whole"))
    assert names(tmp_path) == ["a.csv"]
    assert (tmp_path / "a.csv").read_text() == "whole"


def test_a_folder_that_another_process_works_in_is_refused_until_it_is_gone(tmp_path, other):
    with pytest.raises(RunError, match=r"another process is making a run there; wait"), locked(tmp_path, "run"):
        pass
    remove_parts(tmp_path)  # what is being written stays
    assert names(tmp_path) == [f".a.csv{PART}"]
    other.send_signal(signal.SIGKILL)
    other.wait()
    with locked(tmp_path, "run"):
        remove_parts(tmp_path)
    assert names(tmp_path) == []


def test_a_folder_is_refused_to_another_thread_of_the_process(tmp_path):
    told = []

    def second():
        try:
            with locked(tmp_path, "run"):
                pass
        except RunError as error:
            told.append(str(error))

    with locked(tmp_path, "run"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(told) == 1
    with locked(tmp_path, "run"):
        pass


def test_writers_of_one_file_take_turns(tmp_path):
    """Each finds an empty file, though all of them have one name for it."""
    path, found = tmp_path / "a.csv", []

    def write(part):
        found.append(part.stat().st_size)
        part.write_text("x" * 1000)
        time.sleep(0.01)

    threads = [threading.Thread(target=write_atomically, args=(path, write)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [0] * 8
    assert names(tmp_path) == ["a.csv"]
    assert path.stat().st_size == 1000


def test_what_is_beside_is_put_into_place_only_when_asked(tmp_path):
    with beside(tmp_path / "a") as first, beside(tmp_path / "b") as second:
        first.write_text("1")
        second.write_text("2")
        put(first, tmp_path / "a")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_a_folder_loses_its_name_before_its_files(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoints"
    (folder / "flow").mkdir(parents=True)
    (folder / "flow" / "last.ckpt").write_text("")

    def killed(path, ignore_errors=False):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda path, ignore_errors: killed(path) if os.path.exists(path) else None)
        with pytest.raises(KeyboardInterrupt):
            remove_folder(folder)
    assert names(tmp_path) == [f".checkpoints{PART}"]
    assert is_part(next(tmp_path.iterdir()))
    remove_folder(folder)
    assert names(tmp_path) == []
