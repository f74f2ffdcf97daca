"""Batches of clips of different lengths in torch, on any torch device.

The methods are those of :mod:`melexp.methods`; this package has their operators for torch.
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
