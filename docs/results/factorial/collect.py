"""Collects the cells of a factorial study that ended, one a row.

    python docs/results/factorial/collect.py DIR > docs/results/factorial/tables/cells.csv

An arm is named by how its weights are stored and stepped: `weights` is their format; `step` is AdamW, or what the walk of
manifold-adamw is made of.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

COLUMNS = ("weights", "step", "rate", "seed", "steps", "status", "validation_loss", "seconds", "cell")
CONTROLS = {"rms": "RMS", "shuffled": "shuffled"}


def step_of(group: Mapping[str, Any]) -> str:
    """What the step of a resolved optimizer table is called: `AdamW`, `RMS`, `shuffled`, `E4M3 line` or `own line`."""
    if group["use"] == "adamw":
        return "AdamW"
    if group["use"] == "adamw-relative":
        return "AdamW, relative"
    if group["spacing"] != "own":
        assert group["geometry"] == "e4m3", group
        return CONTROLS[group["spacing"]]
    return f"{group['geometry'].upper()} line" if "geometry" in group else "own line"


def rows(study: Path) -> Iterator[tuple[Any, ...]]:
    """The cells that ended, in the order of the study."""
    for cell in json.loads((study / "cells.json").read_text())["cells"]:
        summary = study / cell["name"] / "summary.json"
        told = json.loads(summary.read_text()) if summary.exists() else {}
        if told.get("status") in ("finished", "diverged"):
            manifest = cell["manifest"]
            (group,) = manifest["optimizer"]["group"]
            place = (manifest["recipe"][0]["weight"]["format"], step_of(group), group["lr"], manifest["run"]["seed"])
            measured = (told["step"], told["status"], told["validation_loss"], told["seconds_in_this_process"])
            yield *place, *measured, cell["name"]


if __name__ == "__main__":
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows(Path(sys.argv[1])))
