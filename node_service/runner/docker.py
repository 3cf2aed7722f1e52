"""The Docker engine, from asyncio. The only module that imports the docker SDK.

`DOCKER_HOST`, TLS settings and rootless engines work as they do for the docker command. The
engine may be away for a while: the connection is made at the first call that succeeds.
"""

import asyncio
import os
import subprocess
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, TypeVar, cast

import requests
from docker import APIClient
from docker.errors import APIError, DockerException, NotFound
from docker.types.daemon import CancellableStream
from docker.utils import kwargs_from_env, parse_repository_tag

from node_service.runner.interface import RunnerError

T = TypeVar("T")

_CALL_TIMEOUT: Final = 60
_PIECE: Final = 256 * 1024
_LONGEST_STEP: Final = 100
_BLOCKS_AHEAD: Final = 64
"""Pieces of a stream that are read before somebody takes them."""


class NotFoundError(RunnerError):
    """The engine has no such container or image."""


class Engine:
    """One engine; safe to use from many tasks of one loop.

    Args:
        calls: Threads for calls, which end soon.
        streams: Threads for streams, which may stay for days.
    """

    def __init__(self, *, calls: int = 4, streams: int = 16) -> None:
        self._calls = ThreadPoolExecutor(calls, thread_name_prefix="engine-call")
        self._streams = ThreadPoolExecutor(streams, thread_name_prefix="engine-stream")
        self._connecting = threading.Lock()
        self._client: APIClient | None = None

    async def call(self, work: Callable[[APIClient], T]) -> T:
        """Do something with the engine in a thread.

        Raises:
            NotFoundError: The engine does not have what is named.
            RunnerError: The engine refused, or does not answer.
        """
        return await asyncio.get_running_loop().run_in_executor(self._calls, self._do, work)

    async def stream(
        self, method: str, path: str, parameters: Mapping[str, str]
    ) -> AsyncGenerator[bytes, None]:
        """Give the answer of the engine as it comes, in pieces, for as long as it lasts.

        A connection that breaks looks like the end: ask the engine what is true then.

        Args:
            method: Of HTTP.
            path: Below the version, for example ``/containers/abc/logs``.
            parameters: Of the query.

        Raises:
            RunnerError: As `call`.
        """
        loop = asyncio.get_running_loop()
        own, response = await self.call(
            lambda api: self._open_stream(api.api_version, method, path, parameters)
        )
        reader = CancellableStream(response.iter_content(chunk_size=None), response)
        blocks: asyncio.Queue[bytes | None] = asyncio.Queue()
        slots = threading.Semaphore(_BLOCKS_AHEAD)

        def pump() -> None:
            # closing the stream under its reader surfaces as one of these
            with suppress(OSError, ValueError, AttributeError):
                for block in reader:
                    slots.acquire()
                    loop.call_soon_threadsafe(blocks.put_nowait, block)
            loop.call_soon_threadsafe(blocks.put_nowait, None)

        pumping = loop.run_in_executor(self._streams, pump)
        try:
            while (block := await blocks.get()) is not None:
                slots.release()
                yield block
        finally:
            with suppress(OSError, AttributeError):
                reader.close()
            slots.release(_BLOCKS_AHEAD)
            await asyncio.shield(pumping)
            own.close()

    async def close(self) -> None:
        """Let go of the engine; streams must have ended."""
        if self._client is not None:
            self._client.close()
        self._calls.shutdown(wait=False, cancel_futures=True)
        self._streams.shutdown(wait=False, cancel_futures=True)

    def _do(self, work: Callable[[APIClient], T]) -> T:
        try:
            return work(self._connected())
        except NotFound as error:
            raise NotFoundError(_explain(error), code="NOT_FOUND") from error
        except APIError as error:
            raise RunnerError(f"the container engine refused: {_explain(error)}") from error
        except (DockerException, requests.exceptions.RequestException) as error:
            raise RunnerError(
                "the container engine does not answer",
                "start it (systemctl start docker) and see that this user may use its socket",
                "UNAVAILABLE",
            ) from error

    def _connected(self) -> APIClient:
        with self._connecting:
            if self._client is None:
                self._client = _new_client("auto")
            return self._client

    @staticmethod
    def _open_stream(
        version: str, method: str, path: str, parameters: Mapping[str, str]
    ) -> tuple[APIClient, requests.Response]:
        """Open a stream on a client of its own.

        Closing a stream under its reader may leave its dead socket among the connections that the
        client keeps for later calls.
        """
        own = _new_client(version)
        try:
            return own, _open(own, method, path, parameters)
        except BaseException:
            own.close()
            raise


def _new_client(version: str) -> APIClient:
    settings: dict[str, Any] = dict(kwargs_from_env())
    settings.setdefault("base_url", _default_socket())
    client = APIClient(version=version, timeout=_CALL_TIMEOUT, **settings)
    client.trust_env = False  # no proxies, no netrc: this is a local socket
    return client


def create_container(api: APIClient, options: Mapping[str, Any], name: str) -> str:
    """Make a container of exactly these options; return its id."""
    created = api.create_container_from_config(options, name=name)  # type: ignore[no-untyped-call]
    return str(created["Id"])


def inspect_image(api: APIClient, name: str) -> Mapping[str, Any]:
    """Return what the engine knows of an image."""
    image: Mapping[str, Any] = api.inspect_image(name)  # type: ignore[no-untyped-call]
    return image


def list_images(api: APIClient, pattern: str) -> Sequence[str]:
    """Return the ids of the images whose name and tag match, newest first."""
    images = api.images(filters={"reference": pattern})
    return [image["Id"] for image in sorted(images, key=lambda image: -image["Created"])]


def remove_image(api: APIClient, name: str) -> None:
    """Remove an image that no container uses."""
    api.remove_image(name)


def pull_image(api: APIClient, name: str) -> None:
    """Get an image from its registry."""
    repository, tag = parse_repository_tag(name)
    api.pull(repository, tag=tag or "latest")


def build_image(
    api: APIClient,
    context: Path,
    *,
    tag: str,
    arguments: Mapping[str, str],
    labels: Mapping[str, str],
    tell: Callable[[str], None],
) -> None:
    """Build an image from a directory, without network.

    Args:
        api: The engine.
        context: Streamed to the engine as it is, owned by root and without times.
        tag: Of the image.
        arguments: Of the build.
        labels: On the image.
        tell: Given a line for each step, in this thread.

    Raises:
        RunnerError: A step failed.
    """
    archive = subprocess.Popen(
        ["tar", "-c", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "."],
        cwd=context,
        stdout=subprocess.PIPE,
    )
    with archive:
        if archive.stdout is None:
            raise AssertionError("the archive is piped")
        # what is sent may be any iterable of bytes, whatever the declared type says
        pieces = cast("IO[bytes]", iter(partial(archive.stdout.read, _PIECE), b""))
        steps = api.build(
            fileobj=pieces,
            custom_context=True,
            tag=tag,
            buildargs=dict(arguments),
            labels=dict(labels),
            network_mode="none",
            rm=True,
            forcerm=True,
            decode=True,
        )
        said: deque[str] = deque(maxlen=5)
        for step in steps:
            line = str(step.get("stream", "")).strip()
            if line:
                said.append(line)
            if line.startswith("Step "):
                tell(line.splitlines()[0][:_LONGEST_STEP])
            if "error" in step:
                raise RunnerError(
                    f"the image cannot be built: {step['error']} ({' | '.join(said)})"
                )


def _default_socket() -> str | None:
    """Return the rootless engine's socket where the system's is missing."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and not Path("/var/run/docker.sock").exists():
        rootless = Path(runtime) / "docker.sock"
        if rootless.exists():
            return f"unix://{rootless}"
    return None


def _open(
    api: APIClient, method: str, path: str, parameters: Mapping[str, str]
) -> requests.Response:
    address = f"{api.base_url}/v{api.api_version}{path}"
    response = api.request(method, address, params=dict(parameters), stream=True, timeout=None)
    if not response.ok:
        with response:
            kind = NotFound if response.status_code == requests.codes.not_found else APIError
            message = str(response.json().get("message", "")) or response.reason
            raise kind(message, response, message)
    return response


def _explain(error: APIError) -> str:
    return str(error.explanation or error)
