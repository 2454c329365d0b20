"""Serve the pages on this machine until someone interrupts."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

from altgrad_core.errors import ManifestError, PluginError, RunError

HOST = "127.0.0.1"


def serve(directory: Path, *, port: int, began: Callable[[str], None]) -> None:
    """Serve until an interrupt.

    Args:
        port: of this machine; 0 takes a free one.
        began: is told the address once it answers.

    Raises:
        ManifestError: there is no such directory.
        PluginError: Dash is not installed.
        RunError: the port is taken.
    """
    if not directory.is_dir():
        raise ManifestError(f"{directory}: is not a directory; expected one that has runs or studies below it")
    try:
        from werkzeug.serving import make_server

        from altgrad_core.dashboard.app import build_app
        from altgrad_core.dashboard.sources import Sources
    except ModuleNotFoundError as error:
        raise PluginError(
            f'serve needs {error.name}, which is not installed; pip install "altgrad[dashboard]"'
        ) from None
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = build_app(Sources(directory.resolve()))
    try:
        listening = socket.create_server((HOST, port))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise RunError(f"--port {port}: {reason}; choose another one, or 0 for any that is free") from None
    server = make_server(HOST, port, app.server, threaded=True, fd=listening.detach())
    began(f"http://{HOST}:{server.port}/")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
