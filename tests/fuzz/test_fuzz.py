"""Whatever comes in, it is parsed or refused in the one way that is meant for it."""

import random
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.mutations import mutated
from tests.fuzz.targets import NASTY, TARGETS

MUTATIONS = 60


@pytest.mark.parametrize("name", TARGETS)
def test_what_parsers_stumble_over(name: str) -> None:
    target = TARGETS[name]
    chance = random.Random(crc32(name.encode()))  # noqa: S311  always the same
    for data in (*NASTY, *target.seeds):
        target(data)
    for seed in target.seeds:
        for nasty in NASTY:
            target(seed[: len(seed) // 2] + nasty + seed[len(seed) // 2 :])
    for _ in range(MUTATIONS):
        target(mutated(target.seeds, chance))


@given(name=st.sampled_from(sorted(TARGETS)), data=st.binary(max_size=300))
def test_any_bytes(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.parametrize("name", [name for name in TARGETS if name.startswith("message ")])
def test_seeds_of_messages_are_sound(name: str) -> None:
    target = TARGETS[name]
    assert target.seeds
    for seed in target.seeds:
        target.run(seed)
