from bioreactor.cli.exits import EXIT_CODES
from broker.messages import ErrorCode


def test_every_error_code_has_an_exit_code() -> None:
    assert set(EXIT_CODES) == set(ErrorCode)
    assert all(0 < code < 126 for code in EXIT_CODES.values())
