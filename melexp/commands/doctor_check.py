"""What the checks of ``melexp doctor`` share: findings, printed and counted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path

from melexp.files.atomic import move_aside


class Check(ABC):
    """The findings in one folder, printed and counted."""

    def __init__(self, root: Path, *, dry_run: bool) -> None:
        self.root, self.dry_run = root, dry_run
        self.verified = self.tasks = self.damaged = self.removed = self.others = 0
        self.advice: dict[str, None] = {}  # an ordered set

    @abstractmethod
    def run(self) -> int:
        """Check the folder; return the exit code."""

    def bad(self, message: str, path: Path | None = None, advice: str = "") -> None:
        """Report a fault and move its file aside."""
        if path is not None and self.dry_run:
            message += f"; would be moved to {self.root / 'damaged'}"
        elif path is not None:
            aside = move_aside(path, self.root / "damaged")
            message += f"; moved to {aside}" if aside else ""
        print(f"bad: {message}")
        self.damaged += 1
        if advice:
            self.advice[advice] = None

    def leftover(self, path: Path, remove: Callable[[Path], bool]) -> None:
        """Remove a leftover and report it."""
        if self.dry_run or remove(path):
            print(f"leftover: {path} {'would be removed' if self.dry_run else 'removed'}")
            self.removed += 1

    def inside(self, folder: Path) -> Iterator[Path]:
        """Yield the entries of a folder, sorted; report links instead of following them."""
        if folder.is_symlink() and folder != self.root:
            self.bad(f"{folder} is a link, which is not followed", advice=NO_LINKS)
        elif folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path.is_symlink():
                    self.bad(f"{path} is a link, which is not followed", advice=NO_LINKS)
                else:
                    yield path

    def other(self, path: Path) -> None:
        """Report a file that melexp does not write."""
        print(f"other: {path} is not a file of melexp, left alone")
        self.others += 1

    def summary(self) -> int:
        """Print the counts and return the exit code."""
        others = f", {self.others} others left alone" if self.others else ""
        tasks = f" with {self.tasks} finished tasks" if self.tasks else ""
        print(
            f"{self.root}: {self.verified} files{tasks} verified, {self.damaged} bad, "
            f"{self.removed} leftovers {'to remove' if self.dry_run else 'removed'}{others}"
        )
        for advice in self.advice:
            print(f"next: {advice}")
        return int(self.damaged > 0)


#: Advice about links.
NO_LINKS = "replace the links by the files, or name the folder that they lead to"
