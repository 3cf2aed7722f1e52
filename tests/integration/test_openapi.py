"""The portal's OpenAPI document against a running system: no call makes it fail or lie.

Whatever is sent, each answer is documented: its status, its media type, its body; none is 5xx.
`BIOREACTOR_API_EXAMPLES` makes it try more of each call.
"""

import os
from collections.abc import Iterator
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.support.system import System, wait_for

EXAMPLES: Final = int(os.environ.get("BIOREACTOR_API_EXAMPLES", "20"))


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    data = tmp_path_factory.mktemp("system")
    with System.start(data, "--runner", "bubblewrap") as running:
        wait_for("a reactor", lambda: running.http.get("/api/nodes").json()["nodes"])
        yield running


@pytest.mark.timeout(300)
def test_every_answer_is_documented(system: System) -> None:
    document = f"{system.ready['portal'].rstrip('/')}/openapi.json"
    wrong: list[str] = []
    count = 0
    for found in schemathesis.openapi.from_url(document).get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        count += 1

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            database=None,
        )
        @given(case=operation.as_strategy())
        def call(case: Any) -> None:
            case.call_and_validate(
                headers={"X-Session-ID": "the-user-of-this-test"},
                # What the hub thinks of a script or a name is its business, and says why.
                excluded_checks=[positive_data_acceptance],
            )

        try:
            call()
        except (FailureGroup, Failure) as failure:
            wrong.append(f"{operation.label}: {failure}")
        assert system.process.poll() is None, operation.label
    assert count > 20
    assert not wrong, "\n\n".join(wrong)
