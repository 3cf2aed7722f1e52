"""A small file that is written again and again, and a crash between any two steps of it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from hardware.files import rewrite_file

P = ParamSpec("P")
R = TypeVar("R")


class CrashError(Exception):
    """The process ends here."""


@pytest.mark.parametrize("steps", range(12))
def test_a_crash_at_any_step_leaves_one_of_the_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    path = tmp_path / "file"
    rewrite_file(path, "one", 64)
    rewrite_file(path, "two", 64)
    left = steps

    def counted(act: Callable[P, R]) -> Callable[P, R]:
        def counting(*args: P.args, **more: P.kwargs) -> R:
            nonlocal left
            left -= 1
            if left < 0:
                raise CrashError
            return act(*args, **more)

        return counting

    with monkeypatch.context() as patch:
        for place, name in ((os, "fsync"), (os, "link"), (Path, "replace"), (Path, "unlink")):
            patch.setattr(place, name, counted(getattr(place, name)))
        crashed = True
        try:
            rewrite_file(path, "three", 64)
            crashed = False
        except CrashError:
            pass
    assert path.read_text().strip() in ({"two", "three"} if crashed else {"three"})
    for text in ("four", "five"):
        rewrite_file(path, text, 64)
        assert path.read_text() == text.ljust(64)
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "file.part"]
        assert not path.samefile(tmp_path / "file.part")


def test_a_shorter_text_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for text in ("x" * 100, "y", "z" * 100, "y", "y"):
        rewrite_file(path, text, 8)
        assert path.read_text() == text.ljust(8)
