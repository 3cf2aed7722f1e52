"""Which services are there, and the hub's figures."""

from typing import Literal

from broker.messages.base import Count, Payload, Time, Ulid


class ServiceStatus(Payload):
    """Online or offline; retained, and the last will of its sender's connection.

    Attributes:
        boot_id: Fresh at every start, so that a stale last will is known as such.
        since: When the service entered this state; for a last will: when it connected.
    """

    state: Literal["online", "offline"]
    version: str
    boot_id: Ulid
    since: Time


class HubStatus(ServiceStatus):
    """The hub's presence, with the identity of its store.

    Attributes:
        store_id: Made with the store. Another one means another history.
        generation: Grows with every start of the hub on this store.
    """

    store_id: Ulid
    generation: Count


class HubMetrics(Payload):
    """The hub's figures, retained at `hub/metrics`.

    Attributes:
        at: When they were taken.
        text: Prometheus' text format; all names begin with ``bioreactor_hub_``.
    """

    at: Time
    text: str
