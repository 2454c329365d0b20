"""AltGrad: train in any 8-bit floating-point format, with updates that know its geometry, and see what happens.

Its public names are those of `__init__.pyi`, each loaded when it is first used: importing it imports
no torch, and nothing at all before the program can be interrupted.
"""

__version__ = "0.2.0"


def __getattr__(name: str) -> object:
    _attach()
    return globals()["__all__"] if name == "__all__" else globals()["__getattr__"](name)


def __dir__() -> list[str]:
    _attach()
    return list(globals()["__all__"])


def _attach() -> None:
    """Put the names of the stub, and what loads them, in place of these functions."""
    import lazy_loader

    load, names, public = lazy_loader.attach_stub(__name__, __file__)
    globals().update(__getattr__=load, __dir__=names, __all__=public)
