"""What `make audit` makes of pip-audit's answers."""

import json
from collections.abc import Mapping

from tools.audit import UNAVAILABLE, VULNERABLE, judge

SOUND = {"name": "attrs", "version": "25.1.0", "vulns": []}
UNKNOWN = {"name": "bcrypt", "skip_reason": "Dependency not found on PyPI"}
FLAWED = {
    "name": "pip",
    "version": "9.0.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["9.0.1", "8.1"], "description": "bad"}],
}


def answer(*packages: Mapping[str, object]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def test_nothing_known() -> None:
    assert judge(answer(SOUND), "") == (0, ["1 packages, no known vulnerability"])


def test_a_flaw_is_named_with_its_cure() -> None:
    status, lines = judge(answer(SOUND, FLAWED, UNKNOWN), "")
    assert status == VULNERABLE
    assert lines[0] == "pip 9.0.0: PYSEC-1, mended in 9.0.1 or 8.1"
    assert "1 of 3" in lines[1]
    assert "make lock" in lines[2]


def test_what_could_not_be_asked_is_no_good_news() -> None:
    status, lines = judge(answer(SOUND, UNKNOWN), "")
    assert (status, len(lines)) == (UNAVAILABLE, 1)
    assert "1 of 2" in lines[0]


def test_without_a_network_it_says_so() -> None:
    status, lines = judge("", "error: a long story\n  cause: Connection refused")
    assert status == UNAVAILABLE
    assert lines[0].startswith("nothing could be asked")
    assert lines[1] == "cause: Connection refused"
