"""The report in a browser: layout, plots, players, blind comparison."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_report import (  # noqa: F401
    HOSTILE,
    pages,
    results,
)

from melexp.datasets import load_dataset

pytest.importorskip("jinja2", reason="the report needs the extra: pip install 'melexp[report]'")
pytest.importorskip("plotly", reason="the report needs the extra: pip install 'melexp[report]'")
pyln = pytest.importorskip("pyloudnorm", reason="the report needs the extra 'melexp[report]'")

pytestmark = pytest.mark.slow


class Browser:
    """A headless Chromium that records its requests and errors."""

    ARGUMENTS = (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
        "disable-background-networking", "disable-component-update", "disable-sync",
        "autoplay-policy=no-user-gesture-required", "host-resolver-rules=MAP * ~NOTFOUND",
    )  # fmt: skip

    def __init__(self, chromium: str, driver: str, home: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for argument in (*self.ARGUMENTS, f"user-data-dir={home / 'profile'}"):
            options.add_argument(f"--{argument}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.downloads = home
        self.driver = webdriver.Chrome(options, Service(driver))
        self.driver.execute_cdp_cmd(
            "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(home)}
        )

    def open(self, page: Path, *, width: int = 1440, scheme: str = "light") -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        self.driver.get(page.as_uri())

    def js(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def click(self, selector: str) -> None:
        self.driver.find_element("css selector", selector).click()

    def text(self, selector: str) -> str:
        return str(self.driver.find_element("css selector", selector).text)

    def until(self, script: str, seconds: float = 20) -> Any:
        """Wait until a script returns a true value; return the value."""
        end = time.monotonic() + seconds
        while not (value := self.js(script)):
            assert time.monotonic() < end, script
            time.sleep(0.05)
        return value

    def check_quiet(self) -> None:
        """Assert that the console has no error and no request left the machine."""
        assert self.driver.get_log("browser") == []
        asked = [json.loads(entry["message"])["message"] for entry in
                 self.driver.get_log("performance")]  # fmt: skip
        urls = [event["params"]["request"]["url"] for event in asked
                if event["method"] == "Network.requestWillBeSent"]  # fmt: skip
        assert urls
        assert {url.partition(":")[0] for url in urls} <= {"file", "data", "blob"}


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    pytest.importorskip("selenium", reason="no driver of browsers: pip install selenium")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if not found or not driver:
        pytest.skip("no browser: install chromium and chromium-driver")
    browser = Browser(found, driver, tmp_path_factory.mktemp("browser"))
    yield browser
    browser.driver.quit()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    chromium.driver.get("about:blank")
    for log in ("browser", "performance"):  # drop the entries of earlier tests
        chromium.driver.get_log(log)
    yield chromium
    chromium.check_quiet()


CONTRAST = """
const linear = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const luminance = ([r, g, b]) =>
  0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const behind = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if ((colour[3] ?? 1) > 0) return colour;
  }
};
const faint = [];
for (const e of document.querySelectorAll("main *:not(svg *), header *, footer *")) {
  const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  if (!own || !e.checkVisibility() || e.disabled || e.tagName === "OPTION") continue;
  const [a, b] = [parse(getComputedStyle(e).color), behind(e)].map(luminance);
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (contrast < 4.5) faint.push(`${e.tagName} ${e.textContent.trim().slice(0, 30)} ${contrast}`);
}
return faint;
"""
UNNAMED = """
const named = (e) =>
  e.ariaLabel || e.labels?.length || e.textContent.trim() || e.querySelector("img")?.alt;
return [...document.querySelectorAll("button, select, input, audio, a, [role=img]")]
  .filter((e) => !named(e)).map((e) => e.outerHTML)
  .concat([...document.querySelectorAll("img:not([alt])")].map((e) => e.outerHTML));
"""


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1440])
@pytest.mark.parametrize("page", ["index", "listen", "sources"])
def test_pages_fit_and_can_be_read(
    browser: Browser, pages: Path, page: str, width: int, scheme: str
) -> None:
    browser.open(pages / f"{page}.html", width=width, scheme=scheme)
    if page == "index":
        browser.until("return document.querySelectorAll('.plot .main-svg').length >= 3")
    if page == "sources":
        browser.js("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    assert browser.js("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.js("return document.documentElement.lang") == "en"
    assert not (faint := browser.js(CONTRAST)), faint
    assert not (unnamed := browser.js(UNNAMED)), unnamed
    background = browser.js("return getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    assert browser.js("return window.pwned === undefined")


@pytest.mark.browser
def test_the_summary_sorts_and_filters(browser: Browser, pages: Path) -> None:
    browser.open(pages / "index.html")
    shown = """return [...document.querySelectorAll("#summary tbody tr")]
      .filter((row) => row.checkVisibility()).map((row) => Number(row.cells[1].dataset.value))"""
    heading = browser.driver.find_element("css selector", "#summary th:nth-child(2) button")
    heading.send_keys("\ue007")  # Enter: by the keyboard
    assert browser.js(shown) == sorted(browser.js(shown))
    assert len(browser.js(shown)) == 2
    cell = "#summary th:nth-child(2)"
    assert browser.js(f"return document.querySelector('{cell}').ariaSort") == "ascending"
    heading.click()
    assert browser.js(shown) == sorted(browser.js(shown), reverse=True)
    first = browser.js(shown)
    browser.js(
        """const { view } = document.getElementById("summary-controls").elements;
        view.value = "1"; view.dispatchEvent(new Event("change", { bubbles: true }));"""
    )
    assert browser.js(shown) != first
    assert "ADMM (rho=0.2)" in browser.text("#summary")


@pytest.mark.browser
def test_the_plots_draw_every_choice(browser: Browser, pages: Path) -> None:
    browser.open(pages / "index.html")
    browser.until("return document.querySelectorAll('.plot .main-svg').length >= 3")
    labels = browser.js(
        """const seen = [];
        for (const form of document.querySelectorAll(".panel form"))
          for (const select of form.querySelectorAll("select"))
            for (const { value } of [...select.options]) {
              select.value = value;
              select.dispatchEvent(new Event("change", { bubbles: true }));
              const plot = form.parentElement.querySelector(".plot");
              seen.push([plot.ariaLabel, plot.data.reduce((n, t) => n + t.x.length, 0)]);
            }
        return seen;"""
    )
    assert all(points > 0 for _, points in labels)
    said = " ".join(text for text, _ in labels)
    assert "against seconds per clip" in said
    assert "every data set" in said


@pytest.mark.browser
def test_players_load_and_play(browser: Browser, pages: Path) -> None:
    browser.open(pages / "listen.html")
    options = browser.js("return [...document.querySelectorAll('option')].map((o) => o.text)")
    assert HOSTILE in options
    players = "[...document.querySelectorAll('article:not([hidden]) audio')]"
    browser.until(f"return {players}.every((a) => a.readyState > 0)")
    durations = browser.js(f"return {players}.map((a) => a.duration)")
    demo = load_dataset("demo_speech") + load_dataset("demo_foley")
    (clip,) = (one for one in demo if one.id == options[0])
    assert len(durations) == 3
    np.testing.assert_allclose(durations, len(clip.load(22050)) / 22050, atol=0.01)
    browser.js(f"{players}[1].play()")
    browser.until(f"return {players}[1].currentTime > 0.1")
    browser.js(f"{players}[2].play()")
    browser.until(f"return {players}[1].paused")  # one at a time


@pytest.mark.browser
def test_the_blind_comparison_hides_reveals_and_exports(browser: Browser, pages: Path) -> None:
    methods = {"ADMM", "NNLS + GLA"}
    browser.open(pages / "listen.html")
    assert "ADMM" in browser.text("main")
    browser.click("#blind-toggle")
    seen = browser.text("main") + browser.js(
        "return [...document.querySelectorAll('#blind audio')].map((a) => a.outerHTML).join()"
    )
    assert not any(method in seen for method in methods)
    browser.until(
        "return [...document.querySelectorAll('#blind audio')].every((a) => a.duration > 1)"
    )
    browser.click("#blind input[value=A]")
    browser.click("#blind input[value=B]")  # another choice of the same pair replaces it
    browser.click("#blind-reveal")
    assert {browser.text(f"[data-who={name}]") for name in "AB"} == methods
    chosen = browser.text("[data-who=B]")
    browser.click("#blind-next")
    assert not any(method in browser.text("main") for method in methods)
    browser.click("#blind input[value=none]")
    browser.click("#blind-export")
    file = browser.downloads / "melexp-choices.json"
    end = time.monotonic() + 20
    while not file.exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    first, second = json.loads(file.read_text())["choices"]
    assert {first["A"], first["B"]} == methods
    assert (first["choice"], first["chosen"], first["after_reveal"]) == ("B", chosen, False)
    assert (second["choice"], second["chosen"]) == ("none", None)
    browser.click("#blind-toggle")
    assert "ADMM" in browser.text("main")


@pytest.mark.browser
def test_a_number_is_one_click_from_its_source(browser: Browser, pages: Path) -> None:
    browser.open(pages / "index.html")
    browser.click("#summary tbody tr:not([hidden]) td:last-child a")
    browser.until("return location.pathname.endsWith('sources.html')")
    opened = browser.text("details[open]")
    assert opened.startswith("NNLS + GLA")
    for word in ("Commit", "Versions", "Machine", "Configuration"):
        assert word in opened
