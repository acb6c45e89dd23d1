"""Who may call which route. Two tokens, each in a file that only its owner reads: `token` may launch, `token-view` only look."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from data.files import atomic_write
from engine.limits import Counters, Limits
from engine.transport import TOKENS

VIEW, LAUNCH = "view", "launch"
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
        role = self._role(given.credentials if given else "")
        if role is None:
            raise HTTPException(401, "token: missing or wrong; read it from the state folder's file `token`.")
        if LAUNCH in needed.scopes and role != LAUNCH:
            raise HTTPException(403, ONLY_VIEW)
        request.state.role = role

    def _role(self, given: str) -> str | None:
        matching = [
            role
            for role, token in self._tokens.items()
            if secrets.compare_digest(given.encode(), token.encode())
        ]
        return matching[0] if matching else None


def read_tokens(home: Path) -> dict[str, str]:
    """The token of every role, made where there is none."""
    return {role: _token(home / file) for role, file in TOKENS.items()}


def _token(path: Path) -> str:
    if not path.exists():
        atomic_write(path, secrets.token_urlsafe(32) + "\n", mode=0o600)
    return path.read_text().strip()
