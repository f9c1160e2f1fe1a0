"""Storage of objects without a network: `gs://` and `s3://` as folders here, for `etils.epath` and for TensorStore.

`install` puts a backend under `etils.epath` that refuses what such storage cannot do: to append, and to rename a file.
`Server` speaks as much of the JSON API of Google's storage as TensorStore asks for, of the same folders.
"""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from etils.epath import backend, gpath


class Objects(backend._OsPathBackend):
    """What lies at `SCHEME://BUCKET/NAME` is kept in `ROOT/BUCKET/NAME`."""

    def __init__(self, root):
        self.root, self.written = Path(root), []

    def _here(self, path):
        return str(self.root / str(path).split("://")[1])

    def open(self, path, mode):
        if "a" in mode:
            raise OSError(f"{path}: objects cannot be appended to")
        here = self._here(path)
        if "w" in mode:
            self.written.append(str(path))
            Path(here).parent.mkdir(parents=True, exist_ok=True)
            return self._sent(Path(here), mode)
        return super().open(here, mode)

    @contextmanager
    def _sent(self, here, mode):
        """Whole or not there, as an object is."""
        beside = here.with_name(f"{here.name}.{threading.get_ident()}~")
        with super().open(beside, mode) as file:
            yield file
        beside.replace(here)

    def replace(self, path, dst):
        raise OSError(f"{path}: objects cannot be renamed")

    rename = replace

    def glob(self, path):
        scheme = str(path).partition("://")[0]
        return [f"{scheme}://{Path(found).relative_to(self.root)}" for found in super().glob(self._here(path))]

    def walk(self, *_, **__):
        raise NotImplementedError  # etils gives paths without their bucket

    def mkdir(self, path, *, exist_ok=False, mode=None):
        super().makedirs(self._here(path), exist_ok=exist_ok)

    def makedirs(self, path, *, exist_ok=False, mode=None):
        super().makedirs(self._here(path), exist_ok=exist_ok)

    def copy(self, path, dst, overwrite):
        raise NotImplementedError

    def exists(self, path):
        return super().exists(self._here(path))

    def isdir(self, path):
        return super().isdir(self._here(path))

    def listdir(self, path):
        return super().listdir(self._here(path))

    def rmtree(self, path):
        super().rmtree(self._here(path))

    def remove(self, path):
        super().remove(self._here(path))

    def stat(self, path):
        return super().stat(self._here(path))


def install(root, monkeypatch):
    """Serves all addresses from a folder; returns the backend, which notes what is written."""
    objects = Objects(root)
    monkeypatch.setattr(gpath, "_PREFIX_TO_BACKEND", {**gpath._PREFIX_TO_BACKEND, "gs": objects, "s3": objects})
    monkeypatch.setattr(gpath, "_is_tf_installed", lambda: False)
    monkeypatch.setattr("hypjax.data.places.EXTRAS", {"gs": ("json", ""), "s3": ("json", "")})
    monkeypatch.setattr("orbax.checkpoint._src.path.gcs_utils.is_hierarchical_namespace_enabled", lambda path: False)
    return objects


class Server:
    """Google's storage for TensorStore, as a context manager; gives its address."""

    def __init__(self, root):
        class Handler(_Handler):
            folder = Path(root)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *exception):
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder = Path()

    def log_message(self, *words):
        pass

    def _asked(self):
        parts = urlsplit(self.path)
        words = {key: values[0] for key, values in parse_qs(parts.query).items()}
        bucket, _, name = parts.path.partition("/b/")[2].partition("/o")
        return self.folder / bucket, unquote(name.removeprefix("/")), words

    def _answer(self, status, body=b"", **headers):
        self.send_response(status)
        for key, value in {**headers, "Content-Length": len(body)}.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def _refused(self, file, words):
        there = _generation(file) if file.is_file() else 0
        wanted, unwanted = words.get("ifGenerationMatch"), words.get("ifGenerationNotMatch")
        return (wanted is not None and int(wanted) != there) or (unwanted is not None and int(unwanted) == there)

    def _told(self, file, bucket):
        name, status = file.relative_to(bucket).as_posix(), file.stat()
        return {"name": name, "size": str(status.st_size), "generation": str(_generation(file)), "bucket": bucket.name}

    def do_GET(self):
        bucket, name, words = self._asked()
        if not name:
            files = sorted(path for path in bucket.rglob("*") if path.is_file())
            items = [self._told(file, bucket) for file in files]
            begin, end = words.get("startOffset", ""), words.get("endOffset", "\U0010ffff")
            items = [
                item
                for item in items
                if item["name"].startswith(words.get("prefix", "")) and begin <= item["name"] < end
            ]
            return self._answer(200, json.dumps({"items": items}).encode(), Content_Type="application/json")
        file = bucket / name
        if not file.is_file():
            return self._answer(404)
        if self._refused(file, words):
            return self._answer(412)
        if words.get("alt") != "media":
            return self._answer(200, json.dumps(self._told(file, bucket)).encode())
        data, asked = file.read_bytes(), self.headers.get("Range", "")
        told = {"x_goog_generation": _generation(file)}
        if not asked:
            return self._answer(200, data, **told)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start = int(first) if first else len(data) - int(last)
        stop = min(int(last) + 1, len(data)) if first and last else len(data)
        if start >= len(data):
            return self._answer(416)
        return self._answer(206, data[start:stop], Content_Range=f"bytes {start}-{stop - 1}/{len(data)}", **told)

    def do_POST(self):
        bucket, _, words = self._asked()
        data = self.rfile.read(int(self.headers["Content-Length"]))
        file = bucket / words["name"]
        if self._refused(file, words):
            return self._answer(412)
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f"{file.name}.{threading.get_ident()}~")
        beside.write_bytes(data)
        beside.replace(file)
        return self._answer(200, json.dumps(self._told(file, bucket)).encode(), Content_Type="application/json")

    def do_DELETE(self):
        bucket, name, words = self._asked()
        file = bucket / name
        if not file.is_file():
            return self._answer(404)
        if self._refused(file, words):
            return self._answer(412)
        file.unlink()
        return self._answer(204)


def _generation(file):
    status = file.stat()
    return status.st_mtime_ns + status.st_ino
