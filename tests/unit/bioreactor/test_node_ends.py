"""A node that is stopped while a script's call is on its way."""

import socket
import threading
from pathlib import Path

from bioreactor._gateway import Gateway

BROKEN_OFF = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 21\r\n\r\nInternal Server Error"
)
DONE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def test_a_call_that_a_stopping_node_breaks_off_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "gateway.sock"
    bodies: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        for answer in (BROKEN_OFF, DONE):
            connection, _ = listener.accept()
            with connection:
                request = connection.recv(65536)
                while b"}" not in request:
                    request += connection.recv(65536)
                bodies.append(request.partition(b"\r\n\r\n")[2])
                connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        assert Gateway(str(path)).post("/record", {"values": {"od": 1.0}}) == {}
        server.join(10)
    assert len(bodies) == 2
    assert bodies[0] == bodies[1]  # the same id: it counts once
