"""Find and load every plugin of the entry-point group, one at a time, so that a broken one harms nobody else."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from inspect import isclass
from types import FrameType
from typing import Any

import pluggy

import altgrad_core
from altgrad_core.contracts import hookspecs
from altgrad_core.contracts.options import Options
from altgrad_core.contracts.plugin import PROJECT
from altgrad_core.errors import AltgradError, PluginError, place_of, reason_of
from altgrad_core.registry.kinds import KINDS
from altgrad_core.registry.process_settings import kept_settings
from altgrad_core.text import printable

CORE_DISTRIBUTION = "altgrad"
ONLY = "ALTGRAD_LOAD_PLUGINS"
SLOW = 3.0
"""Seconds after which it is said which plugin is being loaded."""


@dataclass(frozen=True)
class Offer:
    """One thing a plugin offers."""

    kind: str
    name: str
    item: Any


@dataclass(frozen=True)
class Plugin:
    """One entry point and what came of loading it; `broken` holds the reason where it failed."""

    name: str
    distribution: str
    version: str
    offers: tuple[Offer, ...] = ()
    broken: str | None = None
    seconds: float = field(default=0.0, compare=False)
    loads_torch: bool = False
    package: str = ""
    """The name of the package, or the module, that the entry point names."""

    @property
    def source(self) -> str:
        """`distribution version (entry point)`, as messages name it."""
        return f"{self.distribution} {self.version} ({self.name})"


def discover(points: Iterable[EntryPoint] | None = None) -> list[Plugin]:
    """Load every plugin, those of the core's own distribution first.

    Args:
        points: entry points to load; by default the installed ones of the group `altgrad`, without the third-party
            ones that the environment variable ALTGRAD_LOAD_PLUGINS leaves out, if it is set.
    """
    result = _installed() if points is None else points
    with _interrupts() as interrupts, _without_collection():
        plugins = [_load(point, interrupts) for point in sorted(result, key=_order)]
    return list(_without_clashes(plugins))


def _installed() -> list[EntryPoint]:
    points = entry_points(group=PROJECT)
    chosen = os.environ.get(ONLY)
    if chosen is None:
        return list(points)
    names = {name.strip() for name in chosen.split(",")}
    return [p for p in points if _distribution(p) == CORE_DISTRIBUTION or {p.name, _distribution(p)} & names]


def _order(point: EntryPoint) -> tuple[bool, str, str]:
    return _distribution(point) != CORE_DISTRIBUTION, _distribution(point), point.name


def _distribution(point: EntryPoint) -> str:
    return _metadata(point.dist)[0]


@lru_cache(maxsize=1024)
def _metadata(distribution: Distribution | None) -> tuple[str, str]:
    """The name and version, read from the disk once; a half-removed distribution has none."""
    if distribution is None:
        return "unknown", "unknown"
    with suppress(FileNotFoundError):  # of importlib_metadata, which replaces Python's finder once a library imports it
        return distribution.name or "unknown", distribution.version or "unknown"
    return "unknown", "unknown"


def _requirements(distribution: Distribution | None) -> list[str]:
    with suppress(FileNotFoundError):
        return list(distribution.requires or ()) if distribution else []
    return []


def _load(point: EntryPoint, interrupts: Sequence[int]) -> Plugin:
    version = _metadata(point.dist)[1]
    had_torch, start = "torch" in sys.modules, time.perf_counter()
    offers: tuple[Offer, ...] = ()
    broken, changed = None, list[str]()
    try:
        with (
            redirect_stdout(sys.stderr),
            warnings.catch_warnings(),
            _told_if_slow(point),
            kept_settings(changed),
        ):  # stdout is for results
            warnings.simplefilter("ignore", UserWarning)  # pydantic's, of a field that shadows: told as a missing name
            if point.pattern.match(point.value) is None:
                raise PluginError(f'the entry point "{point.value}" is not of the form "module" or "module:attribute"')
            _refuse_another_version(point)
            found = tuple(_offers_of(point.load()))
            if _distribution(point) != CORE_DISTRIBUTION:
                _refuse_impossible_options(found)
            offers = found
    except BaseException as error:  # a plugin is code of a plugin: whatever it raises is its own failure
        if interrupts:
            raise
        broken = _reason(error)
    if changed:
        told = f"the plugin {_distribution(point)} ({point.name}) set the {', the '.join(changed)} while loading; AltGrad has undone that"
        print(printable(f"altgrad: warning: {told}"), file=sys.stderr)
    return Plugin(
        name=point.name,
        distribution=_distribution(point),
        version=version,
        offers=offers,
        broken=broken,
        seconds=time.perf_counter() - start,
        loads_torch="torch" in sys.modules and not had_torch,
        package=point.value.partition(":")[0].partition(".")[0].strip(),
    )


def _refuse_another_version(point: EntryPoint) -> None:
    """A plugin that was made for other versions of AltGrad is not run: what it needs may be missing or mean another thing."""
    if _distribution(point) == CORE_DISTRIBUTION:
        return
    from packaging.requirements import InvalidRequirement, Requirement

    for text in _requirements(point.dist):
        try:
            needed = Requirement(text)
        except InvalidRequirement:
            continue  # of whatever package; an installer has seen it
        if needed.name != CORE_DISTRIBUTION or (
            needed.marker is not None and not needed.marker.evaluate({"extra": ""})
        ):
            continue
        here = altgrad_core.__version__
        if not needed.specifier.contains(here, prereleases=True):
            raise PluginError(
                f"needs {CORE_DISTRIBUTION} {needed.specifier}, and this is {here}; install a version that fits"
            )


def _offers_of(module: object) -> Iterator[Offer]:
    """What one plugin offers, every item checked."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(module)
    _refuse_unknown_hooks(module)
    manager.check_pending()
    implemented = manager.get_hookcallers(module) or []
    if not implemented:
        raise PluginError("no hook is implemented: mark a function such as altgrad_formats with @hookimpl")
    for caller in implemented:
        kind = next(kind for kind in KINDS.values() if kind.hook == caller.name)
        for implementation in caller.get_hookimpls():
            items: Any = implementation.function()
            if not isinstance(items, Iterable):
                raise TypeError(f"{caller.name} returned {items!r}; expected an iterable: yield each item")
            for item in items:
                yield Offer(kind.name, kind.check(item), item)


def _refuse_impossible_options(offers: Iterable[Offer]) -> None:
    """Options whose types pydantic cannot check; our own are tried in tests, which makes every command faster."""
    for offer in offers:
        if isclass(offer.item) and issubclass(offer.item, Options):
            try:
                offer.item.model_rebuild()
            except Exception as error:
                why = " ".join(reason_of(error).split()).partition(" For further information")[0]
                raise PluginError(
                    f"{offer.kind} {offer.name}: the types of its options cannot be checked: {why}"
                ) from error


def _refuse_unknown_hooks(module: object) -> None:
    """A function marked as a hook that there is not."""
    hooks = [kind.hook for kind in KINDS.values()]
    for name in dir(module):
        marked = getattr(getattr(module, name), f"{PROJECT}_impl", None)
        if marked is not None and (marked.get("specname") or name) not in hooks:
            requested = marked.get("specname") or name
            near = get_close_matches(requested, hooks, n=1)
            guess = f'did you mean "{near[0]}"?' if near else f"there is {', '.join(hooks)}"
            raise PluginError(f"unknown hook '{requested}'; {guess}")


def _reason(error: BaseException) -> str:
    """One line: the type and text of the failure."""
    kind, _, text = " ".join(reason_of(error).split()).partition(":")
    text = text.strip()
    if isinstance(error, SystemExit):
        return f"called sys.exit({text}) while loading"
    if isinstance(error, pluggy.PluginValidationError | AltgradError):
        return text
    place = "" if isinstance(error, SyntaxError) else place_of(error)  # whose text names it
    return f"{kind}: {text}{place}" if text else f"{kind}{place}"


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """The signals of a person that come meanwhile; without them, KeyboardInterrupt is what a plugin raised."""
    came: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    is_main_thread = threading.current_thread() is threading.main_thread()
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or not is_main_thread:
        yield came
        return
    signal.signal(signal.SIGINT, receive)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def _without_collection() -> Iterator[None]:
    """No garbage collection: classes are made and none is dropped, and looking for garbage among them takes a tenth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def _told_if_slow(point: EntryPoint) -> Iterator[None]:
    """Say which plugin is being loaded where that takes long; it may never end."""
    message = f"altgrad: still loading the plugin {_distribution(point)} ({point.name}) after {SLOW:g} s"
    timer = threading.Timer(SLOW, lambda: print(printable(message), file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _without_clashes(plugins: list[Plugin]) -> Iterator[Plugin]:
    """Names are unique within a kind: the core's own stay; of two other plugins that claim one name, both are broken."""
    claims: dict[tuple[str, str], list[Plugin]] = {}
    for plugin in plugins:
        for offer in plugin.offers:
            claims.setdefault((offer.kind, offer.name), []).append(plugin)
    for plugin in plugins:
        reason = next(
            (r for offer in plugin.offers if (r := _clash(plugin, offer, claims[offer.kind, offer.name]))), None
        )
        if reason is None:
            yield plugin
        else:
            yield Plugin(plugin.name, plugin.distribution, plugin.version, broken=reason, seconds=plugin.seconds)


def _clash(plugin: Plugin, offer: Offer, claimants: list[Plugin]) -> str | None:
    owner = claimants[0] if claimants[0].distribution == CORE_DISTRIBUTION else None
    if len(claimants) == 1 or (owner is plugin and claimants.count(plugin) == 1):
        return None
    others = [claimant.source for claimant in claimants if claimant is not plugin] or [f"{plugin.source} itself"]
    return f'the {offer.kind} name "{offer.name}" is also offered by {", ".join(others)}'
