"""What the hub answered, by request id, so that a repeat gets the same answer for a day."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from hub_service.snapshot import Remembered

REMEMBERED_FOR_S: Final = 86400.0
"""Counted by a clock that only grows, and anew in each life of the hub: a wall clock that is set
must not make the hub forget, for what it forgot would be done again."""
MAX_ANSWERS: Final = 2000
"""How many answers are remembered in all; the oldest go first."""
MAX_ANSWERS_PER_USER: Final = 300
"""Of one user, so that nobody can make the hub forget what it answered others."""


class Answers(Mapping[str, Remembered]):
    """The answers in the order in which they were given; looking for old ones costs no search.

    Args:
        answers: What is remembered from before.
        counted: Seconds, by a clock that only grows.
    """

    def __init__(self, answers: Mapping[str, Remembered], counted: float) -> None:
        self._all = dict(answers)
        self._since = dict.fromkeys(answers, counted)
        self._of: dict[str, dict[str, None]] = {}
        for key, value in self._all.items():
            self._of.setdefault(value.user, {})[key] = None

    def __getitem__(self, key: str) -> Remembered:
        return self._all[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def outdated(self, added: Mapping[str, Remembered], counted: float) -> list[str]:
        """Return the keys to forget: older than a day, or the oldest where there are too many."""
        gone: dict[str, None] = {}
        for key, since in self._since.items():
            if counted - since <= REMEMBERED_FOR_S:
                break
            gone[key] = None
        for user in {value.user for value in added.values()}:
            own = [key for key in self._of.get(user, ()) if key not in gone]
            new = sum(value.user == user for value in added.values())
            gone.update(dict.fromkeys(own[: max(0, len(own) + new - MAX_ANSWERS_PER_USER)]))
        surplus = len(self._all) - len(gone) + len(added) - MAX_ANSWERS
        if surplus > 0:
            left = (key for key in self._all if key not in gone)
            gone.update((key, None) for key, _ in zip(left, range(surplus), strict=False))
        return list(gone)

    def change(self, added: Mapping[str, Remembered], gone: Iterable[str], counted: float) -> None:
        """Forget some, then remember others."""
        for key in gone:
            user = self._all.pop(key).user
            del self._since[key]
            own = self._of[user]
            del own[key]
            if not own:
                del self._of[user]
        for key, value in added.items():
            self._all[key] = value
            self._since[key] = counted
            self._of.setdefault(value.user, {})[key] = None
