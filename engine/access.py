"""Who may call which route. Two tokens, each in a file that only its owner reads: `token` may launch, `token-view` only look."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request, Security
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from fastapi.security.utils import get_authorization_scheme_param
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from data.files import atomic_write
from engine.limits import Counters, Limits
from engine.transport import TOKENS

VIEW, LAUNCH = "view", "launch"
OPEN = "/health"  # the one path that asks for no token
TOKEN_BYTES, TOKEN_LENGTH = 32, 43  # 43 characters of base64 hold 32 bytes
NO_TOKEN = "token: missing or wrong; read it from the state folder's file `token`."
ONLY_VIEW = "token: this one may only look; launching and changing need the launch role."
_bearer = HTTPBearer(
    auto_error=False, description="A token of the engine's state folder; its role is the scope."
)


class Access:
    """The dependencies a route declares, one of four kinds, and so the role that it needs (its scope in the OpenAPI document).

    `view`: reading. `live`: an answer that writes nothing but takes work; few at once. Both are for either role.
    `change`: what writes, cancels or deletes. `launch`: what queues work; few a minute. Both need the launch role.
    """

    def __init__(self, tokens: Mapping[str, str], limits: Limits) -> None:
        self._tokens = tokens
        counters = Counters(limits)
        self.view: list[Any] = [Security(self._authorised, scopes=[VIEW])]
        self.live: list[Any] = [*self.view, Depends(counters.live)]
        self.change: list[Any] = [Security(self._authorised, scopes=[LAUNCH])]
        self.launch: list[Any] = [*self.change, Depends(counters.launch)]

    def _authorised(
        self,
        request: Request,
        needed: SecurityScopes,
        given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    ) -> None:
        role = self.role_of(given.credentials if given else "")
        if role is None:
            raise HTTPException(401, NO_TOKEN)
        if LAUNCH in needed.scopes and role != LAUNCH:
            raise HTTPException(403, ONLY_VIEW)
        request.state.role = role

    def role_of(self, given: str) -> str | None:
        """The role that a token has; None of a wrong or empty one."""
        matching = [
            role
            for role, token in self._tokens.items()
            if secrets.compare_digest(given.encode(), token.encode())
        ]
        return matching[0] if matching and given else None


class TokenFirst:
    """Middleware that turns away who has no token before anything of the request's body is read."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != OPEN and not self._known(Headers(scope=scope)):
            await JSONResponse({"detail": NO_TOKEN}, 401)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _known(self, headers: Headers) -> bool:
        scheme, given = get_authorization_scheme_param(headers.get("Authorization"))
        return scheme.lower() == "bearer" and self._access.role_of(given) is not None


def read_tokens(home: Path) -> dict[str, str]:
    """The token of every role, made where there is none or only a cut one."""
    return {role: _token(home / file) for role, file in TOKENS.items()}


def _token(path: Path) -> str:
    token = path.read_text().strip() if path.exists() else ""
    if len(token) < TOKEN_LENGTH:
        token = secrets.token_urlsafe(TOKEN_BYTES)
        atomic_write(path, token + "\n", mode=0o600)
    return token
