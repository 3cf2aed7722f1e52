"""Every block of code in README and docs runs, or is what it says it is; no link is dead.

What each title means is in `pages.py`.
"""

import ast
import json
import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
import yaml
from pydantic_settings import BaseSettings

from broker.settings import BrokerSettings, load_settings
from hardware.clock import RealClock
from hardware.configuration.build import Readings, configure
from hub_service.settings import HubSettings
from node_service.settings import NodeSettings
from portal.settings import PortalSettings
from tests.documentation.conversation import run_page
from tests.documentation.pages import BESIDE, GENERATED, REFUSED, ROOT, Block, blocks, pages, prose
from tests.support.system import System, wait_for
from tools.docs.command_line import PROGRAMS, commands

RUNNABLE: Final = {"sh", "python"}
DATA: Final = {"toml", "json", "yaml"}
SHOWN: Final = {"text", "ini", "nginx", "caddyfile", "abnf", "udev"}
"""Languages of which nothing is checked: output, and files of other programs."""

SETTINGS: Final[Mapping[str, type[BaseSettings]]] = {
    "hub": HubSettings,
    "node": NodeSettings,
    "portal": PortalSettings,
}

ALL: Final = [block for page in pages() for block in blocks(page)]
LIVE: Final = [
    page
    for page in pages()
    if any(
        block.language in RUNNABLE and not block.needs and not block.file for block in blocks(page)
    )
]


def where(thing: Block | Path) -> str:
    return thing.where if isinstance(thing, Block) else str(thing.relative_to(ROOT))


@pytest.mark.parametrize("block", ALL, ids=where)
def test_a_block_is_what_it_says(block: Block, tmp_path: Path) -> None:
    assert block.language in RUNNABLE | DATA | SHOWN, f"{block.where}: ```{block.language}"
    known = not block.title or block.file or block.needs or block.title in {BESIDE, REFUSED}
    assert known or block.language in SHOWN, f"{block.where}: title {block.title!r}"
    match block.language:
        case "sh":
            subprocess.run(["bash", "-n"], input=block.code, text=True, check=True)
            the_commands_exist(block)
        case "python":
            ast.parse(block.code)
        case "json":
            rest = block.code.strip()
            while rest:
                _, end = json.JSONDecoder().raw_decode(rest)
                rest = rest[end:].strip()
        case "yaml":
            yaml.safe_load(block.code)
        case "toml":
            tomllib.loads(block.code)
            assert block.title, f"{block.where}: say by title= which file this is"
            the_settings_are_accepted(block, tmp_path)


def the_settings_are_accepted(block: Block, folder: Path) -> None:
    path = folder / (block.file or "any.toml")
    path.write_text(block.code)
    path.chmod(0o600)
    kind = path.stem
    if "certificate = " in block.code:  # it is read, so it must be one
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=lab",
             "-keyout", "portal.key", "-out", "portal.crt"],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
    if kind in SETTINGS:
        load_settings(SETTINGS[kind], kind, path)
        load_settings(BrokerSettings, "broker", path)
        assert set(tomllib.loads(block.code)) <= {kind, "broker"}, block.where
    elif kind == "reactor":
        configure(path, clock=RealClock(), directory=folder, readings=Readings())


def the_commands_exist(block: Block) -> None:
    """Every `bioreactor …` at the beginning of a line is a command, and has these options."""
    known = dict(commands())
    for line in block.code.replace("\\\n", " ").splitlines():
        said = re.match(r"(?:sudo )?(bioreactor \S[^|;&>]*)", line)
        if said is None:
            continue
        words = shlex.split(said[1], comments=True)
        path = next((p for n in (3, 2) if (p := tuple(words[:n])) in known), None)
        assert path is not None, f"{block.where}: there is no {' '.join(words[:3])}"
        if path[1] in PROGRAMS:
            continue  # another program's options; those blocks run
        options = {o for one in known[path].params for o in (*one.opts, *one.secondary_opts)}
        wrong = [w for w in words if w.startswith("-") and w.split("=")[0] not in options]
        assert not wrong, f"{block.where}: {' '.join(path)} has no {wrong}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def system(home: Path) -> Iterator[System]:
    """What `make up` gives a reader, where commands look for it, faster."""
    data = home / ".local" / "share" / "bioreactor"
    options = ("--runner", "bubblewrap", "--speed", "600", "--reactors", "2")
    with System.start(data, *options) as running:
        wait_for("reactors", lambda: len(running.http.get("/api/nodes").json()["nodes"]) == 2)
        yield running


@pytest.mark.timeout(200)
@pytest.mark.parametrize("page", LIVE, ids=where)
def test_a_page_runs_from_top_to_bottom(
    page: Path, system: System, home: Path, tmp_path: Path
) -> None:
    run_page(blocks(page), tmp_path, system, home)
    # It leaves the laboratory as the next reader must find it.
    assert system.http.get("/api/queue/status").json()["total_queued"] == 0
    for node in system.http.get("/api/nodes").json()["nodes"]:
        assert node["report"]["estop"] is None, node


_LINK: Final = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?[^)]*\)")


@pytest.mark.parametrize(
    "page", [*pages(), ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"], ids=where
)
def test_no_link_is_dead(page: Path) -> None:
    """Files that are linked to or shown exist; anchors are checked where the site is built."""
    for target in _LINK.findall(prose(page)):
        if re.match(r"\w+:", target) or target.startswith("#"):
            continue
        file = Path(os.path.normpath(page.parent / target.split("#")[0]))
        assert file.exists() or file in GENERATED, f"{where(page)}: {target}"


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    listed = {ROOT / "docs" / name for name in re.findall(r": ([\w/-]+\.md)$", text, re.MULTILINE)}
    decisions = ROOT / "docs" / "decisions"
    written = {page for page in pages()[1:] if page.parent != decisions}
    assert listed == written | GENERATED
