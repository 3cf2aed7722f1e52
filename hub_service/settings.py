"""Settings of the hub: section `[hub]` of a TOML file, overridden by `BIOREACTOR_HUB_*`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from broker.messages import Name, RunLimits


class HubSettings(BaseSettings):
    """How the hub works.

    Attributes:
        data_dir: Its own directory: the queue, the archive, exports. One hub at a time uses it.
        portals: Principals that are believed when they say which browser session acts.
        open: Everybody may change every experiment and fetch its results, as in a trusted
            laboratory. False: only its owner and administrators.
        run: What one run may use; how long is up to the script and the queue's limits.
    """

    model_config = SettingsConfigDict(env_prefix="BIOREACTOR_HUB_", extra="forbid", frozen=True)

    data_dir: Path = Path("/var/lib/bioreactor/hub")
    portals: Annotated[frozenset[Name], Field(max_length=100)] = frozenset({"portal"})
    open: bool = True
    run: RunLimits = RunLimits()
