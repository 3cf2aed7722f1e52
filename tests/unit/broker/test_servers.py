from collections import Counter

import pytest
from pydantic import ValidationError

from broker.servers import FIRST_DELAY, LONGEST_DELAY, REFUSALS, Servers
from broker.settings import BrokerSettings

THREE = ("a", "b", "c")


def most(_low: float, high: float) -> float:
    return high


def test_clients_spread_over_the_servers() -> None:
    homes = Counter(Servers(THREE, f"client-{n}").current for n in range(300))
    assert set(homes) == set(THREE)
    assert min(homes.values()) > 60
    assert Servers(THREE, "client").current == Servers(THREE, "client").current


def test_each_server_has_its_turn_before_the_wait_grows() -> None:
    servers = Servers(THREE, "client", chance=most)
    first = servers.current
    waits, tried = [], [first]
    for _ in range(6):
        waits.append(servers.lost(steady=False))
        tried.append(servers.current)
    assert set(tried[:3]) == set(THREE)
    assert tried[3:6] == tried[:3]
    assert waits == [*[FIRST_DELAY] * 3, *[FIRST_DELAY] * 2, 2 * FIRST_DELAY]


def test_one_server_is_tried_ever_more_seldom_and_soon_again_after_it_was_there() -> None:
    servers = Servers(("only",), "client", chance=most)
    waits = [servers.lost(steady=False) for _ in range(8)]
    assert waits[:3] == [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY]
    assert waits[-1] == LONGEST_DELAY
    assert servers.lost(steady=True) == FIRST_DELAY
    assert servers.current == "only"


def test_a_refusal_is_final_at_one_server_and_after_a_while_at_several() -> None:
    assert Servers(("only",), "client").refused()
    servers = Servers(THREE, "client")
    assert not any(servers.refused() for _ in range(3 * REFUSALS - 1))
    servers.granted()
    assert [servers.refused() for _ in range(3 * REFUSALS)].index(True) == 3 * REFUSALS - 1


def test_addresses_are_separated_by_commas() -> None:
    broker = BrokerSettings(url="mqtt://n1:1883, ws://n2/a,b,unix:///run/a,b", username="hub")
    assert [s.url for s in broker.servers] == ["mqtt://n1:1883", "ws://n2/a,b", "unix:///run/a,b"]
    assert {s.username for s in broker.servers} == {"hub"}
    assert broker.endpoint.host == "n1"


@pytest.mark.parametrize("url", ["mqtt://n1,", "mqtt://n1,n2", "mqtt://n1,http://n2", ",mqtt://n1"])
def test_each_address_is_checked(url: str) -> None:
    with pytest.raises(ValidationError):
        BrokerSettings(url=url)
