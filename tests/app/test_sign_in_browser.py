"""Signing in through an OpenID Connect provider in a real browser: roles by address, and out again."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from oidc_provider_mock import User, run_server_in_thread
from playwright.sync_api import Page, expect

PEOPLE = {
    "ada": {"email": "ada@lab.org", "email_verified": True},
    "bob": {"email": "bob@lab.org", "email_verified": True},
    "eve": {"email": "eve@elsewhere.org", "email_verified": True},
    "mallory": {"email": "ada@lab.org", "email_verified": False},
}
ROLES = 'launch = ["ada@lab.org"]\nview = ["*@lab.org"]\n'


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Path]:
    """A state folder whose app asks a provider on this machine."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "roles.toml").write_text(ROLES)
    people = [User(sub=name, claims=claims) for name, claims in PEOPLE.items()]
    with run_server_in_thread(user_claims=people) as provider:
        lines = {
            "redirect_uri": f"http://127.0.0.1:{port}/oauth2callback",
            "cookie_secret": "a long text of this test",
            "client_id": "concordance",
            "client_secret": "of this test too",
            "server_metadata_url": f"http://127.0.0.1:{provider.server_port}/.well-known/openid-configuration",
        }
        text = "[auth]\n" + "".join(f'{name} = "{value}"\n' for name, value in lines.items())
        (folder / "secrets.toml").write_text(text)
        yield folder


@pytest.fixture(scope="module")
def not_ours() -> str:
    """The style sheet of the provider's pages."""
    return "https://cdn.jsdelivr.net/"


def sign_in(page: Page, address: str, name: str) -> None:
    """From the app to the provider, as somebody, and back."""
    page.goto(address)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/oauth2/authorize**")
    page.get_by_placeholder("sub").fill(name)
    page.get_by_role("button", name="Authorize").click()
    page.wait_for_url(f"{address}/**")


def sign_out(page: Page) -> None:
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="End session").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_a_page_of_another_name_gets_no_session(address: str, port: int) -> None:
    """What a page does whose name was pointed at this machine (DNS rebinding)."""

    def opened(host: str) -> int:
        handshake = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        handshake |= {
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
            "Host": host,
            "Origin": f"http://{host}",
        }
        with httpx.stream(
            "GET", f"{address}/_stcore/stream", headers=handshake, trust_env=False, timeout=60
        ) as answer:
            return answer.status_code

    assert opened(f"127.0.0.1:{port}") == opened(f"localhost:{port}") == 101
    assert opened(f"evil.example:{port}") == 403


def test_a_visitor_sees_one_button_and_no_page(address: str, page: Page) -> None:
    page.goto(f"{address}/jobs")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    expect(page.get_by_role("navigation")).to_have_count(0)


@pytest.mark.parametrize(("name", "launches"), [("ada", True), ("bob", False)])
def test_who_signed_in_may_what_the_file_says(address: str, page: Page, name: str, launches: bool) -> None:
    sign_in(page, address, name)
    tour = page.get_by_role("button", name="Start the tour")
    expect(tour).to_be_enabled(enabled=launches)
    sign_out(page)


@pytest.mark.parametrize("name", ["eve", "mallory"])
def test_without_a_role_or_with_an_unverified_address_nothing_is_shown(
    address: str, page: Page, name: str
) -> None:
    sign_in(page, address, name)
    expect(page.get_by_text("Your account has no role here")).to_be_visible()
    expect(page.get_by_role("button", name="Start the tour")).to_have_count(0)
    sign_out(page)


def test_a_role_that_is_taken_away_is_gone_at_the_next_page(address: str, home: Path, page: Page) -> None:
    sign_in(page, address, "bob")
    expect(page.get_by_role("button", name="Start the tour")).to_be_visible()
    (home / "roles.toml").write_text('launch = ["ada@lab.org"]\n')
    page.goto(f"{address}/jobs")
    expect(page.get_by_text("Your account has no role here")).to_be_visible()
    (home / "roles.toml").write_text(ROLES)
    sign_out(page)
