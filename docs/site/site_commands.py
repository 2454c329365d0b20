"""The page of commands: what `altgrad COMMAND --help` says, from the same program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from altgrad_core.cli.main import app


def commands_page() -> str:
    """Every command with its arguments and options."""
    group = typer.main.get_command(app)
    parts = ["# Commands\n\nEvery command has `--help`. This page is made from the program itself.\n"]
    parts += [_command(name, command) for name, command in group.commands.items()]  # type: ignore[attr-defined]
    return "\n".join(parts)


def _command(name: str, command: Any) -> str:
    context = typer.Context(command, info_name=f"altgrad {name}")
    usage = command.get_usage(context).removeprefix("Usage: ")
    rows = list(_rows(command.params, context))
    table = ["| argument or option | meaning |", "|---|---|", *rows] if rows else []
    return "\n".join([f"## altgrad {name}\n", f"```text\n{usage}\n```\n", f"{_plain(command.help)}\n", *table, ""])


def _rows(parameters: Any, context: Any) -> Iterator[str]:
    for parameter in parameters:
        if parameter.name in ("install_completion", "show_completion"):
            continue
        names = parameter.opts + parameter.secondary_opts
        shown = names if parameter.param_type_name == "option" else [(parameter.metavar or parameter.name).upper()]
        default = parameter.default
        is_told = (
            parameter.param_type_name == "option"
            and default not in (None, False, True, (), [])
            and not callable(default)
        )
        ending = f" Default: `{default}`." if is_told else ""
        ending += " Required." if parameter.required else ""
        yield f"| {', '.join(f'`{name}`' for name in shown)} | {_cell(getattr(parameter, 'help', None))}{ending} |"


def _plain(text: str | None) -> str:
    return (text or "").replace("\f", "").replace("\\[", "[").strip()


def _cell(text: str | None) -> str:
    return " ".join(_plain(text).split()).replace("|", "\\|")
