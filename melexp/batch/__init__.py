"""Batches of clips of different lengths in torch, on any of its devices.

The methods are those of :mod:`melexp.methods`, unchanged: here is what they work with, in torch.
"""

try:
    import array_api_compat  # noqa: F401
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"batches and devices need torch ({error}): pip install 'melexp[torch]'"
    ) from error

from melexp.batch.filters import BatchFilters
from melexp.batch.invert import invert_batch
from melexp.batch.problem import BatchProblem
from melexp.batch.stft import BatchSTFT

__all__ = ["BatchFilters", "BatchProblem", "BatchSTFT", "invert_batch"]
