"""A server of made-up answers by the page's contract, with the standard library alone."""

import contextlib
import json
import shutil
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np

import hypjax
from hypjax.show import explore
from tests.pictures import save_pictures

PACKAGE = Path(hypjax.__file__).parent
FOLDERS = (PACKAGE / "serving" / "page", PACKAGE / "show" / "explore")
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
POLICY = "default-src 'self'; img-src 'self' blob: data:; style-src 'self'"
EVIL = "<img src=x onerror=document.title='gone'>.png"


@contextlib.contextmanager
def serving(answers, token=""):
    """A server in a thread, which asks for a token where it has one; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, answers, token))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


class Answers:
    """Seven classes of pictures at made-up places; who asks for one finds it, and the next ones in order."""

    def __init__(self, root):
        self.root = save_pictures(root, classes=6, each=3)
        (root / "odd").mkdir()
        (root / "odd" / EVIL).write_bytes((root / "class 0" / "0.png").read_bytes()[:-12] + b"\0" * 12)
        shutil.copy(root / "class 1" / "0.png", root / "odd" / "1.png")
        self.paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
        generator = np.random.default_rng(0)
        directions = generator.normal(size=(len(self.paths), 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        points = generator.uniform(0.1, 0.9, (len(self.paths), 1)) * directions
        self.uncertainty = np.linspace(0.9, 0.1, len(self.paths)).tolist()
        self.world = explore.world(points, self.paths, self.uncertainty, geometry="poincare", curvature=1.0)
        self.asked, self.changes, self.notices = [], 1, []

    def get(self, path, query):
        if path == "/about":
            return {"run": "tiny", "step": 3, "geometry": "poincare", "curvature": 1.0, "distance": "geodesic",
                    "count": len(self.paths), "calibrated": True, "risks": [0.05, 0.1], "proven": [0.1],
                    "promises": {"0.05": "5% is proven by no threshold", "0.1": "answered is what 61% would be"},
                    "levels": ["class"], "folder": self.root.name, "changes": self.changes,
                    "notices": self.notices}  # fmt: skip
        if path == "/map":
            return self.world
        if path == "/queue":
            rows = zip(self.paths, self.uncertainty, strict=True)
            return {"items": [{"path": path, "label": path.split("/")[0], "uncertainty": u, "p_wrong": None}
                              for path, u in rows]}  # fmt: skip
        return None

    def search(self, body, kind):
        if kind.startswith("application/json"):
            told = json.loads(body)
            if told["path"] not in self.paths:
                return {"error": "the index holds no such image"}
            start, own, k = self.paths.index(told["path"]) + 1, told["path"], told["k"]
            self.asked.append(told)
            if told.get("where") == "nonsense":
                return {"error": "where: nonsense is no filter"}
        else:
            start = next(i for i, path in enumerate(self.paths) if (self.root / path).read_bytes() in body)
            own, k = None, 5
        found = [(start + i) % len(self.paths) for i in range(k)]
        return {
            "query": {"path": own, "uncertainty": 0.25, "x": 0.3, "y": -0.4},
            "neighbors": [{"path": self.paths[row], "distance": 0.5 + rank, "uncertainty": self.uncertainty[row]}
                          for rank, row in enumerate(found)],
            "p_wrong": 0.31, "given": None if own is None else False, "unlike": own is None, "higher": "", "enough": 3,
            "words": ["the first is wrong with probability 0.31"], "changes": self.changes,
        }  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    def __init__(self, answers, token, *rest):
        self.answers, self.token = answers, token
        super().__init__(*rest)

    def log_message(self, *_):
        pass

    def send(self, status, body, kind="application/json"):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", len(body)), ("Content-Security-Policy", POLICY)):
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def refused(self):
        if self.token and self.headers.get("Authorization") != f"Bearer {self.token}":
            self.send(401, {"error": "give the token"})
            return True
        return False

    def do_GET(self):
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        name = "index.html" if url.path == "/" else url.path.removeprefix("/page/")
        file = next((folder / name for folder in FOLDERS if (folder / name).is_file()), None)
        if file:
            self.send(200, file.read_bytes(), KINDS[file.suffix])
        elif not self.refused():
            if url.path == "/image":
                self.send(200, (self.answers.root / query["path"]).read_bytes(), "image/png")
            else:
                found = self.answers.get(url.path, query)
                self.send(200 if found else 404, found or {"error": "there is no such thing"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.refused():
            found = self.answers.search(body, self.headers["Content-Type"])
            self.send(400 if "error" in found else 200, found)
