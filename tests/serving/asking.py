"""A server in a thread, and how tests ask it: over real sockets, with the standard library alone."""

import contextlib
import http.client
import json
import socket
import threading
import time

from hypjax.serving import server as serving

BOUNDARY = "between"


@contextlib.contextmanager
def served(app):
    """Runs an application on a free port; gives the port, and ends the server in the end."""
    running, listening = serving.create_server(app), serving.bound("127.0.0.1", 0)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not running.started and thread.is_alive():
            time.sleep(0.005)
        yield listening.getsockname()[1]
    finally:
        running.should_exit = True
        thread.join()
        listening.close()


def request(port, method, path, body=None, headers=(), timeout=30):
    """One request on a connection of its own: status, headers, and the body, JSON read."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        content = response.read()
    kind = response.headers.get("content-type", "")
    return response.status, response.headers, json.loads(content) if kind == "application/json" else content


def get(port, path, **headers):
    """A GET."""
    return request(port, "GET", path, headers=headers)


def post_json(port, path, fields, **headers):
    """A POST of a JSON object."""
    return request(port, "POST", path, json.dumps(fields), {"content-type": "application/json", **headers})


def post_picture(port, path, picture, **fields):
    """A POST of a form with a picture."""
    return request(port, "POST", path, *form(picture, **fields))


def form(picture, *, name="query.jpg", field="image", **fields):
    """A form with a file: its bytes and the header that goes with them."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
    body = b"".join([*parts, head.encode(), picture, f"\r\n--{BOUNDARY}--\r\n".encode()])
    return body, {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def talk(port, sent, timeout=15):
    """Sends bytes as they are; all that comes back until the connection is closed."""
    received = b""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection,
        contextlib.suppress(ConnectionResetError, BrokenPipeError),
    ):
        connection.sendall(sent)
        while part := connection.recv(65536):
            received += part
    return received
