"""Serves the page of a game on 127.0.0.1, to those that know its address.

The address has a random token. A request must name this machine in its Host, and one that changes
something must come from the page itself (its Origin): else any page in the player's browser, or one
that had its name resolve to 127.0.0.1, could ask, too.
"""

import hmac
import json
import re
import secrets
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from harness.explore.play.game import Game, Stale
from harness.explore.runs import MOST_STEPS

HERE = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?", re.ASCII)
MOST_BODY = 1 << 20  # bytes of a request
MOST_GUESS = 200  # characters
WAITS = 20.0  # seconds that a request for news waits for them
PATIENCE = 60.0  # seconds for a request to come whole
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src "
    "'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
}


class PageServer(ThreadingHTTPServer):
    """Serves the page of a game. `address` is where."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, game: Game, page: str, port: int):
        """Listen on this port of 127.0.0.1, or on any if it is 0. Raises OSError."""
        self.game, self.page, self.token = game, page, secrets.token_urlsafe(24)
        super().__init__(("127.0.0.1", port), Requests)

    @property
    def address(self) -> str:
        """The page's address, with the token."""
        return f"http://127.0.0.1:{self.server_address[1]}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that has gone."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class Requests(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "Grupo", ""
    timeout = PATIENCE

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: an address has the token."""

    def do_GET(self) -> None:
        """Answer with the page, or with what is new."""
        what, asked = self.asked()
        game = self.server.game
        if what == "":
            self.answer(self.server.page.encode(), "text/html; charset=utf-8")
        elif what == "state":
            version, row = (number(asked.get(name, "")) for name in ("version", "row"))
            game.wait(version, WAITS)
            self.answer_state(row)
        elif what == "schedule":
            self.answer(game.schedule().encode(), "text/plain; charset=utf-8")
        elif what is not None:
            self.refuse(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        """Do what the player asks, and answer with what is new."""
        what, _ = self.asked()
        if what is None:
            return
        if self.headers.get("Origin") != f"http://{self.headers.get('Host')}":
            return self.refuse(HTTPStatus.FORBIDDEN)
        if what != "go":
            return self.refuse(HTTPStatus.NOT_FOUND)
        length = number(self.headers.get("Content-Length", ""))
        if not 0 < length <= MOST_BODY:
            return self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        body = body_of(self.rfile.read(length))
        if body is None:
            return self.refuse(HTTPStatus.BAD_REQUEST)
        try:
            self.server.game.go(
                body["here"], body["path"], body["to_end"], body["guess"][:MOST_GUESS]
            )
        except Stale:
            return self.answer_state(body["row"], HTTPStatus.CONFLICT)
        self.answer_state(body["row"])

    def asked(self) -> tuple[str | None, dict[str, str]]:
        """Return what is asked for, and its values; None if the request was refused."""
        parts = urlsplit(self.path)
        _, token, what = (*parts.path.split("/", 2), "", "")[:3]
        is_here = HERE.fullmatch(self.headers.get("Host", ""))
        if not (is_here and hmac.compare_digest(token.encode(), self.server.token.encode())):
            self.refuse(HTTPStatus.FORBIDDEN)
            return None, {}
        return what, {name: values[0] for name, values in parse_qs(parts.query).items()}

    def answer_state(self, row: int, status: HTTPStatus = HTTPStatus.OK) -> None:
        """Answer with what a page shows, and with what is known from this row on."""
        data = json.dumps(self.server.game.state(row)).encode()
        self.answer(data, "application/json", status)

    def answer(self, data: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        """Answer with this data."""
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status: HTTPStatus) -> None:
        """Refuse a request, of which something may be left to read."""
        self.close_connection = True
        self.answer(f"{status} {status.phrase}\n".encode(), "text/plain", status)


def number(text: str) -> int:
    """Return the number in a request, or -1."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else -1


def body_of(data: bytes) -> dict[str, Any] | None:
    """Return what a page asks for; None if it is something else."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return None
    kinds = {"here": list, "path": list, "to_end": bool, "guess": str, "row": int}
    if not isinstance(body, dict) or not all(
        isinstance(body.get(name), kind) for name, kind in kinds.items()
    ):
        return None
    names = [*body["here"], *body["path"]]
    is_path = all(isinstance(name, str) for name in names) and len(names) <= 2 * MOST_STEPS
    return body if is_path and body["row"] >= 0 else None
