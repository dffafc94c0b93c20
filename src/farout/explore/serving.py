"""Serves the page on this machine alone: bound to 127.0.0.1, for pages that come from there."""

import errno
import socket
from typing import Any

from panel.io.server import get_server

from farout.errors import RunError
from farout.explore.explorer import Explorer
from farout.explore.page import make_page

__all__ = ["HOST", "free_port", "make_server"]

HOST = "127.0.0.1"


def free_port(port: int = 0) -> int:
    """The port, if it can be served on, or some free one for 0.

    Raises
    ------
    RunError
        If it is taken, or can't be used.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            why = "is taken by another program" if error.errno == errno.EADDRINUSE else f"can't be used ({error})"
            raise RunError(f"--port {port} {why}; choose another, or leave --port out for a free one.") from error
        return int(probe.getsockname()[1])


def make_server(explorer: Explorer, port: int) -> tuple[Any, str]:
    """A server of the page, which serves once its ``io_loop`` is started.

    Parameters
    ----------
    explorer : Explorer
    port : int
        From `free_port`.

    Returns
    -------
    server : bokeh.server.server.Server
    address : str
        Of the page.
    """
    server = get_server(
        {"/": lambda: make_page(explorer)},
        port=port,
        address=HOST,
        websocket_origin=[f"{HOST}:{port}", f"localhost:{port}"],
        title=f"farout explore {explorer.run.path.name}",
        start=False,
        show=False,
    )
    server.start()
    return server, f"http://{HOST}:{port}/"
