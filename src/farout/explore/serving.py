"""Serves the page on this machine alone: bound to 127.0.0.1, for pages that come from there."""

import errno
import socket
from collections.abc import Callable
from typing import Any

from panel.io.server import get_server

from farout.errors import RunError
from farout.explore.explorer import Explorer
from farout.explore.page import make_page

__all__ = ["HOST", "make_server"]

HOST = "127.0.0.1"


def make_server(explorer: Explorer, port: int = 0) -> tuple[Any, str]:
    """A server of the page, bound but not yet running.

    Parameters
    ----------
    explorer : Explorer
    port : int
        A free one is found where it is 0.

    Returns
    -------
    server : bokeh.server.server.Server
        ``server.run_until_shutdown()`` serves until the process is interrupted.
    address : str
        Of the page.

    Raises
    ------
    RunError
        If the port is taken, or can't be used.
    """
    port = _free_port(port)
    origins = [f"{HOST}:{port}", f"localhost:{port}"]
    page: Callable[[], Any] = lambda: make_page(explorer)  # noqa: E731
    server = get_server(
        {"/": page},
        port=port,
        address=HOST,
        websocket_origin=origins,
        title=f"farout explore {explorer.run.path.name}",
        start=False,
        show=False,
    )
    return server, f"http://{HOST}:{port}/"


def _free_port(port: int) -> int:
    """The port, or a free one for 0; an error where it can't be bound."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            why = "is taken by another program" if error.errno == errno.EADDRINUSE else f"can't be used ({error})"
            raise RunError(f"--port {port} {why}; choose another, or leave --port out for a free one.") from error
        return int(probe.getsockname()[1])
