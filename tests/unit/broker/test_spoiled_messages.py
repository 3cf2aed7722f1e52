"""Each message of the contract with each field spoiled in each way: a typed error or nothing."""

import pytest

from broker.asyncapi import PAYLOADS
from broker.messages import (
    ADMIN_REQUESTS,
    REQUESTS,
    ErrorCode,
    FileChunk,
    Payload,
)
from tests.support.spoiled import spoiled, whole

MODELS: list[type[Payload]] = sorted(
    {*PAYLOADS.values(), *REQUESTS.values(), *ADMIN_REQUESTS.values(), FileChunk},
    key=lambda model: model.__name__,
)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_spoiled_messages_are_refused_with_a_typed_error(model: type[Payload]) -> None:
    model.model_validate(whole(model))
    count = 0
    for what, _, told in spoiled(model):
        error = told.error
        assert error.code in {ErrorCode.MALFORMED, ErrorCode.TOO_LARGE}, what
        assert error.message, what
        assert len(error.encode()) < 10_000, what
        count += 1
    assert count >= 7
