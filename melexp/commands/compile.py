"""The work of ``melexp compile``: compile the fast engine before its first use."""

from __future__ import annotations

import time

import numpy as np

from melexp.inversion.solve import warm_up
from melexp.inversion.stream import MelStream
from melexp.methods import Peer, available_methods, make_method
from melexp.transforms.mel import MelTransform


def precompile() -> None:
    """Run every method and every preset once, to fill the cache of compiled code.

    The cache lies beside the modules or in ``NUMBA_CACHE_DIR``. It depends on the content of the
    modules, so it stays valid when the same version is installed again.
    """
    for power in (1.0, 2.0):
        transform = MelTransform.preset("paper", power=power)
        kind = "power" if power == 2 else "magnitude"
        for name in available_methods():
            method = make_method(name)
            if isinstance(method, Peer) or (name.startswith("ipalm") and power == 2):
                continue
            began = time.perf_counter()
            warm_up(method, transform)
            print(f"{name}, {kind} mels: {time.perf_counter() - began:.1f} s", flush=True)
        began = time.perf_counter()
        MelStream(transform, n_iter=1).push(transform(np.zeros(transform.n_fft, np.float32)))
        print(f"a stream, {kind} mels: {time.perf_counter() - began:.1f} s", flush=True)
    began = time.perf_counter()
    for preset in MelTransform.presets():  # other lengths of frames need other passes
        warm_up(make_method("admm"), MelTransform.preset(preset))
    print(f"all presets: {time.perf_counter() - began:.1f} s", flush=True)
