"""The marks of a plugin: `@hookimpl` on the functions that yield what it offers."""

import pluggy

PROJECT = "altgrad"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
