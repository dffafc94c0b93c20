"""The page: widgets of Panel around what `Explorer` makes. Each part redraws by itself, and says what went wrong."""

import logging
from collections.abc import Callable
from html import escape
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import panel as pn
from bokeh.models import ColumnDataSource, HoverTool
from bokeh.palettes import Category10_10
from bokeh.plotting import figure

from farout.errors import FaroutError
from farout.explore.drawing import AS_TRAINED
from farout.explore.explorer import Explorer
from farout.explore.latent_map import LatentMap
from farout.explore.mixing import Mixer, corners, weights_at
from farout.explore.showing import data_uri, message_html
from farout.explore.uploads import LARGEST, endings_for
from farout.explore.widgets import Triangle

__all__ = ["make_page"]

HERE = Path(__file__).parent
STYLE = (HERE / "parts.css").read_text(encoding="utf-8")
ARCHETYPE = 128  # pixels of its picture's longer side, at most
SOON = 15  # milliseconds in which the moves of a slider that wait in line become one
EVERY_CLASS, OWN_CLASS = "all classes", "the archetype's"
NULLSPACES = {"none": None, "as in the data": "fitted", "from N(0, I)": "normal"}

_log = logging.getLogger(__name__)


def make_page(explorer: Explorer) -> pn.Template:
    """The page of one visitor.

    Parameters
    ----------
    explorer : Explorer
        Shared by all visitors; what they choose is theirs alone.

    Returns
    -------
    panel.Template
    """
    pn.extension("filedropper")
    parts: dict[str, Any] = {}
    outliers = _OutlierPart(explorer) if explorer.drawers.names else None
    if outliers is not None:
        parts["Outliers"] = outliers.view
    if explorer.mixer is not None:
        parts["Archetypes"] = _ArchetypePart(explorer, explorer.mixer).view
    parts["Your data"] = _UploadPart(explorer).view
    latent = None if explorer.latent_map is None else _MapPart(explorer, explorer.latent_map, outliers)
    if latent is not None:
        parts["Map"] = latent.view
    tabs = pn.Tabs(*parts.items(), sizing_mode="stretch_width", stylesheets=[STYLE])
    if latent is not None:
        tabs.param.watch(lambda event: latent.show(list(parts)[event.new] == "Map"), "active")
    page = pn.Template((HERE / "page.html").read_text(encoding="utf-8"))
    page.add_panel("parts", tabs)
    page.add_variable("heading", f"Explore {explorer.run.path.name}")
    page.add_variable("told", explorer.title)
    return page


class _Soon:
    """Calls a function once for requests that come in quick succession, such as the steps of a slider that is moved.

    Without it, moves would wait in line while each is drawn, and pictures lag behind.
    """

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act
        self._waits = False

    def __call__(self, *_: Any) -> None:
        if pn.state.curdoc is None:  # no server around
            self._act()
        elif not self._waits:
            self._waits = True
            pn.state.curdoc.add_timeout_callback(self._run, SOON)

    def _run(self) -> None:
        self._waits = False
        self._act()


def _guarded(pane: pn.pane.HTML, act: Callable[[], None]) -> None:
    """Do something; what goes wrong is told in a pane, so that the page goes on."""
    try:
        act()
    except FaroutError as error:
        pane.object = message_html(str(error))
    except Exception as error:
        _log.exception("while the page was drawn")
        pane.object = message_html(
            f"Unexpected {type(error).__name__}: {error}. The terminal has more; please report it. The page goes on."
        )


def _pane() -> pn.pane.HTML:
    return pn.pane.HTML("", stylesheets=[STYLE], sizing_mode="stretch_width")


def _select(name: str, options: Any, **settings: Any) -> pn.widgets.Select:
    return pn.widgets.Select(label=name, options=options, width=150, **settings)


class _OutlierPart:
    """Outliers that follow a slider."""

    def __init__(self, explorer: Explorer) -> None:
        self.explorer, drawers = explorer, explorer.drawers
        self.drawn: Any = None  # what the map shows too
        self.listeners: list[Callable[[], None]] = []
        self.source = _select("source", list(drawers.names))
        self.dial = pn.widgets.FloatSlider(label="", sizing_mode="stretch_width", max_width=560, margin=(5, 10))
        self.label = _select("class", [EVERY_CLASS])
        self.seed = pn.widgets.IntInput(label="seed", value=0, start=0, end=10**9, width=110)
        self.about, self.told, self.shown = _pane(), _pane(), _pane()
        self._chosen()
        redraw = _Soon(self.redraw)
        for widget in (self.dial, self.label, self.seed):
            widget.param.watch(redraw, "value")
        self.source.param.watch(lambda _: self._chosen(), "value")
        self.source.param.watch(redraw, "value")
        self.redraw()
        controls = pn.FlexBox(self.source, self.label, self.seed)
        self.view = pn.Column(controls, self.about, self.dial, self.told, self.shown, sizing_mode="stretch_width")

    def _chosen(self) -> None:
        """Bring dial and classes to the source that was chosen."""
        drawers, name = self.explorer.drawers, self.source.value
        dial = drawers.dial(name)
        self.about.object = f"<p>{escape(name)}: {escape(drawers.help(name))}</p>"
        self.dial.visible = dial is not None
        if dial is not None and dial.label != self.dial.label:
            ends = {"start": dial.low, "end": dial.high, "step": dial.step, "value": dial.start}
            self.dial.param.update(label=dial.label, **ends)
        self._offer_classes()

    def _offer_classes(self) -> None:
        known = self.explorer.drawers.classes(self.source.value)
        options = [EVERY_CLASS, *map(str, known)]
        if options != self.label.options:
            kept = self.label.value if self.label.value in options else EVERY_CLASS
            self.label.param.update(options=options, value=kept)
        self.label.visible = bool(known)

    def redraw(self) -> None:
        """Draw with the settings as they are; a source that isn't fitted yet is fitted first, beside."""
        name = self.source.value
        if not self.explorer.drawers.is_ready(name):
            self.told.object, self.shown.object = "", message_html(f"Fitting the source {name} …", "note")
            self._fit(name)
            return
        _guarded(self.shown, self._draw)
        for listen in self.listeners:
            listen()

    def _draw(self) -> None:
        drawers, name = self.explorer.drawers, self.source.value
        self._offer_classes()
        known = {str(label): label for label in drawers.classes(name)}
        value = None if name == AS_TRAINED or drawers.dial(name) is None else self.dial.value
        self.drawn = None
        out = drawers.draw(name, value, known.get(self.label.value), int(self.seed.value or 0))
        self.shown.object, told = self.explorer.outliers_html(out)
        self.told.object = f'<p role="status">{escape(told)}</p>'
        self.drawn = out

    def _fit(self, name: str) -> None:
        document = pn.state.curdoc

        def show(error: Exception | None) -> None:
            if self.source.value != name:
                return

            def act() -> None:
                if error is not None:
                    raise error
                self.redraw()

            _guarded(self.shown, act)

        def work() -> None:
            error: Exception | None = None
            try:
                self.explorer.drawers.prepare(name)
            except Exception as caught:
                error = caught
            if document is not None:
                document.add_next_tick_callback(lambda: show(error))
            else:
                show(error)

        if document is None:
            work()
        else:
            Thread(target=work, daemon=True).start()


class _ArchetypePart:
    """A point among the archetypes, and the row that its mixture is."""

    def __init__(self, explorer: Explorer, mixer: Mixer) -> None:
        self.explorer, self.mixer = explorer, mixer
        self.triangle = self._triangle()
        self.label = _select("class", [OWN_CLASS, *map(str, mixer.classes)], visible=bool(mixer.classes))
        self.rest = _select("variety within a mixture", list(NULLSPACES), visible=mixer.has_nullspace)
        self.seed = pn.widgets.IntInput(label="seed of it", value=0, start=0, end=10**9, width=110, visible=False)
        self.about, self.told, self.shown = _pane(), _pane(), _pane()
        past = ", also out of the triangle" if mixer.k == 3 else ""
        self.about.object = f"<p>Drag the point{past}, or move it by the arrow keys.</p>"
        redraw = _Soon(self.redraw)
        self.triangle.param.watch(redraw, "point")
        for widget in (self.label, self.rest, self.seed):
            widget.param.watch(redraw, "value")
        self.redraw()
        size = {"width": 300} if explorer.is_image else {"sizing_mode": "stretch_width"}
        result = pn.Column(self.shown, self.told, **size)
        controls = pn.FlexBox(self.label, self.rest, self.seed)
        both = pn.FlexBox(self.triangle, result, align_items="center")
        self.view = pn.Column(self.about, controls, both, sizing_mode="stretch_width")

    def _triangle(self) -> Triangle:
        explorer, k, archetypes = self.explorer, self.mixer.k, np.asarray(self.mixer.model.archetypes_)
        shape = explorer.run.event_shape
        weights = explorer.training_weights() if k <= 3 else None  # with more corners, places and weights aren't one
        return Triangle(
            corners=corners(k).tolist(),
            names=self.mixer.names(),
            pictures=[data_uri(row, shape, explorer.ends, ARCHETYPE) for row in archetypes]
            if explorer.is_image
            else [],
            rows=[] if weights is None else (weights @ corners(k)).round(4).tolist(),
            width_policy="max",
            min_width=280,
            max_width=460,
        )

    def redraw(self) -> None:
        """Decode the mixture at the point."""
        self.seed.visible = NULLSPACES[self.rest.value] is not None
        _guarded(self.shown, self._draw)

    def _draw(self) -> None:
        x, y = (float(v) for v in self.triangle.point)
        weights = weights_at((x, y), self.mixer.k)
        known = {str(label): label for label in self.mixer.classes}
        rest = NULLSPACES[self.rest.value]
        row = self.mixer.decode(weights, known.get(self.label.value), rest, int(self.seed.value or 0))
        self.shown.object = self.explorer.mixture_html(row)
        told = ", ".join(f"{name}: {w:.2f}" for name, w in zip(self.mixer.names(), weights, strict=True))
        beyond = " Past the hull of the archetypes: an outlier." if weights.min() < -1e-6 else ""
        self.told.object = f'<p role="status">Weights {escape(told)}.{beyond}</p>'
        self.triangle.told = told


class _UploadPart:
    """A file of the visitor's own, and what the run says of it."""

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        self.drop = pn.widgets.FileDropper(
            max_file_size=f"{LARGEST // 10**6}MB", sizing_mode="stretch_width", max_width=560, min_height=96
        )
        self.shown = _pane()
        self.drop.param.watch(self._given, "value")
        what = (
            "An image, or an array of images" if explorer.is_image else "Rows of a table with the columns of training"
        )
        about = _pane()
        about.object = (
            f"<p>{what} ({', '.join(endings_for(explorer.run))}; {LARGEST // 10**6} MB at most). It stays on this "
            "machine.</p>"
        )
        self.view = pn.Column(about, self.drop, self.shown, sizing_mode="stretch_width")

    def _given(self, event: Any) -> None:
        if not event.new:
            self.shown.object = ""
            return
        name, content = list(event.new.items())[-1]
        _guarded(self.shown, lambda: self._judge(name, content))

    def _judge(self, name: str, content: bytes | str) -> None:
        given = content.encode() if isinstance(content, str) else bytes(content)
        self.shown.object = self.explorer.upload_html(name, given)


class _MapPart:
    """Training rows in a plane of latent space, with the outliers that were drawn last."""

    def __init__(self, explorer: Explorer, latent: LatentMap, outliers: _OutlierPart | None) -> None:
        self.map, self.outliers, self.shown = latent, outliers, False
        plot = figure(
            sizing_mode="stretch_width", height=520, tools="pan,wheel_zoom,box_zoom,reset", toolbar_location="above"
        )
        plot.toolbar.update(logo=None, active_drag=None)  # so that a finger on the map still moves the page
        plot.xaxis.axis_label, plot.yaxis.axis_label = "first direction", "second direction"
        points = explorer.map_points()
        labels = points.pop("label")
        dots = []
        for k, label in enumerate(np.unique(labels)):
            of = labels == label
            source = ColumnDataSource({name: values[of] for name, values in points.items()})
            named = {"legend_label": label} if label else {}
            dots.append(plot.scatter(source=source, size=7, alpha=0.7, color=Category10_10[k % 10], **named))
        self.crosses = ColumnDataSource({"x": [], "y": []})
        cross = {"marker": "x", "size": 11, "line_width": 2.5, "color": "black", "legend_label": "outliers"}
        plot.scatter(source=self.crosses, **cross)
        picture = '<img src="@image" alt="" style="width:64px;image-rendering:pixelated">' if explorer.is_image else ""
        plot.add_tools(
            HoverTool(renderers=dots, limit=3, tooltips=f"<div>{picture}<div>@text</div><div>@cells</div></div>")
        )
        plot.legend.update(click_policy="hide", ncols=4)
        plot.add_layout(plot.legend[0], "below")
        if outliers is not None:
            outliers.listeners.append(self._follow)
        self.told = _pane()
        self.told.object = (
            f"<p>Latents of {len(labels)} training rows in {latent.plane}; crosses are the outliers drawn last. Hover "
            "or tap a point to see its row.</p>"
        )
        self.view = pn.Column(self.told, pn.pane.Bokeh(plot, sizing_mode="stretch_width"), sizing_mode="stretch_width")

    def show(self, shown: bool) -> None:
        """Whether the map is looked at; while it isn't, nothing is encoded for it."""
        self.shown = shown
        self._follow()

    def _follow(self) -> None:
        if self.shown:
            _guarded(self.told, self._place)

    def _place(self) -> None:
        drawn = None if self.outliers is None else self.outliers.drawn
        places = np.empty((0, 2)) if drawn is None else self.map.place(drawn.x)
        self.crosses.data = {"x": places[:, 0], "y": places[:, 1]}
