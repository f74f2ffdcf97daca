"""Worker processes, or this process on a machine that cannot start any."""

from __future__ import annotations

import sys

from joblib import effective_n_jobs, parallel_config


def worker_processes(n_jobs: int) -> parallel_config:
    """Return the context for `joblib.Parallel` with processes of one arithmetic thread each.

    Processes need semaphores in shared memory. Where it is full or missing, all calls run in this
    process, and a line says so. A single worker is always this process.

    Parameters
    ----------
    n_jobs : int > 0
        Number of processes.
    """
    if n_jobs == 1:
        return parallel_config("sequential")
    if effective_n_jobs(2) == 1:
        print(
            "melexp: one worker instead of several, because processes cannot share memory here; "
            "free some space in /dev/shm, or mount it",
            file=sys.stderr,
        )
        return parallel_config("sequential")
    return parallel_config("loky", n_jobs=n_jobs, inner_max_num_threads=1)
