import stat
from pathlib import Path

import pytest

from broker.identity import stable_client_id, write_private


def test_an_id_stays_and_is_secret(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "client-id"

    first, second = stable_client_id(path, "hub"), stable_client_id(path, "hub")

    assert first == second
    assert len(first) == len("hub-") + 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stable_client_id(tmp_path / "other", "hub") != first


@pytest.mark.parametrize("damaged", ["", "abc", "\x00" * 32, "é" * 32])
def test_a_damaged_id_is_replaced(tmp_path: Path, damaged: str) -> None:
    path = tmp_path / "client-id"
    path.write_text(damaged, encoding="latin-1")

    first = stable_client_id(path, "hub")

    assert first == stable_client_id(path, "hub")
    assert len(first) == len("hub-") + 32


def test_a_private_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_private(path, "old")

    with pytest.raises(UnicodeEncodeError):
        write_private(path, "\ud800")

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
