"""The live page in a real browser, while real transactions go through a real bridge."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.artifacts import FRAUD
from tests.integration.broker import Broker
from tests.integration.deployment import Deployment, transaction
from tests.integration.process import Process
from tests.integration.topics import Message, Topics

_WAIT_SECONDS = 60
_N_LEGITIMATE = 40
_CARD = "4111111111111111"
_SECRET = "cvv-987"
_MARKUP = "<img src=x onerror=\"document.title='taken over'\">"

_CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
_DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not (_CHROMIUM and _DRIVER), reason="Chromium and its chromedriver are not on this machine"
)


@pytest.fixture(scope="module")
def address(broker: Broker, artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of a bridge through which forty transactions, three frauds and a broken record have gone."""
    deployment = Deployment(Topics(broker.connection), artifact, is_embedded=not broker.supports_transactions)
    asyncio.run(deployment.create_topics())
    environment = deployment.environment | {"BRIDGE_SERVICE_URL": "http://127.0.0.1:8000"}
    frauds = [
        transaction(FRAUD, transaction_id=name, card_id=_CARD, note=_SECRET) for name in ("fraud-1", "fraud-2", _MARKUP)
    ]
    legitimate = [transaction(card_id=_CARD) for _ in range(_N_LEGITIMATE)]
    asyncio.run(deployment.topics.produce(deployment.transactions, *legitimate, *frauds, Message(b"no transaction")))
    with Process("bridge", "run", environment=environment, directory=tmp_path_factory.mktemp("bridge")) as process:
        yield asyncio.run(process.wait_for_log('"http": "([^"]+)"'))[1]


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(_CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(str(_DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
def page(address: str, browser: webdriver.Chrome) -> webdriver.Chrome:
    """The page, opened anew, once it shows all that went through."""
    browser.get(address)
    _until(browser, lambda: _text(browser, "n-alerts") == "3" and _text(browser, "n-dead-letters") == "1")
    _until(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, "#alert-list details")) == 3)
    return browser


def _until(browser: webdriver.Chrome, is_so: Callable[[], bool]) -> None:
    WebDriverWait(browser, _WAIT_SECONDS, 0.1).until(lambda _: is_so())


def _text(browser: webdriver.Chrome, name: str) -> str:
    return browser.find_element(By.ID, name).text


def _cells(browser: webdriver.Chrome, rows: str) -> list[list[str]]:
    return [
        [cell.text for cell in row.find_elements(By.CSS_SELECTOR, "th, td")]
        for row in browser.find_elements(By.CSS_SELECTOR, rows)
    ]


def test_it_shows_what_went_through(page: webdriver.Chrome) -> None:
    _until(page, lambda: _text(page, "status") == "Ready")
    _until(page, lambda: len(_cells(page, "#partition-rows tr")) == 3)

    assert _text(page, "n-predictions") == f"of {_N_LEGITIMATE + 3} since the start"
    assert _text(page, "catch-up") == "nothing waits"
    histogram = _cells(page, "#histogram tr")
    assert [histogram[0][2], histogram[-1][2]] == [str(_N_LEGITIMATE), "3"]
    assert [row[1:] for row in _cells(page, "#partition-rows tr")] == [["0", "\N{EN DASH}"]] * 3


def test_an_alert_opens_its_evidence_by_the_keyboard(page: webdriver.Chrome) -> None:
    summary = page.find_element(By.CSS_SELECTOR, "#alert-list summary")
    table = page.find_element(By.CSS_SELECTOR, "#alert-list details table")
    assert not table.is_displayed()

    summary.send_keys(Keys.ENTER)

    assert table.is_displayed()
    labels = [row[1] for row in _cells(page, "#alert-list details:first-child tbody tr")]
    assert labels == ["fraud"] * 5


def test_every_control_is_reached_by_tab_and_has_a_name(page: webdriver.Chrome) -> None:
    names = []
    for _ in range(6):
        page.switch_to.active_element.send_keys(Keys.TAB)
        names.append(page.switch_to.active_element.accessible_name)

    assert names[:3] == ["Ask for a score", "Metrics", "Pause"]
    assert all("critical" in name for name in names[3:])


def test_a_screen_reader_is_told_of_the_state_and_finds_every_part(page: webdriver.Chrome) -> None:
    parts = page.find_elements(By.CSS_SELECTOR, "main > section")

    assert page.find_element(By.ID, "status").aria_role == "status"
    assert [part.accessible_name for part in parts] == [
        "Transactions answered in each second of the last minute",
        "Fraud probabilities since the start",
        "Last alerts",
        "Partitions of this process",
    ]
    assert "in the last minute" in page.find_element(By.ID, "chart").accessible_name.lower()


def test_of_a_card_it_shows_nothing(page: webdriver.Chrome) -> None:
    assert "fraud-1" in page.page_source
    assert _CARD not in page.page_source
    assert _SECRET not in page.page_source


def test_what_a_sender_writes_is_shown_as_text(page: webdriver.Chrome) -> None:
    assert _MARKUP in [element.text for element in page.find_elements(By.CLASS_NAME, "id")]
    assert page.find_elements(By.TAG_NAME, "img") == []
    assert "taken over" not in page.title


def test_it_asks_for_nothing_outside_and_breaks_no_rule(page: webdriver.Chrome, address: str) -> None:
    asked = page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")

    assert [name for name in asked if not name.startswith((address, "data:"))] == []
    assert page.execute("getLog", {"type": "browser"})["value"] == []


def test_the_service_is_linked(page: webdriver.Chrome) -> None:
    assert page.find_element(By.ID, "service").get_attribute("href") == "http://127.0.0.1:8000/docs"


def test_it_is_dark_where_the_system_is(page: webdriver.Chrome) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        grounds.append(page.find_element(By.TAG_NAME, "body").value_of_css_property("background-color"))
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    assert grounds == ["rgba(244, 245, 247, 1)", "rgba(16, 21, 27, 1)"]


@pytest.mark.parametrize("width", [320, 768, 1280])
def test_it_fits_a_screen_of_any_width(page: webdriver.Chrome, width: int) -> None:
    screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    for summary in page.find_elements(By.CSS_SELECTOR, "#alert-list summary"):
        summary.click()
    widest = page.execute_script("return document.documentElement.scrollWidth")
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    assert widest <= width


def test_a_paused_page_stands_still_and_then_catches_up(page: webdriver.Chrome) -> None:
    button = page.find_element(By.ID, "pause")
    button.click()
    page.execute_script("document.getElementById('n-alerts').textContent = 'still'")
    page.execute_async_script("source.addEventListener('now', () => setTimeout(arguments[0]), {once: true})")

    assert button.get_attribute("aria-pressed") == "true"
    assert _text(page, "n-alerts") == "still"
    button.click()
    assert _text(page, "n-alerts") == "3"
