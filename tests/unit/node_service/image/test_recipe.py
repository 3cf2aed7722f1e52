"""The allow-list and its lock agree, and are fit to be published."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from node_service.image.recipe import DEFAULT, AllowList, Target, digest, sdk_files

TARGETS = [Target("3.11", "x86_64"), Target("3.11", "aarch64"), Target("3.13", "x86_64")]


def test_it_allows_what_is_promised() -> None:
    imports = AllowList.load().imports
    promised = {"numpy", "scipy", "pandas", "matplotlib", "sklearn", "PIL", "simple_pid"}
    assert promised <= set(imports)
    assert imports["PIL"] == "pillow"


@pytest.mark.parametrize("target", TARGETS)
def test_all_that_is_wanted_is_locked_once_with_hashes(target: Target) -> None:
    allowed = AllowList.load()
    locked: dict[str, str] = {}
    for entry in re.sub(r"\\\n\s*", " ", allowed.locked_for(target)).splitlines():
        first, *hashes = entry.split()
        requirement = Requirement(first)
        assert requirement.marker is None
        assert hashes
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", part) for part in hashes)
        assert requirement.name not in locked
        (pin,) = requirement.specifier
        assert pin.operator == "=="
        locked[requirement.name] = pin.version
    for name, wanted in allowed.wanted.items():
        assert locked[name] in SpecifierSet(wanted), name


def test_the_lock_names_no_index() -> None:
    text = (DEFAULT / "requirements.lock").read_text()
    assert "://" not in text
    assert "--index" not in text


def test_another_python_gets_other_versions() -> None:
    allowed = AllowList.load()
    assert allowed.locked_for(TARGETS[0]) == allowed.locked_for(TARGETS[1])
    assert allowed.locked_for(TARGETS[0]) != allowed.locked_for(TARGETS[2])


def test_wheels_for_newer_systems_are_not_asked_for() -> None:
    platforms = TARGETS[1].platforms()
    assert "manylinux_2_36_aarch64" in platforms
    assert "manylinux_2_37_aarch64" not in platforms
    assert "manylinux2014_aarch64" in platforms


def test_the_sdk_is_all_there() -> None:
    assert {"__init__.py", "experiment.py", "reactor.py", "_gateway.py"} <= set(sdk_files())


def test_the_hash_knows_where_parts_end() -> None:
    assert digest(["ab", "c"]) != digest(["a", "bc"])
    assert digest(["ab", b"c"]) == digest([b"ab", "c"])


def test_an_empty_list_is_fine(tmp_path: Path) -> None:
    (tmp_path / "packages.toml").write_text("")
    (tmp_path / "requirements.lock").write_text("")
    allowed = AllowList.load(tmp_path)
    assert allowed.imports == {}
    assert allowed.locked_for(TARGETS[0]) == ""
