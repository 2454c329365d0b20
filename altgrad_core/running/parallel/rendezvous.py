"""What the environment tells of the processes that train one run, as torchrun and `altgrad run --processes` set it."""

from __future__ import annotations

import os
import socket
import sys
import time

from altgrad_core.errors import ManifestError

FILE = "ALTGRAD_RENDEZVOUS"
"""The environment variable with the file by which processes of one machine find each other."""
PATIENCE = 300.0
"""Seconds in which process 0 must accept a connection: machines do not start at the same moment."""
QUIET = 10.0
"""Seconds of waiting that need no explanation."""
USED = "(torchrun and altgrad run --processes set it; unset WORLD_SIZE for a run on one process)"


def size() -> int:
    """How many processes train the run; 1 where nothing is said.

    Raises:
        ManifestError: WORLD_SIZE is no whole number above 0.
    """
    return _number("WORLD_SIZE", least=1) if "WORLD_SIZE" in os.environ else 1


def rank() -> int:
    """The number of this process.

    Raises:
        ManifestError: RANK is missing, or not below WORLD_SIZE.
    """
    found, count = _number("RANK", least=0), size()
    if found >= count:
        raise ManifestError(f"RANK: is {found}, and WORLD_SIZE is {count}; expected a number below it {USED}")
    return found


def attempt() -> int:
    """How often torchrun has started these processes anew, where all of them know the same number; else 0.

    torchrun has one store for all attempts: a new process was seen to read the address of one that was gone. On several machines
    each torchrun counts for itself.
    """
    is_alone = os.environ.get("GROUP_WORLD_SIZE") == "1"
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) if is_alone else 0


def method(rank: int) -> str:
    """How torch.distributed finds the other processes: by a file, or by the address of process 0, which answers.

    Raises:
        ManifestError: neither is given, or nothing answers at that address.
    """
    if FILE in os.environ:
        return f"file://{os.environ[FILE]}"
    host, port = _text("MASTER_ADDR"), _number("MASTER_PORT", least=1, most=2**16 - 1)
    try:
        socket.getaddrinfo(host, port)
    except socket.gaierror as error:
        raise ManifestError(f"MASTER_ADDR: no machine {host} is known here: {error.strerror}") from None
    if rank:
        _reach(host, port)
    return "env://"


def _reach(host: str, port: int) -> None:
    """Wait until process 0 accepts a connection."""
    began, has_told = time.monotonic(), False
    while True:
        try:
            socket.create_connection((host, port), timeout=QUIET).close()
            return
        except OSError as error:
            waited = time.monotonic() - began
            if waited > PATIENCE:
                raise ManifestError(
                    f"MASTER_ADDR, MASTER_PORT: process 0 cannot be reached at {host}:{port}: {error}; is it running, "
                    "and does a firewall let this machine connect to it?"
                ) from None
        if waited > QUIET and not has_told:
            has_told = True
            print(
                f"altgrad: waiting for process 0 at {host}:{port}, {PATIENCE:g} s at most", file=sys.stderr, flush=True
            )
        time.sleep(0.2)


def _text(name: str) -> str:
    if not (given := os.environ.get(name)):
        raise ManifestError(f"{name}: is missing, and WORLD_SIZE is {os.environ['WORLD_SIZE']} {USED}")
    return given


def _number(name: str, *, least: int, most: int = 2**31) -> int:
    given = _text(name)
    if not given.isdecimal() or not least <= int(given) <= most:
        raise ManifestError(f'{name}: is "{given}"; expected a whole number from {least} to {most} {USED}')
    return int(given)
