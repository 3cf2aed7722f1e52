"""The process that tells targets: whatever it does is an answer, never the hub's end."""

import sys
from pathlib import Path

from pydantic import SecretStr

from hub_service.settings import NotifyTarget
from hub_service.targets import Letter, tell
from tests.support.receivers import Hook, endless

PLUGIN = """
from apprise.decorators import notify

@notify(on="chatty")
def chat(body, title, notify_type, *args, **kwargs):
    print("sent", title, end=" ")
"""


def letters(*names: str) -> list[Letter]:
    url = SecretStr("json://127.0.0.1:1/secret")
    return [Letter(NotifyTarget(name=name, url=url), "a title", "a body") for name in names]


def saying(*lines: str) -> list[str]:
    return [sys.executable, "-c", f"for line in {lines!r}: print(line)"]


async def test_a_process_that_does_not_start_is_a_failure(tmp_path: Path) -> None:
    failed = await tell(letters("mail", "hook"), command=[str(tmp_path / "missing")])
    assert set(failed) == {"mail", "hook"}
    assert all("did not start: No such file" in why for why in failed.values())


async def test_lines_that_are_no_answer_are_passed_over() -> None:
    odd = ("hello", "", "[]", "7", '{"name": "mail"}', '{"name": 7, "why": null}', "{\\", "\x00")
    answers = ('{"name": "mail", "why": null}', '{"name": "hook", "why": "no"}')
    stranger = '{"name": "nobody", "why": "no"}'
    failed = await tell(letters("mail", "hook", "sms"), command=saying(*odd, *answers, stranger))
    assert failed == {"hook": "no", "sms": "the process that tells it failed"}


async def test_what_a_plugin_prints_does_not_hide_the_answer(tmp_path: Path) -> None:
    (tmp_path / "chatty.py").write_text(PLUGIN)
    script = "import chatty; from hub_service.telling import main; main()"
    letter = Letter(NotifyTarget(name="chat", url=SecretStr("chatty://")), "a title", "a body")
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {script}",
    ]
    assert await tell([letter], command=command) == {}


async def test_one_that_does_not_come_to_an_end_keeps_no_other_waiting() -> None:
    """It says a letter now and then, so that no timeout of a socket ends it."""
    hook = Hook()
    with hook.open():
        async with endless(lambda: bool(hook.taken)) as port:
            failed = await tell([_letter("slow", port), _letter("hook", hook.port)], 60.0)
    assert failed == {}
    assert len(hook.taken) == 1


def _letter(name: str, port: int) -> Letter:
    return Letter(NotifyTarget(name=name, url=SecretStr(f"json://127.0.0.1:{port}")), "t", "b")
