"""Settings of a node: section ``[node]`` of a TOML file, and ``BIOREACTOR_NODE_*``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from broker.logs import Format, Level
from broker.messages import Label, Name
from hardware.simulation.organism import PRESETS


def _known_organism(name: str) -> str:
    if name not in PRESETS:
        raise ValueError(f"{name!r} is not simulated; known are {', '.join(PRESETS)}")
    return name


class NodeSettings(BaseSettings):
    """What one node is and may do.

    Attributes:
        id: Its name in topics, and its user name at the broker.
        label: What people see; the id if left out.
        data_dir: Everything that it keeps. One process owns it.
        runner: How experiments are isolated. ``auto`` is Docker where an engine answers; else
            bubblewrap, if reduced isolation is allowed; else the node refuses to start. With
            ``separate`` the node starts none: one that was started elsewhere, with the same
            user, listens in ``runner/runner.sock`` below `data_dir`.
        allow_reduced_isolation: Whether bubblewrap will do.
        runtime: Of the engine, for example ``runsc``.
        base_image: That the experiment image is built on.
        images: Image name → directory of its allow-list, or ``bundled`` for the one that comes with
            the node; empty is that one alone, as ``standard``. A script picks one by its name.
        cache_dir: Where images are made; the user's cache directory if left out.
        reactor: What is controlled; ``simulated`` is a culture in memory, ``replay`` shows a
            recorded run again, ``configured`` is the one that a `reactor.toml` describes.
        organism: What grows in the simulated reactor.
        recording: A CSV file, of the run that is shown again.
        configuration: The `reactor.toml`.
        speed: Seconds of the simulated reactor's clock in one second.
        seed: Of the simulation: the same seed gives the same noise and the same pumps.
        sample_interval: Real seconds between samples.
        hang_after: Seconds of standstill after which the watchdog takes the node for dead: it is
            killed and the reactor made safe. A slow machine may need more.
        portals: Principals that are believed when they say which session controls by hand.
        manual_hold: Seconds after the last manual command at which everything is made safe.
        on_exit: What happens to a running experiment when the node is stopped: it is left
            running and adopted at the next start, or stopped.
        journal_budget: Bytes of the disk that unsent data may take.
        log_format: For people, or one JSON object a line.
        log_level: The least that is written.
    """

    model_config = SettingsConfigDict(
        env_prefix="BIOREACTOR_NODE_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    id: Name = "reactor-1"
    label: Label | None = None
    data_dir: Path = Path("/var/lib/bioreactor/node")
    runner: Literal["auto", "docker", "bubblewrap", "separate"] = "auto"
    allow_reduced_isolation: bool = False
    runtime: str | None = None
    base_image: str = "python:3.11-slim-bookworm"
    images: Mapping[Name, Path] = Field(default_factory=dict)
    cache_dir: Path | None = None
    reactor: Literal["simulated", "replay", "configured"] = "simulated"
    organism: Annotated[str, AfterValidator(_known_organism)] = "e-coli"
    recording: Path | None = None
    configuration: Path | None = None
    speed: float = Field(default=1.0, gt=0, le=100_000)
    seed: int = 0
    sample_interval: float = Field(default=1.0, ge=0.05, le=3600)
    hang_after: float = Field(default=1.2, ge=0.5, le=60)
    portals: Annotated[frozenset[Name], Field(max_length=100)] = frozenset({"portal"})
    manual_hold: float = Field(default=600.0, ge=1, le=86400)
    on_exit: Literal["leave", "stop"] = "leave"
    journal_budget: int = Field(default=2 * 1024**3, ge=16 * 1024**2)
    log_format: Format = "human"
    log_level: Level = "info"
