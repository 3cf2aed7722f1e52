"""Which topics of the contract the portal shows, and what stands in their payloads."""

from collections.abc import Mapping
from typing import Final

from broker.messages import (
    Channels,
    Console,
    ContractError,
    ErrorCode,
    Experiment,
    HubStatus,
    NodeReport,
    Payload,
    Queue,
    ServiceStatus,
    Telemetry,
    Tokens,
)
from broker.topics import ANY, SPECS, BadNameError, Topic, Topics

_EYES: Final = frozenset(("hub", "portal", "administrator", "script"))

EYES: Final = frozenset(
    topic
    for topic, spec in SPECS.items()
    if spec.readers >= _EYES and topic not in {Topic.PORTAL_STATUS, Topic.NOTIFICATION}
)
"""Topics that everybody who has eyes may read; replies and errors are only their asker's.

Notifications are for who does not look at a page, which shows all of it.

Portals do not show one another: each reads its own status, and a connection's subscriptions must
not overlap.
"""

RETAINED: Final[Mapping[Topic, type[Payload]]] = {
    Topic.HUB_STATUS: HubStatus,
    Topic.NODE_STATUS: ServiceStatus,
    Topic.QUEUE: Queue,
    Topic.EXPERIMENT: Experiment,
    Topic.NODE_CHANNELS: Channels,
    Topic.NODE_REPORT: NodeReport,
    Topic.HUB_TOKENS: Tokens,
}
"""What the portal follows; the tokens are for itself alone, not for eyes."""
LIVE: Final[Mapping[Topic, type[Payload]]] = {
    Topic.NODE_TELEMETRY: Telemetry,
    Topic.NODE_CONSOLE: Console,
}

MAX_FILTER_LENGTH: Final = 200


def check_filter(topics: Topics, text: str) -> str:
    """Return a subscription filter below the root if eyes may read what it matches.

    Args:
        topics: Of the site.
        text: A topic of the contract below the root; `+` may stand for a variable level.

    Raises:
        ContractError: MALFORMED if it matches nothing of the contract, FORBIDDEN if that is not
            for eyes.
    """
    levels = text.split("/") if len(text) <= MAX_FILTER_LENGTH else []
    for topic in Topic:
        pattern = topic.value.split("/")
        if len(pattern) != len(levels):
            continue
        variables: dict[str, str] = {}
        for part, level in zip(pattern, levels, strict=True):
            if part.startswith("{"):
                variables[part[1:-1]] = level
            elif part != level:
                break
        else:
            try:
                topics.build(topic, **variables)
            except BadNameError as error:
                raise _no_topic(text) from error
            if topic not in EYES:
                raise ContractError(
                    ErrorCode.FORBIDDEN,
                    f"{topic.value} is not for eyes",
                    "subscribe to: " + ", ".join(sorted(EYES)),
                )
            return text
    raise _no_topic(text)


def filters_of(topics: Topics, topic: Topic) -> str:
    """Return the full filter of all topics of a kind."""
    levels = [part[1:-1] for part in topic.value.split("/") if part.startswith("{")]
    return topics.build(topic, **dict.fromkeys(levels, ANY))


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a filter, possibly with `+`, matches a topic."""
    wanted, given = topic_filter.split("/"), topic.split("/")
    return len(wanted) == len(given) and all(
        want in {ANY, level} for want, level in zip(wanted, given, strict=True)
    )


def _no_topic(text: str) -> ContractError:
    return ContractError(
        ErrorCode.MALFORMED,
        f"{text[:MAX_FILTER_LENGTH]!r} is no topic of the contract",
        "subscribe to: " + ", ".join(sorted(EYES)),
    )
