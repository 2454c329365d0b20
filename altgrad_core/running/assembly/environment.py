"""Where a run runs: device, versions, threads; and what differs when it is continued elsewhere."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from altgrad_core.errors import ManifestError
from altgrad_core.registry.discover import Plugin
from altgrad_core.running.parallel.processes import local_rank

_WATCHED = ("altgrad", "torch", "numpy", "numba", "safetensors")


def choose_device(name: str) -> torch.device:
    """`auto`: CUDA where there is a GPU, else the CPU; of several processes on a machine each takes a GPU of its own.

    Raises:
        ManifestError: `cuda` where there is none.
    """
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise ManifestError("device cuda: this machine has no CUDA device that torch can use; try --device cpu")
    if not has_cuda or name == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", local_rank()) if local_rank() else torch.device("cuda")


def prepare(device: torch.device, *, threads: int | None) -> None:
    """Set torch up for numbers that repeat: threads, float32 products in full, deterministic kernels."""
    if threads is not None:
        torch.set_num_threads(threads)
    reset_defaults()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.mha.set_fastpath_enabled(False)  # it would pass by the layers it is made of
    if device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)


def reset_defaults() -> None:
    """Make float32 and the CPU the defaults of torch, whatever the caller or the code of a model has set."""
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    torch.set_grad_enabled(True)


def seed_generator(device: torch.device, key: int) -> None:
    """Seed torch's generators that models and optimizers on this device draw from.

    `torch.manual_seed` gives the same numbers; it also asks for devices of every other kind, which takes 150 times as
    long, twice a step.
    """
    torch.default_generator.manual_seed(key)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(key)


def describe_environment(device: torch.device, plugins: Iterable[Plugin]) -> dict[str, Any]:
    """Versions, device, threads, and the plugins that a run uses, as plain data."""
    is_cuda = device.type == "cuda"
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "device": torch.cuda.get_device_name(device) if is_cuda else "cpu",
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "versions": {name: result for name in _WATCHED if (result := _version(name)) is not None},
        "plugins": {plugin.name: f"{plugin.distribution} {plugin.version}" for plugin in plugins},
    }


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What changed between two environments, one sentence each."""
    flat_before, flat_now = dict(_flat(before)), dict(_flat(now))
    names = sorted(set(flat_before) | set(flat_now))
    return [
        f"{name} was {flat_before.get(name, 'absent')} and is {flat_now.get(name, 'absent')}"
        for name in names
        if flat_before.get(name) != flat_now.get(name)
    ]


def _flat(table: dict[str, Any]) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in table.items():
        pairs += [(f"{key} {k}", v) for k, v in value.items()] if isinstance(value, dict) else [(key, value)]
    return pairs


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
