"""Look up every plugin a manifest names and validate its options; everything knowable before a tensor exists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from altgrad_core.contracts.actions import BEFORE_THE_UPDATE, ROLES
from altgrad_core.contracts.events import Backpropagated
from altgrad_core.contracts.intervention import RUN_READINGS, Intervention
from altgrad_core.manifest.explain import Problems, validated
from altgrad_core.manifest.lines import Location
from altgrad_core.manifest.load import ManifestFile
from altgrad_core.manifest.recipe_schema import RecipeTable
from altgrad_core.manifest.schema import Manifest
from altgrad_core.registry.registry import Registry, suggestion
from altgrad_core.running.assembly.finder import Finder
from altgrad_core.running.assembly.plausibility import contradictions
from altgrad_core.running.assembly.resolved import Evaluation, Resolved
from altgrad_core.running.assembly.tables import Tables
from altgrad_core.running.model.recipe import Rule


def resolve(source: ManifestFile, registry: Registry) -> Resolved:
    """The resolved manifest.

    Raises:
        ManifestError: an unknown name, a bad option, an intervention that reads what nothing reports, what can
            never come about.
    """
    find, problems = Finder(source, registry), Problems()
    with problems.noted():
        manifest = validated(Manifest, source.data, source)
    if source.data.get("executor") is not None:
        problems.messages.append(
            str(find.error(("executor",), "trains the cells of a study; this manifest has no [matrix]"))
        )
    parts = _parts(find, Tables.of(source.data), problems)
    problems.refuse()
    resolved = Resolved(source=source, manifest=manifest, registry=registry, plugins=(), **parts)
    for index, intervention in enumerate(resolved.interventions):
        with problems.noted():
            _check_intervention(resolved, ("intervention", index), intervention)
        for target in intervention.names_formats():
            key = ("to",) if getattr(intervention, "to", None) == target else ()
            with problems.noted():
                _check_target(resolved, ("intervention", index, *key), target, find)
    for index, monitor in enumerate(resolved.monitors):
        for name in monitor.names_formats():
            with problems.noted():
                if find.format(name, ("monitor", index)).is_identity:
                    raise resolved.error(("monitor", index), f'"{name}" is the identity: nothing is rounded to it')
    for location, spec in resolved.optimizers():
        for name in spec.names_formats():
            written = [(*location, option) for option, value in spec if value == name] or [location]
            with problems.noted():
                if find.format(name, written[0]).is_identity:
                    raise resolved.error(written[0], f'"{name}" is the identity: it has no grid to step along')
    problems.refuse()
    for location, message in contradictions(resolved):
        problems.messages.append(str(resolved.error(location, message)))
    problems.refuse()
    return replace(resolved, plugins=tuple(find.used.values()))


def _parts(find: Finder, tables: Tables, problems: Problems) -> dict[str, Any]:
    """Everything that the tables of a manifest name; what is wrong with any of them goes to `problems`."""
    parts: dict[str, Any] = {}
    if tables.model is not None:
        with problems.noted():
            parts["model"] = find.model(tables.model)
    if tables.data is not None:
        with problems.noted():
            parts["data"] = find.options("dataset", tables.data, ("data",))
    if tables.optimizer is not None:
        with problems.noted():
            parts["optimizer"] = find.optimizer(tables.optimizer, ("optimizer",))
        with problems.noted():
            parts["groups"] = find.groups(tables.optimizer)
    parts["rules"] = _rules(find, tables.recipe, ("recipe",), problems)
    parts["evaluations"] = tuple(
        Evaluation(name, _rules(find, recipe, ("evaluate", index, "recipe"), problems))
        for index, (name, recipe) in enumerate(tables.evaluate)
    )
    names = [name for name, _ in tables.evaluate]
    for index, name in enumerate(names):
        if name and (first := names.index(name)) < index:
            text = f'"{name}" is the name of evaluate[{first}] too; each [[evaluate]] needs one of its own'
            problems.messages.append(str(find.error(("evaluate", index, "name"), text)))
    for kind in ("monitor", "intervention", "tracker"):
        members = []
        for index, table in enumerate(getattr(tables, kind)):
            if table is not None:
                with problems.noted():
                    members.append(find.options(kind, table, (kind, index)))
        parts[f"{kind}s"] = tuple(members)
    return parts


def _rules(
    find: Finder, tables: Sequence[RecipeTable | None], location: Location, problems: Problems
) -> tuple[Rule, ...]:
    rules = []
    for index, table in enumerate(tables):
        if table is not None:
            with problems.noted():
                rules.append(find.rule(table, (*location, index)))
    return tuple(rules)


def _check_intervention(resolved: Resolved, location: Location, intervention: Intervention) -> None:
    name = type(intervention).name
    early = [action.__name__ for action in intervention.acts if action in BEFORE_THE_UPDATE]
    for reads in intervention.wants():
        events = {monitor.on for monitor in resolved.monitors if reads in monitor.readings()}
        events |= {RUN_READINGS[reads]} if reads in RUN_READINGS else set()
        if not events:
            hint = _who_reports(resolved, reads)
            raise resolved.error(location, f'{name} reads "{reads}", which nothing reports{hint}')
        if early and events != {Backpropagated}:
            raise resolved.error(
                location,
                f'{name} acts with {early[0]}, which comes too late after "{reads}"; it needs a Backpropagated reading',
            )


def _check_target(resolved: Resolved, location: Location, target: str, find: Finder) -> None:
    """A format to switch to must be one of the recipe or installed, and have a grid."""
    quantizers = (q for rule in resolved.rules for role in ROLES if (q := getattr(rule, role)) is not None)
    of_recipe = {quantizer.target.name: quantizer.target for quantizer in quantizers}
    result = of_recipe.get(target.lower()) or find.format(target, location)
    if result.is_identity:
        raise resolved.error(location, f'"{target}" is the identity: nothing can be switched to it')


def _who_reports(resolved: Resolved, reading: str) -> str:
    able = [e.name for e in resolved.registry if e.kind == "monitor" and reading in [r.name for r in e.item.declared()]]
    if able:
        return f'; add [[monitor]] use = "{able[0]}"'
    known: Sequence[str] = sorted({*RUN_READINGS, *(name for m in resolved.monitors for name in m.readings())})
    return suggestion(reading, known)
