"""The configuration files of both brokers, bound to loopback.

What says who may do what stands in files of its own, which `bioreactor access` writes anew and the
broker reads again at SIGHUP; so do the certificates.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, Literal

from pydantic import JsonValue

from broker.access import Hashes, Roles, mosquitto_acl, mosquitto_passwords, nats_authorization
from broker.topics import Topics

Kind = Literal["mosquitto", "nats"]

Files = Mapping[str, str]
"""Text by file name; all of them are secret."""

MAX_PACKET_BYTES: Final = 1024 * 1024
"""Larger packets disconnect their sender; ours stay below 768 KiB."""

_WINDOW: Final = 1000
"""Unacknowledged QoS 1 messages on their way to one client; a slow one bears so many at once."""

NATS_ACK_WAIT_S: Final = 10
"""Every handler copes with a message that comes again; all but exports answer much sooner."""

_STORE_MEMORY: Final = 64 * 1024 * 1024
_STORE_FILES: Final = 2 * 1024 * 1024 * 1024


CA_CERTIFICATE: Final = "ca.crt"
CERTIFICATE: Final = "server.crt"
KEY: Final = "server.key"
REVOKED: Final = "revoked.pem"
"""The files of certificates, beside the configuration; NATS reads no list of revoked ones."""


_MOSQUITTO_TLS: Final = (
    f"cafile {CA_CERTIFICATE}",
    f"certfile {CERTIFICATE}",
    f"keyfile {KEY}",
    f"crlfile {REVOKED}",
    "require_certificate true",
    "tls_version tlsv1.2",  # or newer
)


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the broker listens.

    Attributes:
        websocket: None leaves WebSockets out.
        encrypted: Both with TLS, and a client shows a certificate of the same authority as the
            broker's. It gives its password too: that says who it is. So do the servers of a
            cluster among themselves.
    """

    mqtt: int
    websocket: int | None = None
    encrypted: bool = False


def access_files(
    kind: Kind, principals: Roles, hashes: Mapping[str, Hashes], topics: Topics
) -> Files:
    """Return what says who may do what: `acl` and `passwords`, or `authorization.conf`."""
    users = tuple(principals)
    if kind == "nats":
        return {"authorization.conf": nats_access([(users, topics)], hashes)}
    return {
        "acl": mosquitto_acl(users, topics),
        "passwords": mosquitto_passwords({user.name: hashes[user.name] for user in users}),
    }


def nats_access(sites: Iterable[tuple[Roles, Topics]], hashes: Mapping[str, Hashes]) -> str:
    """Return `authorization.conf` of one site or of several; a name may be taken only once."""
    users = [nats_authorization(roles, hashes, topics)["users"] for roles, topics in sites]
    block = json.dumps({"users": list(chain.from_iterable(users))}, indent=1)
    return f'"authorization": {block}\n'


def mosquitto_files(
    principals: Roles, hashes: Mapping[str, Hashes], topics: Topics, ports: Ports
) -> Files:
    """Return `mosquitto.conf`, `acl` and `passwords`; it runs in their directory.

    Mosquitto 2.0.11 opens a WebSocket listener on every interface, whatever its address, unless the
    listener is told to speak IPv4 alone.
    """
    secure = _MOSQUITTO_TLS if ports.encrypted else ()
    listeners = [f"listener {ports.mqtt} 127.0.0.1", "socket_domain ipv4", *secure]
    if ports.websocket is not None:
        listeners += [
            f"listener {ports.websocket} 127.0.0.1",
            "socket_domain ipv4",
            "protocol websockets",
            *secure,
        ]
    conf = [
        *("per_listener_settings false", *listeners),
        *("allow_anonymous false", "password_file passwords", "acl_file acl"),
        "set_tcp_nodelay true",
        f"max_packet_size {MAX_PACKET_BYTES}",
        f"max_inflight_messages {_WINDOW}",
        "max_queued_messages 100000",  # beyond, a stalled subscriber loses messages silently
        "max_queued_bytes 268435456",
        "memory_limit 536870912",
        *("persistence true", "persistence_location ./", "autosave_interval 5"),
        "persistent_client_expiration 14d",
        "sys_interval 0",
        *("log_dest stderr", "log_type error", "log_type warning", "log_type notice"),
        "connection_messages true",  # otherwise it does not say whom it refuses
    ]
    return {
        "mosquitto.conf": "\n".join(conf) + "\n",
        **access_files("mosquitto", principals, hashes, topics),
    }


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a server of a NATS cluster differs in from one that is alone.

    Attributes:
        server: Its name, which no other has.
        host: The address it listens at, for clients and for the other servers.
        port: Where the other servers find it.
        others: The other servers, as ``host:port``. It must not be among them: it would expect
            one server more than there are, and so need all three to agree on anything.
        password: Of the servers among themselves.
    """

    server: str
    host: str
    port: int | str
    others: Sequence[str]
    password: str


REPLICAS: Final = 3
"""A message is acknowledged when most of so many servers have it."""

_CLUSTER_USER: Final = "server"


def nats_files(
    principals: Roles,
    hashes: Mapping[str, Hashes],
    topics: Topics,
    ports: Ports,
    cluster: Cluster | None = None,
) -> Files:
    """Return `nats.conf` and `authorization.conf`; it runs in their directory.

    JetStream is what its MQTT stands on.
    """
    host = "127.0.0.1" if cluster is None else cluster.host
    tls: dict[str, JsonValue] = {
        "tls": {
            "cert_file": CERTIFICATE,
            "key_file": KEY,
            "ca_file": CA_CERTIFICATE,
            "verify": True,
        }
    }
    mqtt: dict[str, JsonValue] = {
        "host": host,
        "port": ports.mqtt,
        "max_ack_pending": _WINDOW,
        # After so long it brings a message again, also one that it had brought to a hub which
        # was killed; so requests under way then come behind those that waited for the hub.
        "ack_wait": f"{NATS_ACK_WAIT_S}s",
        **(tls if ports.encrypted else {}),
    }
    conf: dict[str, JsonValue] = {
        "server_name": "bioreactor" if cluster is None else cluster.server,
        "host": "127.0.0.1",
        "port": -1,  # any: its own protocol is open to nobody, see broker.access
        "max_payload": MAX_PACKET_BYTES,
        # Otherwise a subscriber that takes nothing could fill the disk.
        "jetstream": {"store_dir": "store", "max_mem": _STORE_MEMORY, "max_file": _STORE_FILES},
        "mqtt": mqtt,
    }
    if ports.websocket is not None:
        secure = tls if ports.encrypted else {"no_tls": True}
        conf["websocket"] = {"host": host, "port": ports.websocket, **secure}
    if cluster is not None:
        conf["cluster"] = _clustered(cluster, tls if ports.encrypted else {})
        mqtt |= {
            "stream_replicas": REPLICAS,  # and of what consumes them
            # When a server died, the others go on taking it for the leader of what is made anew,
            # and only elect another one after 4 to 9 s; by its default of 5 s it would refuse.
            "js_api_timeout": "10s",
        }
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in conf.items()]
    access = access_files("nats", principals, hashes, topics)
    includes = [f'include "{name}"' for name in access]
    return {"nats.conf": "\n".join([*lines, *includes]) + "\n", **access}


def _clustered(cluster: Cluster, tls: Mapping[str, JsonValue]) -> JsonValue:
    """Return the `cluster` block; the servers tell one another who they are by a password.

    A client's certificate, which is of the same authority, is not enough to be one of them.
    """
    return {
        "name": "bioreactor",
        "host": cluster.host,
        "port": cluster.port,
        "authorization": {"user": _CLUSTER_USER, "password": cluster.password},
        "routes": [
            f"nats-route://{_CLUSTER_USER}:{cluster.password}@{route}" for route in cluster.others
        ],
        **tls,
    }
