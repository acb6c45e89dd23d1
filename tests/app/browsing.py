"""A page in Chromium as a reader waits for it: until it is still; and what its console said."""

from playwright.sync_api import ConsoleMessage, Page

PATIENCE = 240_000  # milliseconds
IDLE = """() => {
  const one = chosen => document.querySelector(chosen);
  return one('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning' && one('[data-testid=stMain] [data-testid=stHeading]')
    && !one('[data-testid=stSkeleton], [data-stale=true], [data-testid=stStatusWidget]')
    && [...document.querySelectorAll('[data-testid=stPlotlyChart]')].every(chart => chart.querySelector('.main-svg'));
}"""


def until_idle(page: Page) -> None:
    """Wait until the page has its heading, runs no script and has drawn every chart."""
    page.wait_for_timeout(400)
    page.wait_for_function(IDLE, timeout=PATIENCE, polling=200)


def error_of(message: ConsoleMessage) -> list[str]:
    """The text of an error of the console and where it arose; nothing for other messages."""
    return [f"{message.text} ({message.location['url']})"] if message.type == "error" else []
