"""A mutant: the project with one guard less."""

from dataclasses import dataclass

DATABASES = ("sqlite", "postgresql")


class StaleMutantError(Exception):
    """The text that a mutant replaces is not there, or more often than it says."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One mutation, and the tests that ought to notice it.

    In `file`, a path from the root of the project, `old` is replaced by `new` at each of the
    `times` that it occurs. `tests` are pytest's names of the few that are tried first; `databases`
    those on which the guard matters.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    times: int = 1
    databases: tuple[str, ...] = DATABASES

    def applied_to(self, text: str) -> str:
        """The text of its file with the mutation. Raises `StaleMutantError`."""
        if (found := text.count(self.old)) != self.times:
            raise StaleMutantError(
                f"{self.name}: {self.file} has {found} times, and not {self.times}, the text "
                f"{self.old!r}. Bring the entry up to date with the code."
            )
        return text.replace(self.old, self.new)
