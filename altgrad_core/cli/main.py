"""The program `altgrad`: its commands, and what it says and returns when something is wrong."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import suppress
from typing import Annotated

import typer

from altgrad_core.cli.advise import advise
from altgrad_core.cli.check import check
from altgrad_core.cli.diagnose import diagnose
from altgrad_core.cli.evaluate import evaluate
from altgrad_core.cli.export import export
from altgrad_core.cli.init import init
from altgrad_core.cli.list_plugins import list_plugins
from altgrad_core.cli.new_plugin import new_plugin
from altgrad_core.cli.report import report
from altgrad_core.cli.resume import resume
from altgrad_core.cli.run import run
from altgrad_core.cli.runs import runs
from altgrad_core.cli.schema import schema
from altgrad_core.cli.serve import serve
from altgrad_core.cli.show import show
from altgrad_core.cli.terminal import say
from altgrad_core.cli.track import track
from altgrad_core.cli.train_tokenizer import train_tokenizer
from altgrad_core.errors import AltgradError, RunError
from altgrad_core.text import printable

NO_THREAD = "can't start new thread"  # what Python says where the limit of processes is reached

app = typer.Typer(
    name="altgrad",
    help="Train in any 8-bit floating-point format, with weight updates that know its geometry, and see what happens.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    init, run, resume, check, evaluate, advise, runs, diagnose, report, serve, track, export, show, list_plugins, new_plugin, schema,
    train_tokenizer,
):  # fmt: skip
    app.command(command.__name__.replace("_", "-"))(command)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from altgrad_core import __version__

        say(f"altgrad {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of every command."""


def main() -> None:
    """Entry point. Exit codes: 1 an environment error, 2 the manifest or command line is wrong; see docs/commands.md for the others."""
    try:
        _obey()
    except SystemExit as end:
        _leave_the_stuck(end)
        raise


def _obey() -> None:
    """Do what the command line says; every failure it can explain ends in an exit code."""
    warnings.formatwarning = lambda message, *_, **__: f"altgrad: warning: {printable(str(message))}\n"
    try:
        app()
    except AltgradError as error:
        say(f"altgrad: {error}", err=True)
        sys.exit(1 if isinstance(error, RunError) else 2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        say(f"altgrad: {error.filename or 'output'}: {error.strerror}", err=True)
        sys.exit(1)
    except MemoryError:
        say(
            "altgrad: out of memory; free some memory, raise the limit (ulimit -v), or use a smaller model or batch",
            err=True,
        )
        sys.exit(1)
    except RuntimeError as error:
        if NO_THREAD not in str(error):
            raise
        say("altgrad: no thread can be started; end other programs, or raise the limit (ulimit -u)", err=True)
        sys.exit(1)
    except ImportError as error:
        say(f"altgrad: a library cannot be loaded: {error}; is it complete, and is there enough memory?", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _leave_the_stuck(end: SystemExit) -> None:
    """End at once where a tracker hangs, for the interpreter would wait for whatever it has started."""
    threads = sys.modules.get("altgrad_core.records.tracker_thread")  # without it there was no tracker
    if threads is not None and threads.is_any_stuck():
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))


if __name__ == "__main__":
    main()
