"""The executor of a Ray cluster: one actor for each cell that is trained at a time, with a worker process in it."""

from __future__ import annotations

import os
import queue
import re
import socket
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from altgrad_core import LAST, CellTask, Executor, Job, ManifestError, PluginError, Tell
from altgrad_executors import installation
from altgrad_executors.host import BEGAN, Host

REACHED = 5.0
"""Seconds in which the address of a cluster must accept a connection."""
CONNECTED = 90.0
"""Seconds to connect, and then for every node to say what is installed on it."""
ATTEMPTS = "5"
"""Attempts of Ray to connect, a second apart; Ray writes a line to standard error for each that fails."""
NO_TOKEN = (
    "the cluster asks for a token, and this command gave none or another one; set the environment variable RAY_AUTH_MODE to "
    "token, and have the cluster's token (ray get-auth-token shows it) in ~/.ray/auth_token or in RAY_AUTH_TOKEN"
)


class RayCluster(Executor):
    """Trains cells in actors of a Ray cluster. An actor is used again for the next cell.

    Args:
        address: `host:port` of the cluster.
        jobs: how many cells are trained at a time.
        request: what Ray reserves for a cell: `num_cpus`, `num_gpus`, `memory` (bytes).
    """

    def __init__(self, address: str, *, jobs: int, request: Mapping[str, float]) -> None:
        self.capacity = jobs
        self._actors: list[_Actor] = []
        self._request = {name: amount for name, amount in request.items() if amount}
        self._here = installation.installation()
        self._has_connected = _connect(address)
        try:
            _refuse_too_small(self._request)
            _refuse_other_versions(self._here)
        except BaseException:
            self.close()
            raise

    def submit(self, task: CellTask, tell: Tell) -> Job:
        """Hand the cell to an actor that is idle, or to a new one, which waits until the cluster has room for it."""
        self._actors = [actor for actor in self._actors if not actor.is_gone]
        actor = next((actor for actor in self._actors if not actor.is_busy), None)
        if actor is None:
            actor = _Actor(self._request, self._here, is_room_wanted=self._is_any_waiting)
            self._actors.append(actor)
        actor.train(task, tell)
        return actor

    def _is_any_waiting(self) -> bool:
        """Whether the cluster has no room for an actor, as after the loss of a node."""
        return any(actor.is_waiting for actor in self._actors)

    def close(self) -> None:
        """End the actors, and the connection if this executor made it."""
        import ray

        for actor in self._actors:
            actor.close()
        if self._has_connected:
            ray.shutdown()

    def check_device(self, device: str) -> None:
        """A cell gets the GPUs that are reserved for it, and no others."""
        if device == "cuda" and not self._request.get("num_gpus"):
            raise ManifestError("run.device: is cuda, and executor.gpus is 0; reserve GPUs with --set executor.gpus=1")


class _Actor(Job):
    """A process of the cluster that trains one cell at a time."""

    def __init__(
        self, request: Mapping[str, float], here: Mapping[str, str], *, is_room_wanted: Callable[[], bool]
    ) -> None:
        import ray

        self._is_room_wanted = is_room_wanted

        options = {"num_cpus": 0, **request, "max_concurrency": 4, "max_restarts": 0}
        self._host = ray.remote(Host).options(**options).remote(dict(here), str(Path.cwd()))
        self._has_begun = self.is_gone = self.is_busy = False

    @property
    def is_waiting(self) -> bool:
        """Whether it has a cell, and no place to train it."""
        return self.is_busy and not self._has_begun and not self.is_gone

    def train(self, task: CellTask, tell: Tell) -> None:
        """Begin with a cell; a thread passes its messages on."""
        self.is_busy, self._has_begun = True, False
        messages = self._host.train.options(num_returns="streaming").remote(dict(task))
        threading.Thread(target=self._listen, args=(messages, tell), daemon=True).start()

    def cancel(self, signal: int) -> None:
        """See `Job.cancel`. An actor that the cluster has no room for yet is given up."""
        if self._has_begun:
            self._host.cancel.remote(signal)
        else:
            self.kill()

    def kill(self) -> None:
        """See `Job.kill`."""
        if self._has_begun:
            self._host.kill.remote()
        else:
            self.close()

    def close(self) -> None:
        """End the actor; its worker process ends with it."""
        import ray

        ray.kill(self._host)

    def _listen(self, messages: Any, tell: Tell) -> None:
        import ray

        last: Mapping[str, Any] | None = None
        try:
            for reference in messages:
                last = ray.get(reference)
                if last is None or last["reply"] in LAST:
                    break
                if last["reply"] == BEGAN:
                    self._has_begun = True
                else:
                    tell(last)
        except ray.exceptions.RayError as error:
            self.is_gone, last = True, None
            tell({"reply": "note", "message": f"Ray lost the process of a cell: {_one_line(error)}"})
        self.is_busy = False
        if not self.is_gone and self._is_room_wanted():
            self.is_gone = True
            self.close()
        tell(last)


def address_of(given: str | None) -> str:
    """The address of the cluster: the one given, or that of the environment.

    Raises:
        PluginError: there is none, or it is not `host:port`.
    """
    address = given or os.environ.get("RAY_ADDRESS", "")
    if not re.fullmatch(r"[^:/]+:[0-9]+", address):
        came = f'is "{address}"' if address else "is missing"
        raise PluginError(
            f"executor.address: {came}; expected host:port of a running Ray cluster, here or in RAY_ADDRESS; "
            "start one with: ray start --head"
        )
    return address


def _connect(address: str) -> bool:
    """Connect this process to the cluster; False where a caller of Python has done so.

    Raises:
        PluginError: Ray is not installed, or no cluster is there.
    """
    try:
        import ray
    except ImportError:
        raise PluginError('executor "ray": Ray is not installed; pip install "altgrad[ray]"') from None
    if ray.is_initialized():
        return False
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=REACHED).close()
    except (OSError, ValueError, OverflowError) as error:
        raise PluginError(
            f"executor.address: no Ray cluster at {address}: {_one_line(error)}; start one with: ray start --head, "
            "and give its host:port as executor.address or in RAY_ADDRESS"
        ) from None
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", ATTEMPTS)
    _within(
        CONNECTED,
        f"executor.address: {address} did not answer as a Ray cluster",
        lambda: ray.init(address=address, log_to_driver=False, logging_level="ERROR"),
    )
    return True


def _within(seconds: float, failure: str, action: Callable[[], Any]) -> None:
    """Do something that may hang, such as a connection to what is no cluster.

    Raises:
        PluginError: it failed, or took longer.
    """
    done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def act() -> None:
        try:
            action()
        except BaseException as error:  # handed to the thread that waits
            done.put(error)
        else:
            done.put(None)

    threading.Thread(target=act, daemon=True).start()
    try:
        error = done.get(timeout=seconds)
    except queue.Empty:
        raise PluginError(f"{failure} within {seconds:g} s") from None
    if error is not None:
        raise PluginError(f"{failure}: {_reason(error)}") from None


def _refuse_too_small(request: Mapping[str, float]) -> None:
    """Refuse a cell that no node can hold.

    Raises:
        PluginError: with what the nodes have.
    """
    keys = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
    nodes = _nodes()
    if any(all(node["Resources"].get(keys[name], 0) >= amount for name, amount in request.items()) for node in nodes):
        return
    amounts = ", ".join(_amount(keys[name], amount) for name, amount in request.items())
    offers = [", ".join(_amount(key, node["Resources"].get(key, 0)) for key in keys.values()) for node in nodes]
    raise PluginError(
        f"executor: a cell asks for {amounts}, and no node of the cluster has that; the nodes have: {'; '.join(offers)}; "
        "ask for less with executor.cpus, executor.gpus, executor.memory"
    )


def _refuse_other_versions(here: Mapping[str, str]) -> None:
    """Refuse a cluster with nodes that have other versions than this command.

    Raises:
        PluginError: naming the node, the package or plugin, and both versions.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray.cloudpickle.register_pickle_by_value(installation)  # a node may have no AltGrad
    nodes = _nodes()
    ask = ray.remote(num_cpus=0, max_retries=0)(installation.installation)
    requested = [
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote()
        for node in nodes
    ]
    for node, reference in zip(nodes, requested, strict=True):
        try:
            there = ray.get(reference, timeout=CONNECTED)
        except ray.exceptions.RayError as error:
            raise PluginError(f"node {_title(node)} did not say what is installed: {_one_line(error)}") from None
        if result := installation.differences(here, there):
            raise PluginError(f"node {_title(node)}: {'; '.join(result)}; install the same versions on every node")


def _nodes() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _title(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:8]})"


def _amount(key: str, amount: float) -> str:
    return f"{amount / 2**30:.3g} GiB of memory" if key == "memory" else f"{amount:g} {key}"


def _reason(error: BaseException) -> str:
    """Why Ray did not connect, in one line. It hides a token that was refused behind "Failed to connect"."""
    lines = traceback.format_exception(error)
    is_refused = any("InvalidAuthToken" in line or "RAY_AUTH_TOKEN" in line for line in lines)
    return NO_TOKEN if is_refused else _one_line(error)


def _one_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
