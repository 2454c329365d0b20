"""The laws that every plugin keeps, one call for each kind of plugin, for the tests of plugin authors.

```python
from altgrad_core.testing import check_optimizer


def test_my_optimizer_keeps_the_laws():
    check_optimizer(MyOptimizer, momentum=0.5)
```

A check raises AssertionError, which names the law and what came. Its names are those of `__init__.pyi`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
