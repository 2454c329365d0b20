"""The test of the tests: each law of data sets, and a plugin that breaks it."""

from __future__ import annotations

from itertools import count
from typing import Any, ClassVar

import numpy as np
import pytest

from altgrad_core import (
    DatasetSpec,
    TokenData,
)
from altgrad_core.testing import (
    check_dataset,
)
from tests.laws.breaches import said


def data_of(data: Any) -> type[DatasetSpec]:
    class Spec(DatasetSpec):
        """Some tokens."""

        name: ClassVar = "some"

        def build(self) -> Any:
            return data() if callable(data) else data

    return Spec


TEN = np.arange(10)
COUNT = count()


@pytest.mark.parametrize(
    ("data", "breach"),
    [
        (TEN, "It returned ndarray."),
        (TokenData(TEN, TEN, 1), "The vocabulary was 1."),
        (TokenData(TEN, TEN, 5), "The train split had values from 0 to 9, with a vocabulary of 5."),
        (TokenData(TEN, TEN[:0], 10), "The validation split was empty."),
        (TokenData(TEN.astype(float), TEN, 10), "The train split was float64 of shape (10,)."),
        (TokenData(TEN.reshape(2, 5), TEN, 10), "The train split was int64 of shape (2, 5)."),
        (TokenData([1, 2], TEN, 10), "The train split was list."),  # type: ignore[arg-type]
        (TokenData(TEN, TEN, 10, {"n": TEN[0]}), "Object of type int64 is not JSON serializable: {'n': np.int64(0)}."),
        (TokenData(TEN, TEN, 10, {"loss_floor": 3.0}), "loss_floor was 3.0."),
        (
            lambda: TokenData(np.random.randint(10, size=50), TEN, 10),
            "Building it moves no shared random generator. It moved numpy's global generator.",
        ),
        (
            lambda: TokenData(TEN, TEN[next(COUNT) :], 10),
            "The validation split was another the second time.",
        ),
    ],
)
def test_a_data_set_with_one_fault_is_caught(data: Any, breach: str) -> None:
    message = said(check_dataset, data_of(data))
    assert message.startswith('dataset "some", law: ') and message.endswith(breach)


def test_a_sound_data_set_passes() -> None:
    check_dataset(data_of(TokenData(TEN, TEN, 10, {"loss_floor": 0.5})))
