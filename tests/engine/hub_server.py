"""The few endpoints of a Hugging Face hub that a download needs, over files in memory."""

import hashlib
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer(ThreadingHTTPServer):
    """Serves `repositories` (name → path → bytes); `asked` are the paths whose content left."""

    def __init__(self, repositories: Mapping[str, Mapping[str, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def log_message(self, format: str, *args: Any) -> None:
        return

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        files = self.server.repositories.get(name)
        if name == "gated/sae":
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo"}, with_body)
        elif files is None:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body)
        elif parts[0] == "api":
            self._send(200, json.dumps(self._api(name, files, parts[4:])).encode(), {}, with_body)
        elif "/".join(parts[4:]) not in files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, with_body)
        else:
            path = "/".join(parts[4:])
            if with_body:
                self.server.asked.append(path)
            etag = f'"{hashlib.sha256(files[path]).hexdigest()}"'
            self._send(200, files[path], {"X-Repo-Commit": COMMIT, "ETag": etag}, with_body)

    def _api(self, name: str, files: Mapping[str, bytes], parts: list[str]) -> Any:
        if parts[:1] == ["tree"]:
            return [{"type": "file", "path": p, "size": len(c), "oid": COMMIT} for p, c in files.items()]
        return {
            "id": name,
            "sha": COMMIT,
            "siblings": [{"rfilename": p, "size": len(c)} for p, c in files.items()],
        }

    def _send(self, status: int, content: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(status)
        for header, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(header, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content)
