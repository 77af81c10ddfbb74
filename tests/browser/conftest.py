"""A browser for each test, and screenshots of what it has seen."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.browser.site import PASSWORD, Site
from zerosources.embedded.servers import MongoServer

ARTEFACTS = Path(__file__).resolve().parent.parent.parent / "test-artefacts" / "browser"
ACTION_MS = 15_000

LogIn = Callable[..., Page]
TakeScreenshot = Callable[..., None]


@pytest.fixture(scope="session")
def site(run_dir: Path) -> Iterator[Site]:
    """One for all tests of this folder. Each has an app of its own."""
    with ExitStack() as stack:
        mongo = stack.enter_context(MongoServer(run_dir / "mongodb-browser"))
        yield Site(stack, run_dir / "browser", mongo)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's: Playwright's own would have to be downloaded. While it is there an event loop runs, beside which no
    asynchronous test can: so no longer than for one module."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not path:
        pytest.skip("there is no browser: install Debian's chromium, or set CHROMIUM to the path of one")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def log_in(chromium: Browser, site: Site) -> Iterator[LogIn]:
    """Opens a browser window of its own for a user, who is logged in. Errors of scripts and refusals fail the test."""
    complaints: list[str] = []
    with ExitStack() as stack:

        def make(user: str = "ada", *, scripts: bool = True, scheme: str = "light") -> Page:
            context = chromium.new_context(
                base_url=site.url,
                viewport={"width": 1280, "height": 900},
                java_script_enabled=scripts,
                color_scheme="dark" if scheme == "dark" else "light",
            )
            stack.callback(context.close)
            context.set_default_timeout(ACTION_MS)
            context.on("weberror", lambda error: complaints.append(str(error.error)))
            context.on("console", lambda line: complaints.append(line.text) if _is_complaint(line) else None)
            page = context.new_page()
            page.goto("/admin/login/?next=/admin/")
            page.get_by_label("Username").fill(user)
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Log in").click()
            return page

        yield make
    assert complaints == []


def _is_complaint(line: ConsoleMessage) -> bool:
    # Chromium asks every site for an icon.
    return line.type == "error" and not line.location["url"].endswith("/favicon.ico")


@pytest.fixture
def app_id() -> str:
    """Of an app that no other test has."""
    return f"shop_{uuid.uuid4().hex[:8]}"


@pytest.fixture
def screenshot(request: pytest.FixtureRequest) -> TakeScreenshot:
    """Keeps what a page shows in `test-artefacts/browser/`, under the test's name."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    test = re.sub(r"[^\w-]+", "-", request.node.name.removeprefix("test_"))

    def take(page: Page, name: str) -> None:
        page.screenshot(path=ARTEFACTS / f"{test}-{name}.png", full_page=True)

    return take
