"""The page without a browser: what its widgets show, what they say when something is wrong, and who may see it."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest
from test_uploads import GOOD, picture, table

import farout as fo
from farout.cli import main
from farout.explore.explorer import Explorer
from farout.runs.folder import open_run

pn = pytest.importorskip("panel", reason='Panel is not installed: pip install "farout[explore]"')

from farout.explore import page as pages  # noqa: E402
from farout.explore.serving import HOST, free_port, make_server  # noqa: E402


def outlier_part(explored, name):
    return pages._OutlierPart(explored(name))


def test_moving_the_slider_redraws_and_tells_the_strength(explored):
    part = outlier_part(explored, "clf")
    seen = {part.shown.object}
    for value in (1.0, 4.0, 8.0):
        part.dial.value = value
        assert part.drawn.strength[0] == value
        seen.add(part.shown.object)
    assert len(seen) == 4
    assert "sigma from the centre" in part.told.object
    assert "of 16 outliers" in part.told.object


def test_seed_and_class_redraw_too(explored):
    part = outlier_part(explored, "clf")
    first = part.shown.object
    part.seed.value = 3
    assert part.shown.object != first
    assert part.label.options == ["all classes", "0", "1", "2"]
    part.label.value = "1"
    assert set(part.drawn.y.tolist()) == {1}


def test_a_source_brings_its_own_dial_or_none(explored):
    part = outlier_part(explored, "deep")
    part.source.value = "archetypal"
    assert "concentration" in part.dial.label
    assert part.dial.value == 0.3
    assert part.drawn.strength[0] == pytest.approx(0.3)
    part.source.value = "turned"
    assert not part.dial.visible
    assert "training images, turned" in part.about.object
    part.source.value = "gumbel"
    assert part.dial.visible
    assert (part.dial.start, part.dial.end) == (0.5, 10.0)
    assert part.drawn.strength[0] == 2.5


def test_the_source_of_training_is_shown_as_it_was(explored):
    part = outlier_part(explored, "clf")
    part.source.value = "as trained"
    assert not part.dial.visible
    assert part.drawn.strength[0] == 3.0
    assert "NormalShell" in part.about.object


def test_a_source_that_cant_be_fitted_says_why_and_the_page_goes_on(runs, tmp_path):
    explorer = Explorer(open_run(runs / "flow"))
    part = pages._OutlierPart(explorer)
    explorer.run.settings.__dict__["data"] = str(tmp_path / "gone.csv")
    part.source.value = "exchange"
    assert 'class="problem"' in part.shown.object
    assert "gone.csv" in part.shown.object
    part.source.value = "normal"
    assert part.shown.object.count("<img") == 16


def test_what_nobody_expected_is_a_message_too(explored, monkeypatch, caplog):
    part = outlier_part(explored, "clf")
    monkeypatch.setattr(part.explorer.drawers, "draw", lambda *a: 1 / 0)
    part.seed.value = 9
    assert "Unexpected ZeroDivisionError" in part.shown.object
    assert "Traceback" in caplog.text, "for whoever looks into the terminal"
    assert part.drawn is None
    monkeypatch.undo()
    part.seed.value = 10
    assert part.shown.object.count("<img") == 16


def test_moving_the_point_decodes_the_mixture(explored):
    explorer = explored("deep")
    part = pages._ArchetypePart(explorer, explorer.mixer)
    seen = {part.shown.object}
    for point in ([0.0, 1.0], [0.5, -0.4], [0.0, -0.9]):
        part.triangle.point = point
        seen.add(part.shown.object)
    assert len(seen) == 4
    assert "Past the hull" in part.told.object
    part.triangle.point = [0.0, 1.0]
    assert "1.00" in part.triangle.told
    assert "Past the hull" not in part.told.object
    before = part.shown.object
    part.label.value = "2"
    assert part.shown.object != before
    before = part.shown.object
    part.rest.value = "as in the data"
    assert part.seed.visible
    assert part.shown.object != before


def test_a_point_that_is_no_point_is_a_message(explored):
    explorer = explored("deep")
    part = pages._ArchetypePart(explorer, explorer.mixer)
    part.triangle.point = [float("nan"), 0.0]
    assert 'class="problem"' in part.shown.object
    part.triangle.point = [0.0, 0.0]
    assert "<img" in part.shown.object


def test_linear_archetypes_have_no_class_and_no_nullspace(explored):
    explorer = explored("linear")
    part = pages._ArchetypePart(explorer, explorer.mixer)
    assert not part.label.visible
    assert not part.rest.visible
    assert len(part.triangle.pictures) == 4


def drop(part, name, content):
    part.drop.value = {name: content}
    return part.shown.object


def test_an_upload_is_judged_and_the_next_one_too_whatever_is_wrong_between(explored):
    part = pages._UploadPart(explored("clf"))
    assert "Nearest training rows" in drop(part, "a.png", picture())
    said = drop(part, "b.png", b"nothing")
    assert 'class="problem"' in said
    assert "b.png can&#x27;t be read as an image" in said
    assert "Unexpected" not in said
    assert "p-value" in drop(part, "c.png", picture(colour=3))
    part.drop.value = {}
    assert part.shown.object == ""


def test_text_that_the_widget_decoded_is_read_as_the_bytes_it_was(explored):
    part = pages._UploadPart(explored("people"))
    assert "Zürich" in drop(part, "a.csv", table([[*GOOD[:2], "Zürich", *GOOD[3:]]]).decode())
    assert "Shares of columns" in part.shown.object


def test_crosses_follow_the_outliers_once_the_map_is_looked_at(explored):
    explorer = explored("clf")
    outliers = pages._OutlierPart(explorer)
    part = pages._MapPart(explorer, explorer.latent_map, outliers)
    outliers.dial.value = 5.0
    assert len(part.crosses.data["x"]) == 0
    part.show(True)
    near = part.crosses.data["x"]
    assert len(near) == 16
    outliers.dial.value = 1.0
    assert abs(part.crosses.data["x"]).mean() < abs(near).mean()


def names_of(page):
    return page._render_items["parts"][0]._names


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("clf", ["Outliers", "Your data", "Map"]),
        ("deep", ["Outliers", "Archetypes", "Your data", "Map"]),
        ("linear", ["Outliers", "Archetypes", "Your data"]),
        ("people", ["Outliers", "Your data", "Map"]),
    ],
)
def test_the_page_has_the_parts_that_the_run_has_something_for(explored, name, parts):
    assert names_of(pages.make_page(explored(name))) == parts


def test_a_model_saved_in_python_without_its_rows_has_what_needs_none(tmp_path):
    flow = fo.FlowDensity(max_steps=5, random_state=0).fit(people_numbers())
    flow.save(tmp_path / "run")
    assert names_of(pages.make_page(Explorer(open_run(tmp_path / "run")))) == ["Outliers", "Your data"]


def people_numbers():
    from people_table import people

    return people(100).select(["age", "income"])


# --- the server ------------------------------------------------------------------------------------------------------


def get(address):
    with urllib.request.urlopen(address, timeout=60) as answer:
        return answer.read().decode()


def test_the_page_fetches_nothing_from_elsewhere(served):
    address = served("deep")
    assert re.fullmatch(rf"http://{re.escape(HOST)}:\d+/", address)
    html = get(address)
    sources = re.findall(r"""(?:src|href)=["']([^"']*)["']""", html)
    assert len(sources) > 5
    for source in sources:
        assert not re.match(r"(\w+:)?//", source), f"{source} is not of this server"
        if source.endswith((".js", ".css")) or "?v=" in source:
            assert get(address + source.removeprefix("./")), source
    assert not re.search(r"cdn\.|unpkg|jsdelivr|googleapis|gstatic", html)


@pytest.mark.parametrize(
    ("origin", "status"), [("http://evil.example", 403), ("http://127.0.0.1:1", 403), (None, 101), ("here", 101)]
)
def test_the_websocket_is_for_pages_of_this_server_alone(served, origin, status):
    address = served("deep")
    assert handshake(address, address.rstrip("/") if origin == "here" else origin, get(address)) == status


def handshake(address, origin, html):
    """Status of an attempt to open the page's websocket, from a page of some other place or of none."""
    token = re.search(r'"token":"([^"]+)"', html)[1]
    host = address.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(host, timeout=20)
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol": f"bokeh, {token}",
    }
    connection.request("GET", "/ws", headers=headers | ({} if origin is None else {"Origin": origin}))
    try:
        return connection.getresponse().status
    finally:
        connection.close()


def test_only_this_machine_can_connect(explored):
    port = free_port()
    server, _ = make_server(explored("flow"), port)
    try:
        hosts = {bound.getsockname()[0] for bound in server._http._sockets.values()}
        assert hosts == {"127.0.0.1"}
    finally:
        server.stop()


def test_a_port_that_is_taken_is_said_before_anything_is_read(runs, capsys):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["explore", str(runs / "flow"), "--port", str(port)]) == 1
    assert f"--port {port} is taken by another program; choose another" in capsys.readouterr().err


def test_the_command_says_what_is_missing(runs, tmp_path, capsys, monkeypatch):
    assert main(["explore", str(tmp_path / "none")]) == 1
    assert "no such run folder" in capsys.readouterr().err
    monkeypatch.setattr("farout.cli.explore.importlib.util.find_spec", lambda name: None)
    assert main(["explore", str(runs / "flow")]) == 1
    assert 'pip install "farout[explore]"' in capsys.readouterr().err


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_it_serves_until_it_is_told_to_stop(started, sign, code):
    address, process = started("flow")
    assert "Explore flow" in get(address)
    process.send_signal(sign)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert out == ""


def test_the_browser_is_opened_unless_it_is_not_wanted(explored, runs, monkeypatch):
    opened = []
    monkeypatch.setattr("farout.cli.explore.webbrowser.open", opened.append)
    monkeypatch.setattr("tornado.platform.asyncio.BaseAsyncIOLoop.start", lambda loop: None)
    assert main(["explore", str(runs / "flow"), "--no-browser"]) == 0
    assert opened == []
    assert main(["explore", str(runs / "flow")]) == 0
    assert opened[0].startswith(f"http://{HOST}:")


def test_nothing_but_the_page_needs_panel():
    code = (
        "import sys, farout.cli.app, farout.runs.story, farout.explore.explorer; print([m for m in sys.modules if m in"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code} ('panel', 'bokeh', 'param', 'tornado')])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout.replace("'", '"')) == []


def test_visitors_draw_at_the_same_time_from_one_explorer(explored):
    """Each draw sets its own dial on a copy of the source."""
    drawers, found = explored("flow").drawers, {}

    def work(strength):
        for _ in range(10):
            found.setdefault(strength, set()).add(drawers.draw("normal", strength, seed=1).x.tobytes())
            time.sleep(0)

    threads = [threading.Thread(target=work, args=(p,)) for p in (1.0, 3.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(found[p]) for p in (1.0, 3.0)] == [1, 1]
