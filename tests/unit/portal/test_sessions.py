import re
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.messages import Actor, ContractError
from portal.handles import handle_of
from portal.rotation import GRACE_SECONDS, Rotation
from portal.sessions import (
    ADMIN_SECONDS,
    RENEW_SECONDS,
    Sessions,
    SiteKeyError,
    Ticket,
    load_site_key,
    rotate_site_key,
    signer,
)

KEY = b"k" * 32


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def sessions(clock: Clock | None = None, **options: object) -> Sessions:
    password = options.get("password")
    known = clock or Clock()
    key = options.get("key")
    return Sessions(
        key if isinstance(key, bytes) else KEY,
        Rotation(Path(":memory:"), known),
        everybody_admin=bool(options.get("everybody", True)),
        password=password if isinstance(password, str) else None,
        now=known,
    )


def test_the_same_secret_is_the_same_user_by_cookie_and_by_header() -> None:
    known = sessions()
    ticket = known.new_ticket(browser=False)
    assert known.from_ticket(ticket) == known.from_header(ticket.secret)
    assert known.from_ticket(known.new_ticket(browser=False)).user != known.from_ticket(ticket).user


def test_another_site_key_is_another_user() -> None:
    other = sessions(key=b"o" * 32)
    assert other.from_header("a secret text").user != sessions().from_header("a secret text").user


@given(st.text(min_size=8, max_size=128).filter(lambda text: not text.startswith("browser.")))
def test_whatever_the_secret_the_actor_is_valid_and_hides_it(secret: str) -> None:
    session = sessions().from_header(secret)
    actor = Actor.model_validate(session.actor.model_dump())
    assert re.fullmatch(r"web:[A-Za-z0-9_-]{32}", actor.user)
    assert re.fullmatch(r"[a-z]+-[a-z]+", actor.name)
    assert len(secret) < 8 or secret not in actor.user


@pytest.mark.parametrize("length", [0, 7, 129])
def test_secrets_of_wrong_length_are_refused(length: int) -> None:
    with pytest.raises(ContractError):
        sessions().from_header("x" * length)


@given(st.text(max_size=80))
def test_nothing_but_our_own_signature_opens(text: str) -> None:
    assert sessions().open(text) is None


def test_cookies_open_again_and_only_for_their_purpose() -> None:
    known = sessions()
    ticket = known.new_ticket(browser=True)
    sealed = known.seal(ticket)
    assert known.open(sealed) == ticket
    assert ticket.secret not in sealed or "." in sealed
    signed, dot, signature = sealed.rpartition(".")
    forged = ("A" if signature[0] != "A" else "B") + signature[1:]
    assert known.open(signed + dot + forged) is None
    assert known.open(str(signer(KEY, "flash").dumps(["x", 1, 2]))) is None
    assert known.open(str(signer(KEY, "cookie").dumps({"other": 1}))) is None


def test_cookies_are_renewed_while_used() -> None:
    clock = Clock()
    known = sessions(clock)
    ticket = known.new_ticket(browser=True)
    assert not known.stale(ticket)
    clock.now += RENEW_SECONDS + 1
    assert known.stale(ticket)
    renewed = known.renewed(ticket)
    assert renewed.secret == ticket.secret
    assert not known.stale(renewed)


def test_a_login_lasts_half_a_day() -> None:
    clock = Clock()
    known = sessions(clock, everybody=False, password="correct horse")
    ticket = known.new_ticket(browser=True)
    assert not known.from_ticket(ticket).admin
    assert known.logged_in(ticket, "wrong horse") is None
    better = known.logged_in(ticket, "correct horse")
    assert isinstance(better, Ticket)
    assert known.from_ticket(better).admin
    assert known.from_ticket(better).user == known.from_ticket(ticket).user
    clock.now += ADMIN_SECONDS + 1
    assert not known.from_ticket(better).admin
    again = known.logged_in(ticket, "correct horse")
    assert isinstance(again, Ticket)
    assert not known.from_ticket(known.logged_out(again)).admin
    assert not known.from_ticket(again).admin, "the cookie before is worth nothing either"


def test_another_password_ends_the_logins_by_the_one_before() -> None:
    first = sessions(everybody=False, password="correct horse")
    better = first.logged_in(first.new_ticket(browser=True), "correct horse")
    assert better is not None
    cookie = first.seal(better)
    for password, admin in (("correct horse", True), ("another horse", False), (None, False)):
        known = sessions(everybody=False, password=password)
        opened = known.open(cookie)
        assert opened is not None
        assert known.from_ticket(opened).user == first.from_ticket(better).user
        assert known.from_ticket(opened).admin is admin, password


def test_a_replaced_cookie_dies_once_the_next_one_is_shown() -> None:
    clock = Clock()
    known = sessions(clock)
    old = known.new_ticket(browser=True)
    new = known.renewed(old)
    clock.now += 10 * GRACE_SECONDS
    assert known.open(known.seal(old)), "the answer that brought the new one may be lost"
    assert known.open(known.seal(new)) == new
    clock.now += GRACE_SECONDS
    assert known.open(known.seal(old)), "it was on its way"
    clock.now += 1
    assert known.open(known.seal(old)) is None
    assert known.open(known.seal(new)) == new


def test_what_was_replaced_is_remembered_over_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "sessions.sqlite"
    first = Rotation(path, clock)
    assert first.shown("web:a", 3)
    first.log_out("web:a", 3)
    first.close()
    clock.now += GRACE_SECONDS + 1
    second = Rotation(path, clock)
    assert not second.shown("web:a", 2)
    assert second.shown("web:a", 3)
    assert second.logged_out("web:a", 3)
    assert not second.logged_out("web:a", 4)
    assert second.shown("web:b", 0)
    clock.now += 401 * 86400
    second.close()
    third = Rotation(path, clock)
    assert third.shown("web:a", 2), "no browser has kept it for so long"
    third.close()


def test_a_browsers_secret_is_good_in_its_cookie_alone() -> None:
    known = sessions()
    with pytest.raises(ContractError, match="browser"):
        known.from_header(known.new_ticket(browser=True).secret)


def test_the_key_changes_and_people_stay_who_they_are(tmp_path: Path) -> None:
    first = load_site_key(tmp_path)
    ticket = sessions(key=first).new_ticket(browser=True)
    admin = sessions(key=first, password="correct horse").logged_in(ticket, "correct horse")
    assert admin is not None
    cookie = sessions(key=first).seal(admin)
    rotate_site_key(tmp_path)
    second = sessions(key=load_site_key(tmp_path), everybody=False)
    opened = second.open(cookie)
    assert opened is not None
    assert second.stale(opened)
    assert not second.from_ticket(opened).admin, "who knew the old key may have written that"
    assert second.from_ticket(opened).user == sessions(key=first).from_ticket(ticket).user
    again = second.seal(second.renewed(opened))
    rotate_site_key(tmp_path)
    third = sessions(key=load_site_key(tmp_path))
    assert third.open(cookie) is None, "two keys ago"
    assert third.open(again) is not None
    assert third.from_header("a secret text") == sessions(key=first).from_header("a secret text")
    assert stat.S_IMODE((tmp_path / "site.key").stat().st_mode) == 0o600


def test_nobody_logs_in_where_there_is_no_password() -> None:
    known = sessions(everybody=False)
    assert known.logged_in(known.new_ticket(browser=True), "") is None


def test_the_site_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    key = load_site_key(tmp_path / "new")
    path = tmp_path / "new" / "site.key"
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_site_key(tmp_path / "new") == key
    assert [p.name for p in path.parent.iterdir()] == ["site.key"]
    path.chmod(0o644)
    with pytest.raises(SiteKeyError, match="chmod 600"):
        load_site_key(tmp_path / "new")
    path.chmod(0o600)
    path.write_bytes(key[:5])
    with pytest.raises(SiteKeyError, match="damaged"):
        load_site_key(tmp_path / "new")


@given(st.binary(min_size=4, max_size=8))
def test_handles_are_two_words(digest: bytes) -> None:
    assert re.fullmatch(r"[a-z]+-[a-z]+", handle_of(digest))
