"""What the hub answered, by request id, so that a repeat gets the same answer for a day."""

from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from hub_service.snapshot import Remembered

REMEMBERED_FOR_S: Final = 86400.0
"""Counted by a clock that only grows, and anew in each life of the hub: a wall clock that is set
must not make the hub forget, for what it forgot would be done again."""
MAX_ANSWERS: Final = 2000
"""How many answers are remembered in all."""
MAX_ANSWERS_PER_USER: Final = 300
"""Of one user, so that nobody can make the hub forget what it answered others."""


class Answers(Mapping[str, Remembered]):
    """The answers in the order in which they were given; looking for old ones costs no search.

    Where there are too many, those to what may be repeated go first, then the others; of whoever
    has most of them, so that nobody, under however many names, has those of others forgotten.

    Args:
        answers: What is remembered from before.
        counted: Seconds, by a clock that only grows.
    """

    def __init__(self, answers: Mapping[str, Remembered], counted: float) -> None:
        self._all = dict(answers)
        self._since = dict.fromkeys(answers, counted)
        # By whether they are lasting, and by user.
        self._of: dict[bool, dict[str, dict[str, None]]] = {False: {}, True: {}}
        for key, value in self._all.items():
            self._of[value.lasting].setdefault(value.user, {})[key] = None

    def __getitem__(self, key: str) -> Remembered:
        return self._all[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def outdated(self, added: Mapping[str, Remembered], counted: float) -> list[str]:
        """Return the keys to forget: older than a day, or the first to go of too many."""
        gone: dict[str, None] = {}
        for key, since in self._since.items():
            if counted - since <= REMEMBERED_FOR_S:
                break
            gone[key] = None
        for user in {value.user for value in added.values()}:
            own = [key for of in self._of.values() for key in of.get(user, ()) if key not in gone]
            new = sum(value.user == user for value in added.values())
            gone.update(dict.fromkeys(own[: max(0, len(own) + new - MAX_ANSWERS_PER_USER)]))
        surplus = len(self._all) - len(gone) + len(added) - MAX_ANSWERS
        if surplus > 0:
            gone.update(dict.fromkeys(list(islice(self._first_to_go(gone), surplus))))
        return list(gone)

    def change(self, added: Mapping[str, Remembered], gone: Iterable[str], counted: float) -> None:
        """Forget some, then remember others."""
        for key in gone:
            value = self._all.pop(key)
            del self._since[key]
            own = self._of[value.lasting][value.user]
            del own[key]
            if not own:
                del self._of[value.lasting][value.user]
        for key, value in added.items():
            self._all[key] = value
            self._since[key] = counted
            self._of[value.lasting].setdefault(value.user, {})[key] = None

    def _first_to_go(self, without: Container[str]) -> Iterator[str]:
        for of in self._of.values():
            left = {user: iter(keys) for user, keys in of.items()}
            count = {user: len(keys) for user, keys in of.items()}
            while count:
                user = max(count, key=count.__getitem__)
                key = next((key for key in left[user] if key not in without), None)
                if key is None:
                    del count[user]
                else:
                    count[user] -= 1
                    yield key
