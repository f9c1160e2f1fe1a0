"""The start of a program on one or several hosts: who is who, and that all are alike."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from absl import flags

import hypjax
from hypjax.config import persistence
from hypjax.data.errors import UsageError
from hypjax.run import manifest, meeting
from hypjax.run.peers import ALONE, Peers, work_with
from hypjax.training import sharding

PATIENCE = 300.0  # seconds that processes wait for each other


def define_flags(values: flags.FlagValues) -> None:
    """The flags that say who is who, where no launcher does."""
    flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0", flag_values=values)
    flags.DEFINE_integer("num_processes", None, "number of processes; 1 asks no launcher", flag_values=values)
    flags.DEFINE_integer("process_id", None, "this process, from 0", flag_values=values)


def start(values: flags.FlagValues, settings: Mapping[str, Any]) -> Peers:
    """Joins this process to its peers, before anything else touches a device.

    Args:
      values: of the flags; without them JAX asks the launcher (Cloud TPU, GKE, SLURM, Open MPI, Kubernetes), if any.
      settings: in which they may not differ.

    Returns:
      The processes that this one works with from now on.

    Raises:
      UsageError: flags that don't fit together, processes that don't come, or that were not started alike.
    """
    given: list[Any] = [values[name].value for name in ("coordinator", "num_processes", "process_id")]
    if given == [None, None, None]:
        peers = _detected()
    elif given[1] == 1 and not given[2]:
        peers = ALONE
    elif None in given:
        raise UsageError("--coordinator, --num_processes and --process_id go together")
    else:
        peers = _named(*given)
    work_with(peers)
    if peers.count > 1:
        if given[0] is not None:
            _initialize(*given)
        versions = {name: manifest.version(name) for name in manifest.PACKAGES}
        devices = f"{jax.local_device_count()} × {jax.local_devices()[0].device_kind}"
        here = {"hypjax": hypjax.__version__, "commit": manifest.commit(), "python": platform.python_version()}
        require_alike(peers, {**settings, **versions, **here, "devices": devices})
        sharding.meet(sharding.data_mesh())
    return peers


def _named(coordinator: str, count: int, index: int) -> Peers:
    """The processes that the flags tell of, met before JAX looks for them: it aborts where one doesn't come."""
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UsageError(f"--coordinator={coordinator} is no HOST:PORT, such as 10.0.0.1:8476")
    if not 0 <= index < count:
        raise UsageError(f"--process_id must lie in [0, {count}), as --num_processes={count}; got {index}")
    if index:
        return meeting.join([host.strip("[]")], int(port), index, count, PATIENCE)
    return meeting.welcome(meeting.listen(int(port)), count, PATIENCE)


def _detected() -> Peers:
    """The processes that a launcher started, as JAX finds them."""
    if lone_task(os.environ) or not _initialize() or jax.process_count() == 1:
        return ALONE
    index, count = jax.process_index(), jax.process_count()
    listening = meeting.listen(0) if index == 0 else None
    words = {"port": listening.getsockname()[1], "hosts": meeting.addresses()} if listening else {}
    said = sharding.from_chief({"said": np.frombuffer(json.dumps(words).encode(), np.uint8)})["said"]
    if listening is not None:
        return meeting.welcome(listening, count, PATIENCE)
    found = json.loads(said.tobytes())
    return meeting.join(found["hosts"], found["port"], index, count, PATIENCE)


def lone_task(environment: Mapping[str, str]) -> bool:
    """Whether a launcher's shell or container has this one task, where JAX would wait for a whole allocation.

    Args:
      environment: of the process.

    Examples:
      >>> lone_task({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"})  # a shell of salloc or sbatch, without srun
      True
      >>> lone_task({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"}), lone_task({})
      (False, False)
    """
    if "OMPI_COMM_WORLD_SIZE" in environment:
        return environment["OMPI_COMM_WORLD_SIZE"] == "1"
    if "SLURM_JOB_ID" in environment:
        return environment.get("SLURM_STEP_NUM_TASKS", "1") == "1"
    # A pod that is not of an indexed job, such as a notebook's; GKE says otherwise who its TPU workers are.
    in_pod = "KUBERNETES_SERVICE_HOST" in environment and "JOB_COMPLETION_INDEX" not in environment
    return in_pod and not {"TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES"} & environment.keys()


def _initialize(*given: Any) -> bool:
    """Has JAX join the processes, given or found; whether there are any, which who calls it from a notebook knows."""
    # Its service would keep SIGTERM from us and end nothing; `peers` passes signals on.
    jax.config.update("jax_enable_preemption_service", False)
    # Ignored where there are accelerators; without it CPU processes cannot talk to each other.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(*given)
    except ValueError as error:
        if "coordinator_address should be defined" in str(error):
            return False
        raise UsageError(f"the launcher does not say who is who: {error}") from error
    except (RuntimeError, OSError) as error:
        if not given and "must be called before" in str(error):
            return True
        raise UsageError(
            f"the processes were not joined: {error}; --num_processes=1 starts this one alone, and --coordinator, "
            "--num_processes and --process_id say who is who"
        ) from error
    return True


def require_alike(peers: Peers, told: Mapping[str, Any]) -> None:
    """Checks that all processes say the same of themselves.

    Args:
      peers: which.
      told: by name, perhaps nested; what JSON can hold.

    Raises:
      UsageError: on all of them, where some differ; says in what.
    """
    first, *others = peers.share(dict(told))
    found: dict[str, list[int]] = {}
    for index, other in enumerate(others, start=1):
        if lines := persistence.differences(first, other):
            found.setdefault("; ".join(lines[:4]), []).append(index)
    if found:
        lines = [f"from process 0 to {meeting.told(which)}: {line}" for line, which in found.items()]
        raise UsageError(f"start all processes alike; they differ, {', and '.join(lines[:4])}")
