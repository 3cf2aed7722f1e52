import logging
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from broker.settings import BrokerSettings, Endpoint, SettingsError, load_settings, parse_url


class Inner(BaseModel):
    left: int = 1
    right: int = 2


class OtherSettings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="BIOREACTOR_OTHER_", env_nested_delimiter="__", extra="forbid"
    )

    data_dir: Path = Path("data")
    portals: tuple[str, ...] = ("portal",)
    inner: Inner = Inner()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "USERNAME", "PASSWORD", "ROOT", "KEEPALIVE"):
        monkeypatch.delenv(f"BIOREACTOR_BROKER_{name}", raising=False)


def write(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("mqtt://lab.example", Endpoint("tcp", "lab.example", 1883, "", tls=False)),
        ("mqtts://lab.example:9", Endpoint("tcp", "lab.example", 9, "", tls=True)),
        ("ws://[::1]:8080/mqtt", Endpoint("websockets", "::1", 8080, "/mqtt", tls=False)),
        ("wss://lab.example", Endpoint("websockets", "lab.example", 443, "/", tls=True)),
        ("ws://h/a?b=c", Endpoint("websockets", "h", 80, "/a?b=c", tls=False)),
        ("unix:///run/mqtt.sock", Endpoint("unix", "", 0, "/run/mqtt.sock", tls=False)),
    ],
)
def test_urls(url: str, endpoint: Endpoint) -> None:
    assert parse_url(url) == endpoint
    assert BrokerSettings(url=url).endpoint == endpoint


@pytest.mark.parametrize(
    "url",
    [
        "lab.example:1883",
        "http://lab.example",
        "mqtt://",
        "mqtt://lab.example/path",
        "mqtt://lab.example:port",
        "mqtt://lab.example:99999",
        "mqtt://user:secret@lab.example",
        "unix://relative",
        "mqtt://a..b",
        "",
    ],
)
def test_urls_that_mean_nothing(url: str) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        parse_url(url)
    assert "secret" not in str(caught.value)


def test_the_environment_overrides_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(
        tmp_path,
        '[broker]\nurl = "mqtt://file"\nusername = "file"\npassword = "p"\n'
        '[other]\nportals = ["a", "b"]\ninner = {left = 10, right = 20}\n',
    )
    monkeypatch.setenv("BIOREACTOR_BROKER_URL", "mqtt://environment")
    monkeypatch.setenv("BIOREACTOR_OTHER_INNER__RIGHT", "200")

    broker = load_settings(BrokerSettings, "broker", path)
    other = load_settings(OtherSettings, "other", path)

    assert (broker.url, broker.username) == ("mqtt://environment", "file")
    assert broker.password == SecretStr("p")
    assert other.portals == ("a", "b")
    assert (other.inner.left, other.inner.right) == (10, 200)


def test_without_a_file_or_section_defaults_hold(tmp_path: Path) -> None:
    assert load_settings(BrokerSettings, "broker", None) == BrokerSettings()
    assert load_settings(BrokerSettings, "broker", write(tmp_path, "[hub]\n")) == BrokerSettings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[broker]\nurll = "x"', "[broker] urll is no setting, did you mean url?"),
        ("[broker]\nzzz = 1", "[broker] zzz is no setting"),
        ('[broker]\nkeepalive = "soon"', "[broker] keepalive: Input should be a valid integer"),
        ('[broker]\nurl = "http://x"', "[broker] url: the broker's URL must look like mqtt://"),
        ('[broker]\nroot = "Lab 7"', "[broker] root: 'Lab 7' cannot be used as a name"),
        ("[brokr]\nurl = 1", "[brokr] is no section, did you mean [broker]?"),
        ("broker = 1", "broker must be a table, written [broker]"),
        ("[broker", "is not TOML"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_file_and_key(
    tmp_path: Path, text: str, message: str
) -> None:
    path = write(tmp_path, text)

    with pytest.raises(SettingsError) as caught:
        load_settings(BrokerSettings, "broker", path)

    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mistake_in_the_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIOREACTOR_BROKER_KEEPALIVE", "soon")

    with pytest.raises(SettingsError, match="environment variable BIOREACTOR_BROKER_KEEPALIVE: "):
        load_settings(BrokerSettings, "broker", None)


def test_a_malformed_list_in_the_environment_names_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BIOREACTOR_OTHER_PORTALS", "[")

    with pytest.raises(SettingsError, match="BIOREACTOR_OTHER_PORTALS"):
        load_settings(OtherSettings, "other", None)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nothing\.toml cannot be read: No such file"):
        load_settings(BrokerSettings, "broker", tmp_path / "nothing.toml")


def test_secrets_that_others_may_read_are_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    load_settings(BrokerSettings, "broker", write(tmp_path, '[broker]\npassword = "x"', 0o644))
    assert "chmod 600" in caplog.text


def test_secrets_are_not_shown() -> None:
    assert "hush" not in repr(BrokerSettings(password=SecretStr("hush")))
