"""Fast engine: several parts of a clip side by side, one in each lane of a vector register.

`LaneEngine` takes and returns NumPy arrays. `lanes` are the numbers of compiled code, `memory` its
arrays and `tracing` its control flow; `compiling` makes and keeps machine code. `fft` transforms
frames, `bins` applies the update of a method to a bin, and `kernels` iterates. The updates are
declared in `melexp.methods`.
"""

from .engine import LaneEngine

__all__ = ["LaneEngine"]
