"""The names that a matrix gives to its variants, in the place of what each of them sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

AXIS = "variant"
Places = Sequence[tuple[str, str]]  # of every cell, its format and what varies in it besides, `key=value, key=value`


def named(places: Places, points: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """What varies -> the name of the variant, and besides what varies among the cells of that name.

    Empty where the names do not tell apart what differs: two variants of one name in the same format.
    """
    names: dict[str, set[str]] = {}
    for (_, varying), point in zip(places, points, strict=True):
        if isinstance(name := point.get(AXIS), str) and name:
            names.setdefault(varying, set()).add(name)
    of_one = {varying: next(iter(result)) for varying, result in names.items() if len(result) == 1}
    renamed = {varying: _label(name, varying, of_one) for varying, name in of_one.items() if varying}
    taken = {(format, renamed.get(varying, varying)) for format, varying in set(places)}
    return renamed if len(taken) == len(set(places)) else {}


def _label(name: str, varying: str, of_one: Mapping[str, str]) -> str:
    alike = [words(other) for other, its_name in of_one.items() if its_name == name]
    own = words(varying)
    kept = [
        f"{key}={value}" for key, value in own.items() if len({result[key] for result in alike if key in result}) > 1
    ]
    return ", ".join([name, *kept])


def words(varying: str) -> dict[str, str]:
    """The keys and values in what varies."""
    pairs = (word.partition("=") for word in varying.split(", ") if word)
    return {key: value for key, _, value in pairs}
