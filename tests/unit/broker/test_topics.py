import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from broker.subscriptions import matches
from broker.topics import (
    ANY,
    EXPERIMENT_ID,
    NAME,
    NOTIFICATIONS,
    SPECS,
    STREAMS,
    BadNameError,
    Topic,
    Topics,
)

NAMES = st.from_regex(NAME, fullmatch=True)
ROOTS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
FIELDS = ("node", "portal", "principal", "verb", "client", "channel")


@st.composite
def levels(draw: st.DrawFn) -> dict[str, str]:
    chosen = {field: draw(NAMES) for field in FIELDS}
    chosen["experiment"] = draw(st.from_regex(EXPERIMENT_ID, fullmatch=True))
    chosen["stream"] = draw(st.sampled_from(STREAMS))
    chosen["kind"] = draw(st.sampled_from(NOTIFICATIONS))
    return chosen


@given(root=ROOTS, topic=st.sampled_from(Topic), chosen=levels())
def test_what_is_built_is_parsed_back(root: str, topic: Topic, chosen: dict[str, str]) -> None:
    topics = Topics(root)

    text = topics.build(topic, **chosen)
    address = topics.parse(text)

    assert address is not None
    assert address.topic is topic
    assert all(chosen[field] == value for field, value in address.levels.items())
    everything = topics.build(topic, **dict.fromkeys(chosen, ANY))
    assert matches(everything, text)


@given(topic=st.sampled_from(Topic), chosen=levels(), other=ROOTS)
def test_another_site_is_not_ours(topic: Topic, chosen: dict[str, str], other: str) -> None:
    assume(other != "bioreactor")
    assume(not other.startswith("bioreactor/"))

    assert Topics("bioreactor").parse(Topics(other).build(topic, **chosen)) is None


@given(text=st.text(max_size=80))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    topics = Topics()

    for candidate in (text, f"bioreactor/{text}", f"bioreactor/nodes/{text}/report"):
        address = topics.parse(candidate)
        if address is not None:
            assert topics.build(address.topic, **address.levels) == candidate


@given(
    name=st.text(max_size=60).filter(lambda text: NAME.fullmatch(text) is None),
    field=st.sampled_from(FIELDS),
)
def test_no_bad_name_gets_into_a_topic(name: str, field: str) -> None:
    assume(name != ANY)
    topic = next(topic for topic in Topic if f"{{{field}}}" in topic.value)

    with pytest.raises(BadNameError):
        Topics().build(topic, **{**dict.fromkeys(FIELDS, "x"), field: name})


@pytest.mark.parametrize("root", ["", "/", "a//b", "a/", "/a", "A", "a b", "a/+", "#", "a" * 49])
def test_a_bad_root_is_refused(root: str) -> None:
    with pytest.raises(BadNameError):
        Topics(root)


def test_no_two_kinds_of_topics_are_confused() -> None:
    topics = Topics()
    some = dict.fromkeys(FIELDS, "list") | {
        "experiment": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "stream": "files",
        "kind": "alarm",
    }
    built = {topics.build(topic, **some) for topic in Topic}
    assert len(built) == len(Topic) == len(SPECS)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/b/c", "a/b", False),
        ("a/+", "a/b", True),
        ("a/+", "a", False),
        ("a/+", "a/b/c", False),
        ("+/+", "a/b", True),
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),
        ("#", "a/b", True),
        ("a/+/c", "a//c", True),
    ],
)
def test_filters_match_as_mqtt_says(topic_filter: str, topic: str, expected: bool) -> None:
    assert matches(topic_filter, topic) is expected
