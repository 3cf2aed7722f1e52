"""Every complaint about a script: its code, its line, its remedy."""

import asyncio
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.messages import ContractError, ErrorCode, Parameters, QueueLimits, ScriptProblem
from hardware.simulation.equipment import EQUIPMENT
from hub_service.queue.state import NodeState, Offer
from hub_service.scripts import Checker, Verdict, changed, parse
from hub_service.scripts.check import MAX_REMEMBERED
from hub_service.scripts.outline import LARGE, outline, outline_here
from hub_service.scripts.parameters import declared
from tests.unit.hub_service.builders import CHANNELS, IMAGES

NODES = {
    "reactor-1": NodeState(online=True, offer=Offer(CHANNELS, IMAGES)),
    "reactor-2": NodeState(
        online=True, offer=Offer(CHANNELS | {"ph"}, {**IMAGES, "vision": {"cv2": "opencv-python"}})
    ),
}
DAY = 86400.0
EXAMPLES = Path(__file__).parents[3] / "examples"


async def verdict(
    script: str,
    given_: Parameters | None = None,
    nodes: Mapping[str, NodeState] = NODES,
    max_duration: float = 14 * DAY,
) -> Verdict:
    return await Checker().check(
        script, given_ or {}, nodes, QueueLimits(max_duration=max_duration)
    )


async def only(script: str, **more: Any) -> ScriptProblem:
    """The one problem of a script."""
    found = await verdict(script, **more)
    assert len(found.problems) == 1, found.problems
    told = found.problems[0]
    assert told.error.hint
    assert len(told.error.message) < 400
    return told


def metadata(text: str, code: str = "import bioreactor\n") -> str:
    lines = textwrap.dedent(text).strip().splitlines()
    return "\n".join(["# /// script", *(f"# {line}".rstrip() for line in lines), "# ///", code])


GOOD = metadata(
    """
    requires-python = ">=3.11"
    dependencies = ["numpy", "scikit-learn"]
    [tool.bioreactor]
    name = "Turbidostat"
    max_duration = "1 d 6 h"
    max_silence = 600
    needs = ["od", "media", "waste"]
    on_interruption = "requeue"
    [tool.bioreactor.parameters]
    target_od = {default = 0.6, unit = "OD600", min = 0.05, max = 4, description = "held density"}
    cycles = 10
    light = true
    [tool.bioreactor.parameters.strain]
    default = "K-12"
    """,
    "import numpy as np\nfrom sklearn import svm\nfrom bioreactor import reactor\nimport json\n",
)


async def test_a_good_script() -> None:
    found = await verdict(GOOD, {"target_od": 1, "cycles": 3.0})
    assert found.problems == ()
    found.demand_ok()
    assert found.packages == ("numpy", "sklearn")
    assert found.parameters == {
        "target_od": 1.0, "cycles": 3, "light": True, "strain": "K-12",
    }  # fmt: skip
    assert type(found.parameters["cycles"]) is int
    assert found.suitable == ("reactor-1", "reactor-2")
    info = found.checked.script
    assert info is not None
    assert (info.name, info.max_duration, info.max_silence) == ("Turbidostat", 108000.0, 600.0)
    assert (info.on_interruption, info.image) == ("requeue", "standard")
    assert info.parameters[0].unit == "OD600"


async def test_a_script_without_metadata_is_good_too() -> None:
    found = await verdict("print('hello')\n")
    assert (found.problems, found.suitable) == ((), ("reactor-1", "reactor-2"))


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
async def test_line_ends_and_byte_order_mark_do_not_matter(ending: str) -> None:
    found = await verdict("\ufeff" + GOOD.replace("\n", ending))
    assert found.problems == ()
    assert found.info.name == "Turbidostat"


@pytest.mark.parametrize(
    ("script", "code", "line"),
    [
        ("", ErrorCode.SCRIPT_EMPTY, None),
        (" \n\t\r\n", ErrorCode.SCRIPT_EMPTY, None),
        ("\ufeff", ErrorCode.SCRIPT_EMPTY, None),
        ("x = 1\n" * 50_000, ErrorCode.SCRIPT_TOO_LARGE, None),
        ("é" * 140_000, ErrorCode.SCRIPT_TOO_LARGE, None),
        ("x = 1\ny = '\ud800'", ErrorCode.SCRIPT_ENCODING, 2),
        ("x = 1\n\ny = '\x00'", ErrorCode.SCRIPT_ENCODING, 3),
        ("x = '\x1b[2J'", ErrorCode.SCRIPT_ENCODING, 1),
        ("x = 1\ry = 2", ErrorCode.SCRIPT_ENCODING, 1),
        ("# a\n# -*- coding: latin-1 -*-\nx = 1", ErrorCode.SCRIPT_ENCODING, 2),
        ("x = 1\nif x\n    y = 2\n", ErrorCode.SCRIPT_SYNTAX, 2),
        ("def f():\nreturn 1", ErrorCode.SCRIPT_SYNTAX, 2),
        ("\nreturn 1", ErrorCode.SCRIPT_SYNTAX, 2),
        ("x = (1,\n", ErrorCode.SCRIPT_SYNTAX, 1),
        ("<html>\n", ErrorCode.SCRIPT_SYNTAX, 1),
        ("print 'hello'\n", ErrorCode.SCRIPT_SYNTAX, 1),
        ("x = 1\nimport torch", ErrorCode.SCRIPT_IMPORT, 2),
        ("from torch.nn import x", ErrorCode.SCRIPT_IMPORT, 1),
        ("def f():\n    import cv2\n", ErrorCode.SCRIPT_IMPORT, 2),
        ("from . import helper\n", ErrorCode.SCRIPT_IMPORT, 1),
        ("from .helper import f\n", ErrorCode.SCRIPT_IMPORT, 1),
    ],
)
async def test_what_is_wrong_with_the_text(script: str, code: ErrorCode, line: int | None) -> None:
    told = await only(script)
    assert (told.error.code, told.line) == (code, line)
    assert told.severity == "error"
    if line is not None:
        assert told.error.message.startswith(f"line {line}: ")
        assert told.error.details["line"] == line


async def test_the_first_error_is_raised_with_all_of_them() -> None:
    found = await verdict("import torch\nimport tensorflow\n")
    with pytest.raises(ContractError) as raised:
        found.demand_ok()
    error = raised.value.error
    assert error.code is ErrorCode.SCRIPT_IMPORT
    assert "(and 1 more)" in error.message
    problems = error.details["problems"]
    assert isinstance(problems, list)
    assert len(problems) == 2
    assert error.details["line"] == 1


async def test_a_remedy_names_what_was_probably_meant() -> None:
    assert (await only("import nunpy")).error.hint == "did you mean numpy?"
    assert "standard library" in (await only("import requests")).error.hint


@pytest.mark.parametrize(
    "script",
    [
        "try:\n    import torch\nexcept ImportError:\n    torch = None\n",
        "try:\n    import torch\nexcept (ModuleNotFoundError, OSError):\n    pass\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n",
        "import typing\nif typing.TYPE_CHECKING:\n    import torch\n",
    ],
)
async def test_what_a_script_can_do_without_is_only_mentioned(script: str) -> None:
    told = await only(script)
    assert told.severity == "warning"
    found = await verdict(script)
    found.demand_ok()
    assert found.packages == ()
    assert len(found.warnings) == 1


async def test_imports_are_found_in_every_kind_of_block() -> None:
    blocks = [
        "if x:\n    {}\nelif y:\n    {}\nelse:\n    {}",
        "for x in y:\n    {}\nelse:\n    {}",
        "while x:\n    {}\nelse:\n    {}",
        "try:\n    {}\nexcept OSError:\n    {}\nelse:\n    {}\nfinally:\n    {}",
        "try:\n    {}\nexcept* OSError:\n    {}",
        "with x:\n    {}",
        "class A:\n    {}\n    def f(self):\n        {}",
        "async def f():\n    {}\n    async for x in y:\n        {}\n    async with x:\n        {}",
        "match x:\n    case 1:\n        {}\n    case _:\n        {}",
        "if x: {}\nx = 1; {}",
    ]
    for block in blocks:
        count = block.count("{}")
        names = [f"missing_{n}" for n in range(count)]
        found = await verdict(block.format(*(f"import {name}" for name in names)))
        assert [p.error.details["package"] for p in found.errors] == names, block


async def test_what_stands_beside_a_forgiving_try_is_not_forgiven() -> None:
    script = "try:\n    pass\nexcept ImportError:\n    import torch\n"
    assert (await only(script)).severity == "error"


@pytest.mark.parametrize(
    ("table", "line", "word"),
    [
        ("nonsense", 2, "TOML"),
        ('[tool.bioreactor]\nname = "a\nneeds = []', 3, "TOML"),
        ("[tool.bioreactor]\nnaem = 'x'", 3, "name"),
        ("[tool.bioreactor]\nname = 3", 3, "name"),
        ("[tool.bioreactor]\nname = ''", 3, "name"),
        ("[tool.bioreactor]\nmax_duration = -1", 3, "duration"),
        ("[tool.bioreactor]\n\nmax_duration = 'soon'", 4, "duration"),
        ("[tool.bioreactor]\nmax_duration = true", 3, "duration"),
        ("[tool.bioreactor]\nmax_duration = nan", 3, "duration"),
        ("[tool.bioreactor]\nmax_duration = 20000000000", 3, "duration"),
        ("[tool.bioreactor]\nneeds = 'od'", 3, "list"),
        ("[tool.bioreactor]\nneeds = ['O D']", 3, "list"),
        ("[tool.bioreactor]\non_interruption = 'again'", 3, "requeue"),
        ("[tool.bioreactor]\nnode = 'Reactor 1'", 3, "node"),
        ("[tool]\nbioreactor = 3", 3, "table"),
        ("dependencies = 'numpy'", 2, "list"),
        ("dependencies = ['numpy @ https://example.org/x.whl']", 2, "package"),
        ("[tool.bioreactor]\nparameters = 3", 3, "table"),
        ("[tool.bioreactor.parameters]\na = []", 3, "neither"),
        ("[tool.bioreactor.parameters]\na = nan", 3, "finite"),
        ("[tool.bioreactor.parameters]\na = 99999999999999999999", 3, "large"),
        ("[tool.bioreactor.parameters]\n'a b' = 1", 3, "name"),
        ("[tool.bioreactor.parameters]\na = {min = 1}", 3, "default"),
        ("[tool.bioreactor.parameters]\na = {default = 1, minimum = 1}", 3, "unknown"),
        ("[tool.bioreactor.parameters]\na = {default = 1, min = 'x'}", 3, "numbers"),
        ("[tool.bioreactor.parameters]\na = {default = 1, min = 2}", 3, "small"),
        ("[tool.bioreactor.parameters]\na = {default = 5, max = 2}", 3, "large"),
        ("[tool.bioreactor.parameters]\na = {default = 1, min = 3, max = 2}", 3, "exchange"),
        ("[tool.bioreactor.parameters]\na = {default = 'x', min = 3}", 3, "leave them out"),
        ("[tool.bioreactor.parameters.a]\ndefault = []", 2, "neither"),
    ],
)
async def test_what_is_wrong_with_the_metadata(table: str, line: int, word: str) -> None:
    told = await only(metadata(table))
    assert told.error.code is ErrorCode.SCRIPT_METADATA
    assert told.line == line
    assert word in told.error.message + told.error.hint


async def test_two_blocks_and_an_unclosed_one() -> None:
    block = metadata("[tool.bioreactor]\nname = 'x'", "")
    assert (await only(block + "\n" + block)).line == 6
    assert (await only("x = 1\n# /// script\n# [tool.bioreactor]\n")).line == 2


async def test_another_blocks_type_is_not_ours() -> None:
    found = await verdict("# /// pyproject\n# nonsense here\n# ///\n")
    assert found.problems == ()


async def test_max_duration_above_the_queues_limit() -> None:
    script = metadata("[tool.bioreactor]\nmax_duration = '15 d'")
    told = await only(script)
    assert (told.error.code, told.line) == (ErrorCode.SCRIPT_METADATA, 3)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("90", 90), ("90.5", 90.5), ('"90 s"', 90), ('"2min"', 120), ('"1 h 30 min"', 5400),
     ('"1.5 days"', 129600)],
)  # fmt: skip
def test_durations(said: str, seconds: float) -> None:
    found, problems = parse(metadata(f"[tool.bioreactor]\nmax_duration = {said}"))
    assert problems == ()
    assert found.info.max_duration == seconds


# Reactors


@pytest.mark.parametrize(
    ("table", "word"),
    [
        ("needs = ['od', 'co2']", "co2"),
        ("needs = ['oda']", "did you mean od"),
        ("node = 'reactor-3'", "did you mean reactor-"),
        ("image = 'gpu'", "standard"),
        ("node = 'reactor-1'\nneeds = ['ph']", "ph"),
    ],
)
async def test_a_reactor_that_satisfies_it_must_exist(table: str, word: str) -> None:
    told = await only(metadata("[tool.bioreactor]\n" + table))
    assert told.error.code is ErrorCode.NO_SUITABLE_REACTOR
    assert word in told.error.message + told.error.hint
    assert told.line is not None


async def test_needs_that_no_single_reactor_has() -> None:
    nodes = {
        "a": NodeState(online=True, offer=Offer(frozenset({"od"}), IMAGES)),
        "b": NodeState(online=True, offer=Offer(frozenset({"ph"}), IMAGES)),
    }
    told = await only(metadata("[tool.bioreactor]\nneeds = ['od', 'ph']"), nodes=nodes)
    assert "no single reactor" in told.error.message


async def test_only_reactors_with_the_needs_suit() -> None:
    found = await verdict(metadata("[tool.bioreactor]\nneeds = ['ph']"))
    assert found.suitable == ("reactor-2",)
    found = await verdict(metadata("[tool.bioreactor]\nimage = 'vision'", "import cv2\n"))
    assert (found.suitable, found.packages) == (("reactor-2",), ("cv2",))


@pytest.mark.parametrize(
    ("said", "body", "why"),
    [
        ("needs = ['ph', 'od']", "", "it does not have ph"),
        ("node = 'reactor-2'", "", "the script is for reactor-2"),
        ("image = 'vision'", "", "it does not have the image vision"),
    ],
)
async def test_it_is_said_why_a_reactor_does_not_suit(said: str, body: str, why: str) -> None:
    found = (await verdict(metadata(f"[tool.bioreactor]\n{said}", body))).checked
    assert found.suitable_nodes == ("reactor-2",)
    assert found.unsuitable_nodes == {"reactor-1": why}


async def test_choices_of_a_parameter() -> None:
    script = metadata(
        """
        [tool.bioreactor.parameters]
        medium = {default = "LB", choices = ["LB", "M9"]}
        speed = {default = 500, choices = [300, 500.0, 700]}
        """
    )
    info = (await verdict(script, {"medium": "M9", "speed": 700.0})).checked.script
    assert info is not None
    assert [parameter.choices for parameter in info.parameters] == [("LB", "M9"), (300, 500, 700)]
    told = (await verdict(script, {"medium": "TB"})).problems
    assert [p.error.message for p in told] == ["parameter 'medium': 'TB' is none of its choices"]
    assert told[0].error.hint == "give LB, M9"
    for wrong in (
        "{default = 'TB', choices = ['LB']}",
        "{default = true, choices = [1]}",
        "{default = 1, choices = ['a']}",
        "{default = 1, choices = 1}",
        "{default = 1, max = 2, choices = [1, 3]}",
    ):
        await only(metadata(f"[tool.bioreactor.parameters]\nx = {wrong}"))


async def test_reactors_that_are_away_or_unknown_are_a_warning() -> None:
    away = {"r": NodeState(online=False, offer=Offer(CHANNELS, IMAGES))}
    told = await only("import numpy\n", nodes=away)
    assert (told.severity, told.error.code) == ("warning", ErrorCode.NO_SUITABLE_REACTOR)
    told = await only("import torch\n", nodes={})
    assert told.severity == "warning"
    assert "not checked" in told.error.message


async def test_an_image_without_packages_offers_none() -> None:
    nodes = {"r": NodeState(online=True, offer=Offer(CHANNELS, {"standard": {}}))}
    assert (await only("import numpy\n", nodes=nodes)).error.code is ErrorCode.SCRIPT_IMPORT


async def test_declared_dependencies() -> None:
    told = await only(metadata("dependencies = ['torch']"))
    assert (told.error.code, told.line) == (ErrorCode.SCRIPT_IMPORT, 2)
    told = await only(metadata("dependencies = ['sklearn']"))
    assert "scikit-learn" in told.error.hint
    told = await only(metadata("dependencies = ['Scikit_Learn[x]>=1.0 ; python_version > \"3\"']"))
    assert told.severity == "warning"


# Parameters


@pytest.mark.parametrize(
    ("given_", "word"),
    [
        ({"target": 1}, "did you mean target_od"),
        ({"xyz": 1}, "it declares"),
        ({"target_od": "much"}, "a number"),
        ({"target_od": True}, "a number"),
        ({"target_od": 9}, "at most 4 OD600"),
        ({"cycles": "many"}, "a number"),
        ({"cycles": 2**60}, "too large"),
        ({"light": 1}, "true or false"),
        ({"strain": 5}, "a text"),
        ({"strain": "x" * 2000}, "too long"),
    ],
)
async def test_given_parameters_fit_the_declared_ones(given_: Parameters, word: str) -> None:
    told = await only(GOOD, given_=given_)
    assert told.error.code is ErrorCode.SCRIPT_PARAMETERS
    assert word in told.error.message + told.error.hint
    assert told.error.details["field"] == f"parameters.{next(iter(given_))}"


async def test_a_script_that_declares_none_takes_none() -> None:
    told = await only("x = 1\n", given_={"a": 1})
    assert "tool.bioreactor.parameters" in told.error.hint


def test_changing_some_leaves_the_others() -> None:
    infos = parse(GOOD)[0].info.parameters
    assert changed(infos, {"target_od": 2}) == ({"target_od": 2.0}, ())


# Names of the SDK, and channels

TAKEN = "from bioreactor import experiment, reactor\n"


@pytest.mark.parametrize(
    ("script", "line", "word", "hint"),
    [
        ("from bioreactor import reaktor\n", 1, "bioreactor has no 'reaktor'", "mean reactor?"),
        ("import bioreactor.experiments\n", 1, "has no 'experiments'", "mean experiment?"),
        ("from bioreactor.reactor import raed\n", 1, "reactor has no 'raed'", "mean read?"),
        ("from bioreactor.lab import Lab\n", 1, "bioreactor has no 'lab'", "it has experiment"),
        (TAKEN + "od = reactor.get('od')\n", 2, "reactor has no 'get'", "read, read_all, set"),
        (TAKEN + "'''Text.'''\nexperiment.recrod(a=1)\n", 3, "no 'recrod'", "mean record?"),
        ("from bioreactor import reactor as r\nr.reed('od')\n", 2, "no 'reed'", "mean read?"),
        ("import bioreactor.reactor as r\nr.sett('od', 1)\n", 2, "no 'sett'", "mean set?"),
        ("import bioreactor.reactor\nbioreactor.reactor.doze\n", 2, "no 'doze'", "mean dose?"),
        (
            "from bioreactor import (\n    experiment,\n    reaktor,\n)\n", 3,
            "bioreactor has no 'reaktor'", "mean reactor?",
        ),
        (TAKEN + "x = [1, 2]\n" * 4000 + "reactor.reed('od')\n", 4002, "no 'reed'", "mean read?"),
    ],
)  # fmt: skip
async def test_a_misspelt_name_of_the_sdk(script: str, line: int, word: str, hint: str) -> None:
    told = await only(script)
    assert (told.error.code, told.severity, told.line) == (ErrorCode.SCRIPT_IMPORT, "error", line)
    assert word in told.error.message
    assert hint in told.error.hint


@pytest.mark.parametrize(
    "use",
    [
        "reactor.set('temprature', 37)",
        'od = reactor.read("temprature")',
        "reactor.dose(ml=1, channel='temprature') if reactor.read('temprature') else 0",
        "reactor.read(\n'temprature')",
    ],
)
async def test_a_channel_that_no_suitable_reactor_has(use: str) -> None:
    found = await verdict(TAKEN + use + "\n")
    assert {p.severity for p in found.problems} == {"warning"}
    for told in found.problems:
        assert told.error.code is ErrorCode.NO_SUITABLE_REACTOR
        assert told.line == 2 + use.count("\n")
        assert "no reactor that can run it has the channel 'temprature'" in told.error.message
        assert told.error.hint == "did you mean temperature?"
    for warning in found.warnings:
        assert warning.endswith("has the channel 'temprature'; did you mean temperature?")


async def test_a_channel_that_only_unsuitable_reactors_have() -> None:
    code = TAKEN + "reactor.read('ph')\n"
    assert (await verdict(metadata("", code))).problems == ()
    told = await only(metadata('[tool.bioreactor]\nnode = "reactor-1"', code))
    assert (told.severity, told.line) == ("warning", 6)
    assert "'ph'" in told.error.message


@pytest.mark.parametrize(
    "script",
    [
        "# reactor.get('x'), from bioreactor import reaktor\n",
        TAKEN + "# reactor.get('od'); reactor.read('x')\nprint('see reactor.toml')\n",
        TAKEN + "'''reactor.get('od')'''\n",
        TAKEN + "reactor = Fake()\nreactor.get('x')\n",
        TAKEN + "def f(reactor):\n    reactor.get('x')\n",
        TAKEN + "for reactor in ():\n    reactor.read('x')\n",
        TAKEN + "with open('f') as reactor:\n    reactor.get('x')\n",
        TAKEN + "def reactor():\n    return reactor.get\n",
        TAKEN + "try:\n    pass\nexcept OSError as reactor:\n    reactor.errno\n",
        TAKEN + "match 1:\n    case reactor:\n        reactor.real\n",
        TAKEN + "from json import *\nreactor.get('x')\n",
        TAKEN + "reactor.get = reactor.read\nreactor.get('od')\n",
        TAKEN + "if hasattr(reactor, 'get'):\n    reactor.get('od')\n",
        TAKEN + "setattr(reactor, 'get', 1)\nreactor.get\n",
        "from numpy import random as reactor\nreactor.get('x')\n",
        "class Mine:\n    def read(self, name): ...\nreactor = Mine()\nreactor.read('x')\n",
        TAKEN + "name = 'x'\nreactor.read(name)\nreactor.read(f'{name}')\nreactor.read(*name)\n",
        TAKEN + "self.reactor.get('x')\nmy_reactor.get('x')\nreactor.channels().gte\n",
        TAKEN + "reactor.__doc__, reactor.math, experiment.parameters.get, reactor.Limits.x\n",
        "from bioreactor import _gateway\nimport bioreactor\nbioreactor.nothing\n",
    ],
)
async def test_what_may_be_something_else_is_not_complained_of(script: str) -> None:
    assert (await verdict(script)).problems == ()
    doubtful = script + "# reactor.nonsense\n"
    assert (await verdict(doubtful)).problems == ()


@pytest.mark.parametrize(
    "script",
    [
        "try:\n    from bioreactor import reaktor\nexcept ImportError:\n    pass\n",
        TAKEN + "try:\n    reactor.get('od')\nexcept AttributeError:\n    pass\n",
        TAKEN + "from contextlib import suppress\nwith suppress(AttributeError):\n    reactor.x\n",
    ],
)
async def test_a_name_that_a_script_can_do_without_is_only_mentioned(script: str) -> None:
    told = await only(script)
    assert told.severity == "warning"
    assert "can do without it" in told.error.message


async def test_a_doubt_is_settled_once() -> None:
    checker, limits = Checker(), QueueLimits()
    script = TAKEN + "# reactor.get('od')\n"
    assert (await checker.check(script, {}, NODES, limits)).problems == ()
    (read,) = checker._read.values()
    assert not read.outline.surmised
    assert (await checker.check(script, {}, NODES, limits)).problems == ()
    assert list(checker._read.values()) == [read]


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.stem)
async def test_examples_use_what_there_is(example: Path) -> None:
    script = example.read_text(encoding="utf-8")  # noqa: ASYNC240 - a small file
    offer = Offer(frozenset(EQUIPMENT.channels), IMAGES)
    nodes = {"reactor-1": NodeState(online=True, offer=offer)}
    for text in (script, script + "# reactor.nonsense\n"):
        told = (await verdict(text, nodes=nodes)).problems
        assert {problem.error.details.get("package") for problem in told} <= {
            "matplotlib",
            "pandas",
        }


# Hostile input


@pytest.mark.parametrize(
    "script",
    [
        "a" + ".b" * 120_000, "a" + "[0]" * 80_000, "1" + "+1" * 120_000, "-" * 250_000 + "1",
        "(" * 120_000, "lambda:" * 36_000 + "1", "not " * 60_000 + "1", "9" * 250_000,
        "if a:\n pass\n" + "elif a:\n pass\n" * 16_000, 'f"{' * 3000,
    ],
)  # fmt: skip
async def test_a_script_made_to_break_the_compiler_is_refused(script: str) -> None:
    told = await only(script)
    assert told.error.code is ErrorCode.SCRIPT_SYNTAX


async def test_a_large_script_is_outlined_elsewhere_with_the_same_result() -> None:
    script = "import numpy\nfrom os import path\n" + "x = [1, 2, 3]\n" * 3000
    assert len(script) > LARGE
    children = asyncio.Semaphore(1)
    smaller = script[: LARGE - 100].rsplit("\n", 1)[0]
    assert await outline(script, children) == await outline(smaller, children)
    broken = await outline(script + "\nif\n", children)
    assert broken.error is not None
    assert broken.line == 3004


BLOCK = "# /// script\n{}\n# ///\n"


@pytest.mark.parametrize(
    "script",
    [
        "# /// script\n" * 20_000,
        "# /// a\n#\n" * 20_000,
        BLOCK.format("# a" + ".a" * 100_000 + " = 1"),
        BLOCK.format("# a = " + "[" * 100_000),
        BLOCK.format("# [tool.bioreactor]\n" + "\n".join(f"# k{n} = 1" for n in range(15_000))),
        BLOCK.format("# [tool.bioreactor]\n" + "#\n" * 80_000 + "# x = 1"),
        BLOCK.format("# [tool.bioreactor]\n# " + "x" * 200_000 + " = 1"),
        BLOCK.format("# dependencies = [" + '"q",' * 50_000 + "]"),
        BLOCK.format("# [tool.bioreactor.parameters]\n# a = {" + "b=1," * 40_000 + "}"),
        "import " + "x" * 200_000 + "\n",
        "x = '" + "bioreactor " * 20_000 + "'\n",
        "from bioreactor import reactor\n" + "reactor.reed('odd')\n" * 10_000,
        "from bioreactor import reactor\nreactor" + ".reactor" * 25_000 + "\n",
        "".join(f"import x{n}\n" for n in range(15_000)),
        "import " + ",".join(f"x{n}" for n in range(30_000)) + "\n",
    ],
)
async def test_a_script_made_to_take_for_ever_is_answered_soon(script: str) -> None:
    began = time.monotonic()
    found = await verdict(script)
    assert time.monotonic() - began < 20
    assert len(found.checked.encode()) < 100_000


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(text=st.text(max_size=200))
def test_no_text_breaks_the_metadata_parser(text: str) -> None:
    parse(text)
    parse("# /// script\n" + "".join(f"# {line}\n" for line in text.splitlines()) + "# ///\n")


@settings(max_examples=100, deadline=None)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    )
)
def test_no_value_breaks_the_declarations(value: object) -> None:
    declared(value)
    declared({"a": value})
    declared({"a": {"default": value, "min": value, "unit": value}})


async def test_a_script_that_was_read_is_held_against_what_is_true_now() -> None:
    checker, limits = Checker(remembered=2), QueueLimits()
    assert (await checker.check(GOOD, {}, NODES, limits)).suitable == ("reactor-1", "reactor-2")
    only_one = {"reactor-2": NODES["reactor-2"]}
    assert (await checker.check(GOOD, {}, only_one, limits)).suitable == ("reactor-2",)
    short = QueueLimits(max_script=10)
    assert (await checker.check(GOOD, {}, NODES, short)).errors
    for number in range(4):  # more than are remembered
        other = f"import os, nonsense{number}\n"
        for _ in range(2):
            (told,) = (await checker.check(other, {}, NODES, limits)).errors
            assert f"nonsense{number}" in told.error.message
    assert (await checker.check(GOOD, {}, NODES, limits)).suitable == ("reactor-1", "reactor-2")


async def test_large_scripts_are_not_remembered() -> None:
    """Else anybody could fill the hub's memory with what is imported in them."""
    checker, limits = Checker(), QueueLimits()
    line = "import os\n"
    await checker.check(line * (MAX_REMEMBERED // len(line)), {}, NODES, limits)
    assert len(checker._read) == 1
    await checker.check(line * (MAX_REMEMBERED // len(line) + 1), {}, NODES, limits)
    assert len(checker._read) == 1


_LINES = st.sampled_from([
    "import math", "import numpy as np", "import a.b, c", "import os; import sys", "\timport x",
    "from bioreactor import experiment, reactor  # both", "from a.b import c as d, e",
    "from . import beside", "from .beside import it", "from f import *", "from g import (h,\n  i)",
    "import importlib", "importlib.import_module('j')", "# import k", "x = 1; import l",
    "s = 'import m'", "s = 'a\\", "import n'", "try:", "    import o", "except ImportError: pass",
    "if False: import p", "def q():", "    return 1", "    from r import s", "(", ")",
    "from __future__ import annotations", "return",
])  # fmt: skip


@given(st.lists(_LINES, max_size=6))
def test_imports_are_the_same_with_and_without_a_syntax_tree(lines: list[str]) -> None:
    script = "\n".join(lines)
    tree = outline_here(f"{script}\n'''This is not plain.'''")
    assert outline_here(script).imports == tree.imports
    assert (outline_here(script).error is None) == (tree.error is None)
