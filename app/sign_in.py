"""Who looks at a page: everyone in the app's own role, or, where Streamlit's secrets hold [auth], who signed in.

`roles.toml` in the state folder says which addresses may what: `view = ["*@lab.org"]`, `launch = ["a@lab.org"]`.
"""

import os
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase

import streamlit as st
from streamlit.errors import StreamlitSecretNotFoundError

from engine.client import state_dir

ROLE = "CONCORDANCE_ROLE"
ROLES = ("launch", "view")
FILE = "roles.toml"
UNREADABLE = (ValueError, AttributeError, TypeError)  # what a roles.toml of another form raises


def required() -> bool:
    """Whether this app asks its visitors to sign in."""
    try:
        return "auth" in st.secrets
    except StreamlitSecretNotFoundError:
        return False


def current_role() -> str:
    """What this session may: launch or view. Ends the page for who has not signed in or has no role."""
    if not required():
        return os.environ.get(ROLE, "launch")
    role = _role()
    if role is None:
        st.stop()
    return role


def _role() -> str | None:
    """The role of who has signed in; None of nobody. Raises one of UNREADABLE."""
    claims = st.user.to_dict()
    return role_of(claims) if claims.get("is_logged_in") else None


def role_of(claims: Mapping[str, object]) -> str | None:
    """The role `roles.toml` gives to the address in an identity's claims; None without one, or where it is unverified."""
    address = str(claims.get("email") or "").lower()
    if not address or claims.get("email_verified") is False:
        return None
    path = state_dir() / FILE
    given = tomllib.loads(path.read_text()) if path.exists() else {}
    for role in ROLES:
        if any(fnmatchcase(address, pattern.lower()) for pattern in given.get(role, [])):
            return role
    return None


def admitted() -> bool:
    """Whether this visitor may see more than the way in."""
    try:
        return not required() or _role() is not None
    except UNREADABLE:
        return False


def sign_in() -> None:
    """First part of every page: goes on only for who may see it, and offers to sign out."""
    if not required():
        return
    if not st.user.to_dict().get("is_logged_in"):
        st.title("Concordance")
        st.button("Sign in", type="primary", icon=":material/login:", on_click=st.login)
        st.stop()
    problem = None
    try:
        if _role() is None:
            problem = "Your account has no role here; ask whoever runs this Concordance to add your address."
    except UNREADABLE:
        problem = (
            f"{FILE} in the state folder cannot be read; write lists of addresses under view and launch."
        )
    place = st if problem else st.sidebar
    place.button("Sign out", icon=":material/logout:", type="tertiary", on_click=st.logout)
    if problem:
        st.error(problem)
        st.stop()
