"""A task of a run: one clip, one method with its parameters, one seed; its id and its values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from melexp.datasets import Clip, ClipError
from melexp.inversion.solve import Checkpoint, solve, warm_up
from melexp.methods import Method, Peer
from melexp.metrics import score
from melexp.problem import Problem
from melexp.results.pairs import Pair
from melexp.results.records import LARGEST_VALUE, canonical, text_digest
from melexp.results.store import FORMAT
from melexp.runs.imperfect import given_mel
from melexp.start import VERSIONS
from melexp.transforms.mel import MelTransform

#: Largest length of a clip in seconds. Its inversion takes about 3 GB; a process that exhausts the
#: memory would end the others too.
LONGEST = 600


@dataclass(frozen=True)
class Task:
    """One clip, one method with its parameters, one seed."""

    clip: Clip
    method: Method[Any] | Peer
    name: str
    transform: MelTransform
    seed: int
    dtype: str
    #: Name of the experiment that alone owns the task, so that its times are those of one run.
    scope: str = ""
    #: Error of the mel-spectrogram: a name of `melexp.runs.imperfect`; empty if there is none.
    imperfection: str = ""
    #: `setting` of another task that differs in the clip only, which saves the time to compute it.
    known_setting: str = ""

    @cached_property
    def id(self) -> str:
        """Hash of everything that affects the result, and of the `scope`."""
        # The key of the clip comes first in the sorted text, so the rest is common to all clips.
        return text_digest(f'{{"clip":"{self.clip.sha256}",{self.known_setting or self.setting()}')

    def setting(self) -> str:
        """Return what determines the result besides the clip, as the end of the text of the id."""
        return canonical(
            {
                "format": FORMAT,
                "method": self.name,
                "version": self.method.version,
                "parameters": self.method.parameters(),
                "transform": self.transform.settings(),
                "seed": self.seed,
                "dtype": self.dtype,
                "starts": self._starts(),
                "scope": self.scope,
            }
            | ({"imperfection": self.imperfection} if self.imperfection else {})
        )[1:]

    @property
    def version(self) -> str:
        """What makes the ids of tasks with one clip and one setting differ."""
        starts = [f"{name} {version}" for name, version in sorted(self._starts().items())]
        timed = ["timed"] if self.scope else []
        return ", ".join([f"v{FORMAT}.{self.method.version}", *starts, *timed])

    def _starts(self) -> dict[str, int]:
        parameters = self.method.parameters()
        chosen = [parameters.get(name) for name in ("magnitude", "phase", "prior")]
        return {name: VERSIONS[name] for name in chosen if name in VERSIONS}

    def reference(self) -> np.ndarray:
        """Return the samples of the clip at the sampling rate of the transform.

        Raises
        ------
        ClipError
            If the clip cannot be read, or is longer than `LONGEST`.
        """
        y = self.clip.load(round(self.transform.sr))
        seconds = len(y) / self.transform.sr
        if seconds > LONGEST:
            raise ClipError(
                f"{self.clip.source}: {seconds:.0f} s exceed the limit of {LONGEST} s of a run;"
                " split the file, or use melexp invert"
            )
        return y

    def observe(self, reference: np.ndarray, checkpoints: list[int]) -> Iterator[Checkpoint]:
        """Invert the mel-spectrogram of the samples and yield at the checkpoints.

        The random start depends on the clip and the seed only, so methods are compared in pairs.
        """
        seed = [self.seed, int(self.clip.sha256[:16], 16)]
        mel = given_mel(reference, self.transform, imperfection=self.imperfection, seed=seed)
        if not np.isfinite(mel).all():
            raise ClipError(f"{self.clip.source}: too loud for its mel in float32; lower its level")
        problem = Problem(mel, self.transform, length=len(reference), dtype=self.dtype)
        return solve(self.method, problem, checkpoints=checkpoints, seed=seed)

    def compute(self, wanted: list[Pair]) -> Iterator[dict[str, Any]]:
        """Yield the rows at the wanted (iteration, metric) pairs, in one pass."""
        reference = self.reference()
        warm_up(self.method, self.transform, self.dtype)
        for point in self.observe(reference, [iteration for iteration, _ in wanted]):
            for metric in [m for iteration, m in wanted if iteration == point.iteration]:
                value, reason = score(metric, reference, point.signal, transform=self.transform)
                is_lost = not abs(value) <= LARGEST_VALUE  # also NaN
                if is_lost and not reason:
                    reason = f"the value of {metric} is {value:g}"
                yield {
                    "iteration": point.iteration,
                    "metric": metric,
                    "value": None if is_lost else float(value),
                    "reason": reason,
                    "seconds": round(point.seconds, 6),
                }
