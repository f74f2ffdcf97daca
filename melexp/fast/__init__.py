"""Fast engine: several parts of a clip side by side, one in each lane of a vector register.

`LaneEngine` takes and returns NumPy arrays. `lanes` makes vectors available in jitted code, `fft`
transforms frames, `bins` applies the update of a method to a bin, and `kernels` iterates. The
updates are declared in `melexp.methods`.
"""

from .engine import LaneEngine

__all__ = ["LaneEngine"]
