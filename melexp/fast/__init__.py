"""Fast iterations: several parts of a clip side by side, one in each lane of a vector register.

`LaneEngine` takes and returns NumPy arrays.  `lanes` makes vectors available in jitted code, `fft`
transforms frames, `methods` holds the formulas of each method, `kernels` the iteration around them.
"""

from .engine import LaneEngine

__all__ = ["LaneEngine"]
