import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.access import (
    Principal,
    grants,
    hashed,
    mosquitto_acl,
    mosquitto_passwords,
    nats_authorization,
)
from broker.subscriptions import matches
from broker.topics import NAME, SPECS, BadNameError, Role, Topic, Topics

ROLES: tuple[Role, ...] = ("hub", "node", "portal", "administrator", "script")
TOPICS = Topics("bioreactor/lab-7")


@given(
    role=st.sampled_from(ROLES),
    name=st.from_regex(NAME, fullmatch=True),
    other=st.from_regex(NAME, fullmatch=True),
    topic=st.sampled_from(Topic),
)
def test_nobody_speaks_for_another(role: Role, name: str, other: str, topic: Topic) -> None:
    allowed = grants(Principal(name, role), TOPICS)
    foreign = TOPICS.build(
        topic,
        **dict.fromkeys(("node", "portal", "principal", "client", "verb", "channel"), f"{other}-x"),
        experiment="01ARZ3NDEKTSV4RRFFQ69G5FAV",
        stream="files",
        kind="alarm",
    )
    spoken = any(matches(f, foreign) for f in allowed.publish)
    read = any(matches(f, foreign) for f in allowed.read)

    if role in {"portal", "administrator", "script"} and "{principal}" in topic.value:
        assert not spoken
        assert not read
    if role == "node" and "{node}" in topic.value:
        assert not spoken
        assert not read
    if role not in SPECS[topic].readers:
        assert not read


def test_filters_end_where_the_contract_ends() -> None:
    for role in ROLES:
        allowed = grants(Principal("someone", role), TOPICS)
        depths = {f"{TOPICS.root}/{topic.value}".count("/") for topic in Topic}
        for topic_filter in itertools.chain(allowed.publish, allowed.read):
            assert "#" not in topic_filter
            assert topic_filter.count("/") in depths


def test_mosquitto_acl() -> None:
    text = mosquitto_acl([Principal("alice", "script"), Principal("reactor-1", "node")], TOPICS)

    alice, node = text.split("user ")[1:]
    assert "topic write bioreactor/lab-7/hub/request/alice/+" in alice
    assert "topic read bioreactor/lab-7/reply/alice/+" in alice
    assert "hub/admin" not in text
    assert "topic read bioreactor/lab-7/nodes/reactor-1/assignment" in node
    assert "topic write bioreactor/lab-7/nodes/reactor-1/journal/+" in node
    assert "nodes/+" not in node


def test_mosquitto_passwords_are_salted_hashes() -> None:
    first, second = (mosquitto_passwords(hashed({"alice": "secret"})) for _ in range(2))

    assert first.startswith("alice:$7$101$")
    assert first != second
    assert "secret" not in first


def test_nats_users_speak_mqtt_alone() -> None:
    hashes = hashed({"alice": "secret"})
    authorization = nats_authorization([Principal("alice", "script")], hashes, TOPICS)

    assert isinstance(authorization, dict)
    assert isinstance(authorization["users"], list)
    [user] = authorization["users"]
    assert isinstance(user, dict)
    assert user["allowed_connection_types"] == ["MQTT", "MQTT_WS"]
    assert "secret" not in str(user)
    assert "bioreactor.lab-7.hub.request.alice.*" in str(user["permissions"])


@pytest.mark.parametrize("name", ["Alice", "a b", "", "a/b", "+", "#", "x" * 49, "é"])
def test_a_principal_is_called_by_a_name(name: str) -> None:
    with pytest.raises(BadNameError):
        Principal(name, "script")
