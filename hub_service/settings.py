"""Settings of the hub: section `[hub]` of a TOML file, overridden by `BIOREACTOR_HUB_*`."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from broker.logs import Format, Level
from broker.messages import Name, NotificationKind, RunLimits


class NotifyTarget(BaseModel):
    """Whom to tell of what, besides MQTT.

    Attributes:
        name: What logs and the audit call it.
        url: Apprise's, for example ``mailtos://user:password@example.org?to=lab@example.org`` or
            ``json://example.org/hook``; see https://appriseit.com/services. A secret.
        on: What it is told of.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Name
    url: SecretStr
    on: frozenset[NotificationKind] = frozenset({"finished", "failed", "interrupted", "alarm"})


class HubSettings(BaseSettings):
    """How the hub works.

    Attributes:
        data_dir: Its own directory: the queue, the archive, exports. One hub at a time uses it.
        portals: Principals that are believed when they say which browser session acts.
        open: Everybody may see every experiment, change it and fetch its results, as in a trusted
            laboratory. False: only its owner and administrators; others see what the queue says of
            it, and that its reactor is busy.
        run: What one run may use; how long is up to the script and the queue's limits.
        notify: Whom to tell of experiments that end and of alarms; MQTT is always told.
        log_format: For people, or one JSON object a line.
        log_level: The least that is written.
    """

    model_config = SettingsConfigDict(
        env_prefix="BIOREACTOR_HUB_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    data_dir: Path = Path("/var/lib/bioreactor/hub")
    portals: Annotated[frozenset[Name], Field(max_length=100)] = frozenset({"portal"})
    open: bool = True
    run: RunLimits = RunLimits()
    notify: Annotated[tuple[NotifyTarget, ...], Field(max_length=20)] = ()
    log_format: Format = "human"
    log_level: Level = "info"

    @model_validator(mode="after")
    def _targets_are_called_differently(self) -> "HubSettings":
        names = [target.name for target in self.notify]
        if len(set(names)) < len(names):
            raise ValueError("two targets of notify have the same name")
        return self
