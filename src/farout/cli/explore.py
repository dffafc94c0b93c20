"""``farout explore``: a page in the browser to play with a run."""

import importlib.util
import sys
import webbrowser
from typing import Annotated

import typer

from farout.cli import options as o
from farout.cli.console import console

__all__ = ["explore"]

Port = Annotated[
    int,
    typer.Option(
        "--port", show_envvar=False, min=0, max=65535, metavar="PORT", help="Where to serve.", show_default="a free one"
    ),
]
Browser = Annotated[
    bool,
    typer.Option("--browser/--no-browser", show_envvar=False, help="Open the page in the browser.", show_default="yes"),
]


def explore(run: o.RunArgument, port: Port = 0, browser: Browser = True, data_root: o.DataRoot = None) -> None:
    """Example: farout explore runs/clf

    Serve a page to play with a run, until Ctrl-C: outliers that follow a slider of strength, mixtures of archetypes
    with a point to drag, files of your own with scores and reasons, a map of latent space. What the run doesn't hold
    is left out. Only this machine can open the page, and nothing is fetched from elsewhere.
    Needs the extra: pip install "farout[explore]".
    """
    from farout.errors import FaroutError
    from farout.runs.folder import open_run

    if importlib.util.find_spec("panel") is None:
        raise FaroutError(
            'farout explore needs Panel, which isn\'t installed; install it by: pip install "farout[explore]"'
        )
    from farout.explore.explorer import Explorer
    from farout.explore.serving import free_port, make_server

    port = free_port(port)
    with console.stage(f"reading {run} and its data"):
        explorer = Explorer(open_run(run), data_root)
    server, address = make_server(explorer, port)
    console.result(address)
    sys.stdout.flush()  # it may be read by a program, and the page stays
    console.message("serving until Ctrl-C")
    if browser:
        webbrowser.open(address)
    try:
        server.io_loop.start()
    except KeyboardInterrupt:  # Ctrl-C is how it ends
        if console.terminated:
            raise console.interrupted("the page is closed.") from None
        console.message("the page is closed")
    finally:
        server.stop()
