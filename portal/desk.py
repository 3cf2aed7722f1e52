"""What people ask of the system, said to the hub and the nodes in the words of the contract.

REST and the forms of the pages both go through here, so that they cannot differ. Every method
raises `ContractError` with what the hub, or the lack of one, said.
"""

from datetime import datetime
from typing import Final

from broker.messages import (
    MAX_SCRIPT_BYTES,
    Annotate,
    Check,
    Checked,
    ContractError,
    CreateToken,
    DeclareDead,
    Done,
    ErrorCode,
    Experiment,
    Halt,
    Limits,
    Move,
    OnExperiment,
    OnNode,
    Parameters,
    Plain,
    Request,
    Retention,
    RevokeToken,
    Role,
    RunNow,
    Send,
    Submit,
    Submitted,
    Token,
)
from portal.asking import Line, build, expect, known_form, need_admin
from portal.sessions import Session
from portal.state import State

SMALLER: Final = "keep data out of the script: it can be made or loaded when it runs"

_SEEN_TIMEOUT: Final = 0.5
"""How long an answer waits until everybody sees its effect, so that a page shown next has it."""
_SHOWN_TIMEOUT: Final = 0.2
"""The same where it may well have no such effect: an old experiment is not published again."""


class Desk:
    """Asks the hub on behalf of sessions.

    Args:
        seconds: To wait for the answer to a command.
    """

    def __init__(self, line: Line, state: State, *, seconds: float) -> None:
        self._line = line
        self._state = state
        self._seconds = seconds

    async def submit(
        self,
        session: Session,
        script: str,
        *,
        name: str | None = None,
        filename: str | None = None,
        parameters: Parameters | None = None,
        request_id: str | None = None,
    ) -> Submitted:
        """Queue an experiment; durable at the hub when this returns.

        Args:
            session: Whose experiment it is.
            script: The Python source.
            name: What people call it; absent: as the script says, or the file.
            filename: Under which it was uploaded.
            parameters: In place of the script's defaults.
            request_id: The same one again gets the same answer and queues nothing.
        """
        check_size(script)
        request = build(
            Submit,
            id=request_id,
            actor=session.actor,
            script=script,
            name=name,
            filename=filename,
            parameters=parameters or {},
        )
        done = expect(Submitted, await self._line.ask("submit", request, seconds=self._seconds))
        await self._state.until(
            lambda: self._state.experiment(done.experiment_id) is not None, _SEEN_TIMEOUT
        )
        return done

    async def check(self, session: Session, script: str, parameters: Parameters) -> Checked:
        """Check a script as `submit` would, and queue nothing."""
        check_size(script)
        request = build(Check, actor=session.actor, script=script, parameters=parameters)
        return expect(Checked, await self._line.ask("check", request, seconds=self._seconds))

    async def command(self, session: Session, verb: str, experiment_id: str) -> Done:
        """Cancel, pause or resume an experiment."""
        request = build(OnExperiment, actor=session.actor, experiment_id=known_form(experiment_id))
        return await self._do(session, verb, request, experiment_id)

    async def move(
        self,
        session: Session,
        experiment_id: str,
        *,
        position: int | None = None,
        before: str | None = None,
        after: str | None = None,
        known: int | None = None,
        request_id: str | None = None,
    ) -> Done:
        """Move a waiting experiment; exactly one of the three says where.

        Args:
            session: Who asks.
            experiment_id: What is moved.
            position: 1 is next.
            before: An experiment's id.
            after: An experiment's id.
            known: The last change of the order that the asker has seen: after a later one nothing
                is moved. Absent: moved in any case.
            request_id: The same one again moves nothing.
        """
        request = build(
            Move,
            id=request_id,
            actor=session.actor,
            experiment_id=known_form(experiment_id),
            position=position,
            before=before,
            after=after,
            known=known,
        )
        return await self._do(session, "move", request, experiment_id)

    async def run_now(
        self,
        session: Session,
        experiment_id: str,
        *,
        node: str | None = None,
        stop_running: bool = False,
        stops: str | None = None,
        request_id: str | None = None,
    ) -> Done:
        """Put a waiting experiment first; an administrator's right.

        Args:
            session: Who asks.
            experiment_id: What is to run.
            node: Where.
            stop_running: Cancel what runs there.
            stops: The only one that may be cancelled for it; absent: whichever runs there.
            request_id: The same one again does nothing.
        """
        need_admin(session, "change who runs next")
        request = build(
            RunNow,
            id=request_id,
            actor=session.actor,
            experiment_id=known_form(experiment_id),
            node=node,
            stop_running=stop_running,
            stops=stops,
        )
        return await self._do(session, "run-now", request, experiment_id, admin=True)

    async def send(
        self,
        session: Session,
        experiment_id: str,
        parameters: Parameters,
        expected: Parameters | None = None,
    ) -> Done:
        """Change parameters of a running experiment, unless some are not as expected."""
        request = build(
            Send,
            actor=session.actor,
            experiment_id=known_form(experiment_id),
            parameters=parameters,
            expected=expected or {},
        )
        return await self._do(session, "send", request, experiment_id, admin=False)

    async def posture(self, session: Session, verb: str, reason: str = "") -> Done:
        """Pause, resume or drain the whole queue; an administrator's right.

        Args:
            session: Who asks.
            verb: One of the three.
            reason: Why nothing shall start; shown to everybody.
        """
        need_admin(session, "change the queue's posture")
        if verb == "resume":
            return await self._govern("resume-queue", build(Plain, actor=session.actor))
        return await self._govern(f"{verb}-queue", build(Halt, actor=session.actor, reason=reason))

    async def limits(self, session: Session, **changed: float | str | None) -> Done:
        """Change limits of the queue, those that are not None; an administrator's right."""
        need_admin(session, "change the queue's limits")
        return await self._govern("limits", build(Limits, actor=session.actor, **changed))

    async def retention(self, session: Session, days: int | None) -> Done:
        """Keep finished experiments for so many days, or for ever; an administrator's right."""
        need_admin(session, "say how long experiments are kept")
        return await self._govern("retention", build(Retention, actor=session.actor, days=days))

    async def annotate(
        self,
        session: Session,
        experiment_id: str,
        *,
        name: str | None = None,
        note: str | None = None,
        edition: int | None = None,
    ) -> Done:
        """Change an experiment's name, its note, or both.

        Args:
            session: Who asks.
            experiment_id: Which one.
            name: What it is called from now on; None: as before.
            note: What people keep with it; None: as before.
            edition: The one that the asker saw; nothing is changed where it is another by now.
        """
        request = build(
            Annotate,
            actor=session.actor,
            experiment_id=known_form(experiment_id),
            name=name,
            note=note,
            edition=edition,
        )
        return await self._do(session, "annotate", request, experiment_id)

    async def delete(self, session: Session, experiment_id: str) -> Done:
        """Delete a finished experiment and all it recorded; `restore` takes it back for a while."""
        return await self.command(session, "delete", experiment_id)

    async def restore(self, session: Session, experiment_id: str) -> Done:
        """Take a deletion back."""
        done = await self.command(session, "restore", experiment_id)
        await self._state.until(
            lambda: self._state.experiment(experiment_id) is not None, _SHOWN_TIMEOUT
        )
        return done

    async def create_token(
        self,
        session: Session,
        token_id: str,
        *,
        name: str,
        role: Role = Role.USER,
        expires_on: datetime | None = None,
    ) -> Token:
        """Have a token for scripts admitted; an administrator's right. Portals know when it is."""
        need_admin(session, "make tokens")
        request = build(
            CreateToken,
            actor=session.actor,
            token_id=token_id,
            name=name,
            role=role,
            expires_on=expires_on,
        )
        expect(
            Done, await self._line.ask("create-token", request, admin=True, seconds=self._seconds)
        )
        await self._state.until(lambda: self._token(token_id) is not None, self._seconds)
        token = self._token(token_id)
        if token is None:
            raise ContractError(
                ErrorCode.TIMEOUT,
                "the token is admitted, but the portal was not told of it",
                "revoke it and make another one",
            )
        return token

    async def revoke_token(self, session: Session, token_id: str) -> Done:
        """Have a token refused from now on; an administrator's right."""
        need_admin(session, "revoke tokens")
        request = build(RevokeToken, actor=session.actor, token_id=token_id)
        answer = await self._line.ask("revoke-token", request, admin=True, seconds=self._seconds)
        done = expect(Done, answer)
        await self._state.until(lambda: self._token(token_id) is None, _SEEN_TIMEOUT)
        return done

    def _token(self, token_id: str) -> Token | None:
        known = self._state.tokens
        return next((t for t in known.tokens if t.token_id == token_id), None) if known else None

    async def drain_node(self, session: Session, node: str) -> Done:
        """Finish what a reactor runs, start nothing more there; an administrator's right."""
        need_admin(session, "drain a reactor")
        return await self._govern("drain-node", build(OnNode, actor=session.actor, node=node))

    async def resume_node(self, session: Session, node: str) -> Done:
        """Give a drained or dead reactor back to the queue; an administrator's right."""
        need_admin(session, "give a reactor back to the queue")
        return await self._govern("resume-node", build(OnNode, actor=session.actor, node=node))

    async def declare_dead(self, session: Session, node: str, *, power_is_off: bool) -> Done:
        """Give up a reactor and what it holds; an administrator's right."""
        need_admin(session, "declare a reactor dead")
        request = build(DeclareDead, actor=session.actor, node=node, power_is_off=power_is_off)
        return await self._govern("declare-dead", request)

    async def _govern(self, verb: str, request: Request) -> Done:
        """Ask for what concerns everybody; return when everybody sees it, or soon after."""
        before = self._state.queue
        answer = await self._line.ask(verb, request, admin=True, seconds=self._seconds)
        done = expect(Done, answer)
        if done.outcome == "done" and before is not None:
            await self._state.until(
                lambda: (now := self._state.queue) is not None and now.revision > before.revision,
                _SEEN_TIMEOUT,
            )
        return done

    async def _do(
        self,
        session: Session,
        verb: str,
        request: Request,
        experiment_id: str,
        *,
        admin: bool | None = None,
    ) -> Done:
        """Ask for a change; return when everybody sees it, or soon after."""
        before = self._state.experiment(experiment_id)
        if admin is None:
            admin = session.admin and before is not None and before.user != session.user
        answer = await self._line.ask(verb, request, admin=admin, seconds=self._seconds)
        done = expect(Done, answer)
        if done.outcome == "done" and before is not None:
            await self._state.until(lambda: self._changed(before), _SEEN_TIMEOUT)
        return done

    def _changed(self, before: Experiment) -> bool:
        now = self._state.experiment(before.experiment_id)
        return now is None or now.revision > before.revision


def check_size(script: str) -> None:
    """Refuse what could not even be sent.

    Raises:
        ContractError: SCRIPT_TOO_LARGE or SCRIPT_ENCODING.
    """
    try:
        size = len(script.encode())
    except UnicodeEncodeError as error:
        raise ContractError(
            ErrorCode.SCRIPT_ENCODING, "the script is not valid Unicode", "save it as UTF-8"
        ) from error
    if size > MAX_SCRIPT_BYTES:
        raise ContractError(
            ErrorCode.SCRIPT_TOO_LARGE,
            f"the script has {size} bytes, at most {MAX_SCRIPT_BYTES} are allowed",
            SMALLER,
            bytes=size,
            limit=MAX_SCRIPT_BYTES,
        )
