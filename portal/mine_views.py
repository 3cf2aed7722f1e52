"""My experiments as addresses: what is wanted of the list, and links that want something else."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal
from urllib.parse import urlencode

from broker.messages import Experiment, SortKey, Status

Period = Literal["day", "week", "month", "year"]
PERIODS: Final[dict[Period, tuple[int, str]]] = {
    "day": (1, "last 24 hours"),
    "week": (7, "last 7 days"),
    "month": (30, "last 30 days"),
    "year": (365, "last year"),
}
"""Days, and how people call it."""
SORTS: Final = {
    SortKey.CREATED: "Submitted",
    SortKey.STARTED: "Started",
    SortKey.FINISHED: "Ended",
    SortKey.DURATION: "Duration",
    SortKey.NAME: "Name",
}
PATH: Final = "/my-experiments"


@dataclass(frozen=True, slots=True)
class Filters:
    """What is wanted of the list; as it stands in the page's address.

    Attributes:
        node: Only what ran, or runs, on this reactor.
        period: Only what was submitted so lately.
        everybody: Others' experiments, too.
        before: Where the page begins.
    """

    search: str = ""
    status: tuple[Status, ...] = ()
    node: str = ""
    period: Period | None = None
    sort: SortKey = SortKey.CREATED
    ascending: bool = False
    everybody: bool = False
    before: str | None = None

    @property
    def narrow(self) -> bool:
        """Whether anything is left out."""
        return bool(self.search or self.status or self.node or self.period)

    def wanted(self, now: datetime) -> dict[str, object]:
        """Return the same in the words of the contract's `List`."""
        days = timedelta(days=PERIODS[self.period][0]) if self.period else None
        return {
            "search": self.search,
            "status": self.status,
            "node": self.node or None,
            "since": None if days is None else now - days,
            "sort": self.sort,
            "ascending": self.ascending,
            "before": self.before,
        }

    def page(self, before: str | None) -> str:
        """Return the address of the page that begins there."""
        return replace(self, before=before).address

    def sorted_by(self, sort: SortKey) -> str:
        """Return the address of the list in another order; of the same order, turned around."""
        turned = not self.ascending if sort is self.sort else sort is SortKey.NAME
        return replace(self, sort=sort, ascending=turned, before=None).address

    @property
    def address(self) -> str:
        """The address of this list."""
        fields: list[tuple[str, str]] = [("status", str(status)) for status in self.status]
        for name, value, usual in (
            ("search", self.search, ""),
            ("node", self.node, ""),
            ("period", self.period or "", ""),
            ("sort", str(self.sort), str(SortKey.CREATED)),
            ("ascending", "true" if self.ascending else "", ""),
            ("scope", "all" if self.everybody else "", ""),
            ("before", self.before or "", ""),
        ):
            if value != usual:
                fields.append((name, value))
        return f"{PATH}?{urlencode(fields)}" if fields else PATH


@dataclass(frozen=True, slots=True)
class Compared:
    """One run of a comparison; `letter` tells it from the others in every chart."""

    letter: str
    experiment: Experiment

    @property
    def seconds(self) -> float | None:
        """How long it ran, by the wall clock; None while that is not known."""
        e = self.experiment
        if e.started_at is None or e.completed_at is None:
            return None
        return (e.completed_at - e.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class ParameterRow:
    """A parameter of the runs: its value in each, None where one has none."""

    name: str
    values: tuple[bool | int | float | str | None, ...]

    @property
    def differs(self) -> bool:
        """Whether the runs were not all given the same."""
        return len({repr(value) for value in self.values}) > 1


def parameter_rows(runs: Sequence[Compared]) -> list[ParameterRow]:
    """Return the parameters of all runs, those that differ first."""
    names = dict.fromkeys(name for run in runs for name in run.experiment.parameters)
    rows = [
        ParameterRow(name, tuple(run.experiment.parameters.get(name) for run in runs))
        for name in names
    ]
    return sorted(rows, key=lambda row: not row.differs)
