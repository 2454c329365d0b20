"""The handwritten digits of scikit-learn."""

from __future__ import annotations

import hashlib
import random

import numpy as np

from altgrad_core import ExampleData, Examples, ManifestError, OneOf

BRIGHTEST = 16
CLASSES = 10


def digits(*, validation_fraction: float, seed: int) -> ExampleData:
    """All images in a random order, the last of them held out.

    Raises:
        ManifestError: scikit-learn is not installed.
    """
    before = random.getstate()  # importing scikit-learn draws from the generator that everybody shares
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ManifestError('data.use: digits needs a package: pip install "altgrad[digits]"') from None
    finally:
        random.setstate(before)
    images, classes = load_digits(return_X_y=True)
    order = np.argsort(np.random.PCG64(seed).random_raw(len(images)), kind="stable")
    pixels, targets = (images[order] / BRIGHTEST).astype(np.float32), classes[order].astype(np.int64)
    cut = len(pixels) - max(1, round(validation_fraction * len(pixels)))
    facts = {
        "source": "scikit-learn digits",
        "examples": len(pixels),
        "sha256": hashlib.sha256(pixels.tobytes() + targets.tobytes()).hexdigest(),
    }
    train, held_out = Examples(pixels[:cut], targets[:cut]), Examples(pixels[cut:], targets[cut:])
    return ExampleData(train, held_out, OneOf(CLASSES), facts=facts)
