"""Who may ask, and how much: the API key and the size of a body, before anything is parsed."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN: Final = frozenset({"/health"})


def is_loopback(host: str) -> bool:
    """Whether an address or the name `localhost` reaches this machine only."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Guard:
    """ASGI middleware: 401 without the key (without a key set: for everyone but loopback), 413 for a body too large."""

    app: App
    key: str | None
    most_bytes: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if scope["path"] not in OPEN and not self._may(scope, headers):
            await _refuse(send, 401, "The header X-API-Key is missing or wrong.")
            return
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared[:20]) > self.most_bytes:
            await _refuse(send, 413, f"The body is larger than {self.most_bytes:,} bytes, the limit.")
            return
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > self.most_bytes:
                await _refuse(send, 413, f"The body is larger than {self.most_bytes:,} bytes, the limit.")
                return
            if not message.get("more_body", False):
                break
        await self.app(scope, _once(body, receive), send)

    def _may(self, scope: Scope, headers: MutableMapping[bytes, bytes]) -> bool:
        if self.key is None:
            client = scope.get("client")
            return client is not None and is_loopback(client[0])
        return hmac.compare_digest(headers.get(b"x-api-key", b""), self.key.encode())


def _once(body: bytes, receive: Receive) -> Receive:
    """Give the body once, then what the server says."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def give() -> Scope:
        return waiting.pop() if waiting else await receive()

    return give


async def _refuse(send: Send, status: int, text: str) -> None:
    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
