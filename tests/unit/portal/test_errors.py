import json

from broker.messages import Error, ErrorCode
from portal import api
from portal.errors import HTTP_STATUS, error_response


def test_every_error_code_has_a_status() -> None:
    assert set(HTTP_STATUS) == set(ErrorCode)
    assert all(status >= 400 for status in HTTP_STATUS.values())
    assert api.HTTP_STATUS is HTTP_STATUS


def test_the_body_has_detail_and_error() -> None:
    response = error_response(Error(code=ErrorCode.UNAVAILABLE, message="no hub", hint="wait"))
    assert response.status_code == 503
    assert response.headers["retry-after"]
    body = json.loads(bytes(response.body))
    assert body["detail"] == "no hub"
    assert body["error"] == {
        "code": "UNAVAILABLE",
        "message": "no hub",
        "hint": "wait",
        "details": {},
    }
