"""AltGrad: train in any 8-bit floating-point format, with updates that know its geometry, and see what happens.

Its public names are those of `__init__.pyi`, each loaded when it is first used: importing it imports
no torch.
"""

import lazy_loader

__version__ = "0.2.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
