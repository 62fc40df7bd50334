"""The pages, as everybody gets them: without a mouse, without seeing them, on a phone, by day and by night."""

from collections.abc import AsyncIterator, Callable, Iterator

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.browser import Firefox, Newsbell, newsroom, until
from tests.publisher import publishing
from tests.push_service import PushService

CONTROLS = "a[href], button, input"

# The least contrast of the texts on the page against what is behind them (WCAG 2.2, 1.4.3), with the text that has it.
# What cannot be used at the moment may be faint.
CONTRAST = """
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  function parts(color) {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  }
  function luminance(color) {
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = [...parts(color)].map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }
  function behind(element) {
    for (let e = element; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor;
      if (parts(color)[3] === 255) return color;
    }
    return "white";
  }
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let least = [Infinity, ""];
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const text = texts.currentNode.data.trim();
    if (!text || !element.checkVisibility() || element.closest(":disabled")) continue;
    const [dark, light] = [getComputedStyle(element).color, behind(element)].map(luminance).sort((a, b) => a - b);
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < least[0]) least = [ratio, text];
  }
  return least;
"""

# The width of the outline of what has the focus, wherever it is drawn.
OUTLINE = """
  const e = document.activeElement;
  const drawn = [getComputedStyle(e), getComputedStyle(e, "::after")].filter((s) => s.outlineStyle !== "none");
  return Math.max(0, ...drawn.map((s) => parseFloat(s.outlineWidth)));
"""

# What stands out of the page on the right.
TOO_WIDE = """
  return [...document.querySelectorAll("body *")]
    .filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 0.5)
    .map((e) => e.outerHTML.slice(0, 80));
"""


def asked(firefox: Firefox) -> None:
    firefox.open("/")
    firefox.until_state("ask")


def being_asked_by_the_browser(firefox: Firefox) -> None:
    asked(firefox)
    firefox.tick("ukraine")
    firefox.click("ok")
    firefox.until_state("asking")


def subscribed(firefox: Firefox) -> None:
    being_asked_by_the_browser(firefox)
    firefox.allow()
    firefox.until_state("subscribed")


def blocked(firefox: Firefox) -> None:
    being_asked_by_the_browser(firefox)
    firefox.block()
    firefox.until_state("denied")


def declined(firefox: Firefox) -> None:
    asked(firefox)
    firefox.click("not-now")
    firefox.until_state("not-now")


def nothing_to_prefer(firefox: Firefox) -> None:
    firefox.open("/preferences")
    firefox.until_state("none")


def at_preferences(firefox: Firefox) -> None:
    subscribed(firefox)
    firefox.open("/preferences")
    firefox.until_state("ready")


def preferring(firefox: Firefox) -> None:
    """Everything there is to choose."""
    at_preferences(firefox)
    firefox.click("quiet")
    firefox.until_text("Saved.", "#said")


def paused(firefox: Firefox) -> None:
    at_preferences(firefox)
    firefox.driver.click("[data-pause=week]")
    until(lambda: firefox.shows("#resume"), "the way out of the pause")


def stopping(firefox: Firefox) -> None:
    at_preferences(firefox)
    firefox.click("stop")
    until(lambda: firefox.shows("#stop-dialog"), "the question whether to stop")


def stopped(firefox: Firefox) -> None:
    stopping(firefox)
    firefox.click("stop-yes")
    firefox.until_state("none")


SCENES = [
    asked,
    being_asked_by_the_browser,
    subscribed,
    blocked,
    declined,
    nothing_to_prefer,
    preferring,
    paused,
    stopping,
    stopped,
]

Scene = Callable[[Firefox], None]


def name_of(scene: Scene) -> str:
    return scene.__name__


@pytest.fixture(scope="module")
async def product(
    server: str, migrated: str, push_service_process: PushService, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Newsbell]:
    with publishing() as publisher:
        publisher.publish("A very long headline: " + "Llanfairpwllgwyngyll" * 3, tags=["Ukraine", "Russia"])
        folder = tmp_path_factory.mktemp("pages")
        async with newsroom(server, migrated, folder, push_service_process, publisher) as newsbell:
            yield newsbell


@pytest.fixture
def newsbell(product: Newsbell, firefox: Firefox) -> Iterator[Newsbell]:
    firefox.site = product.url
    yield product
    product.show_log()
    product.forget_readers()


@pytest.mark.parametrize("scene", SCENES, ids=name_of)
def test_every_page_is_for_everybody(scene: Scene, firefox: Firefox, newsbell: Newsbell) -> None:
    scene(firefox)
    until(lambda: "Fetching" not in firefox.text(), "the stories")

    assert firefox.complaints() == []
    assert firefox.failed_requests() == []

    controls = firefox.driver.accessible(CONTROLS)
    assert controls
    assert [role for role, name in controls if not name.strip()] == []

    least = {}
    for scheme in ("light", "dark"):
        firefox.prefer(scheme)
        least[scheme], text = firefox.driver.page(CONTRAST)
        assert least[scheme] >= 4.5, f"{scheme}: “{text}” has a contrast of {least[scheme]:.1f} only."

    firefox.set_width(320)
    assert firefox.driver.page("return document.documentElement.scrollWidth") <= 320
    assert firefox.driver.page(TOO_WIDE) == []


@pytest.mark.parametrize("scene", [scene for scene in SCENES if scene is not stopping], ids=name_of)
def test_tab_comes_to_every_control_and_shows_where_it_is(scene: Scene, firefox: Firefox, newsbell: Newsbell) -> None:
    scene(firefox)
    until(lambda: "Fetching" not in firefox.text(), "the stories")
    wanted = firefox.focusable()
    firefox.to_the_top()
    reached = []
    for _ in wanted:
        firefox.press(firefox.TAB)
        reached.append(firefox.focused())
        assert firefox.driver.page(OUTLINE) >= 2, f"Who sees that {reached[-1]} has the focus?"
    assert reached == wanted


def test_light_and_dark_differ(firefox: Firefox, newsbell: Newsbell) -> None:
    asked(firefox)
    grounds = []
    for scheme in ("light", "dark"):
        firefox.prefer(scheme)
        grounds.append(firefox.driver.page("return getComputedStyle(document.documentElement).backgroundColor"))
    assert grounds[0] != grounds[1]


def test_a_reader_subscribes_and_stops_without_a_mouse(firefox: Firefox, newsbell: Newsbell) -> None:
    asked(firefox)
    firefox.tab_to("ukraine")
    firefox.press(firefox.SPACE)
    assert firefox.ticked() == ["ukraine"]
    firefox.tab_to("ok")
    firefox.press(firefox.ENTER)
    firefox.allow()
    firefox.until_state("subscribed")
    assert [stored.topics for stored in newsbell.subscriptions()] == [["ukraine"]]

    firefox.tab_to("/preferences")
    firefox.press(firefox.ENTER)
    firefox.until_at("/preferences")
    firefox.until_state("ready")
    firefox.tab_to("stop")
    firefox.press(firefox.ENTER)
    until(lambda: firefox.focused() == "stop-no", "the question whether to stop")
    firefox.press(firefox.ESCAPE)
    until(lambda: firefox.focused() == "stop", "the end of the question")
    assert len(newsbell.subscriptions()) == 1
    firefox.press(firefox.ENTER)
    until(lambda: firefox.focused() == "stop-no", "the question once more")
    firefox.press(firefox.TAB, shift=True)
    assert firefox.focused() == "stop-yes"
    assert firefox.driver.page(OUTLINE) >= 2
    firefox.press(firefox.ENTER)
    firefox.until_state("none")
    assert newsbell.subscriptions() == []


def test_what_is_wrong_with_a_page_would_be_noticed(firefox: Firefox, newsbell: Newsbell) -> None:
    asked(firefox)
    add = "document.body.append(Object.assign(document.createElement(arguments[0]), arguments[1]));"
    firefox.driver.page(add, "script", {"textContent": "document.title = 'This ran.'"})
    firefox.driver.page(add, "img", {"src": "/static/missing.png"})
    firefox.driver.page(add, "p", {"textContent": "Hardly to be read", "style": "color: #888; width: 400px"})
    firefox.driver.page("setTimeout(() => { throw new Error('Oh'); })")
    until(lambda: any("blocked an inline script" in told for told in firefox.complaints()), "word of the script")
    until(lambda: any("Error: Oh" in told for told in firefox.complaints()), "word of the error")
    until(firefox.failed_requests, "word of the picture")
    assert firefox.driver.page("return document.title") != "This ran."
    assert firefox.driver.page(CONTRAST)[1] == "Hardly to be read"
    firefox.set_width(320)
    assert len(firefox.driver.page(TOO_WIDE)) == 1


async def test_a_server_in_trouble_is_a_sentence_and_a_way_on(
    server: str,
    migrated: str,
    firefox: Firefox,
    push_service: PushService,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with publishing() as publisher:
        async with newsroom(server, migrated, tmp_path_factory.mktemp("trouble"), push_service, publisher) as newsbell:
            firefox.site = newsbell.url
            subscribed(firefox)

            # Its database is away.
            allow_connections(server, newsbell, False)
            firefox.open("/preferences")
            firefox.until_state("error")
            assert_sentence(firefox.text("#problem"))
            assert firefox.text("#again") == "Try again"
            firefox.open("/")
            firefox.until_state("unreachable")
            until(lambda: firefox.text("#latest-again") == "Try again", "a way on")
            assert_sentence(firefox.text("#latest .lone"))
            assert_sentence(firefox.text("#prompt .parts p"))
            allow_connections(server, newsbell, True)
            until(newsbell.is_ready, "the return of the database")
            firefox.click("latest-again")
            firefox.until_text("An old story of Ukraine", "#latest")
            firefox.click("again")
            firefox.until_state("subscribed")

            # It is not there at all, and one that is half-way in has come to the page before.
            allow_connections(server, newsbell, False)
            firefox.open("/preferences")
            firefox.until_state("error")
            firefox.click("stop-anyway")  # the reader's wish needs no server
            firefox.click("stop-yes")
            firefox.until_state("none")
            allow_connections(server, newsbell, True)
            until(newsbell.is_ready, "the return of the database")
            asked(firefox)
            newsbell.stop()
            firefox.tick("russia")
            firefox.click("ok")
            firefox.until_state("unreachable")
            assert_sentence(firefox.text("#prompt .parts p"))
            assert firefox.text("#again") == "Try again"


def allow_connections(server: str, newsbell: Newsbell, allowed: bool) -> None:
    name = make_url(newsbell.database_url).database
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}".encode())
        if not allowed:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))


def assert_sentence(text: str) -> None:
    """Something for a person to read."""
    assert text[:1].isupper() and text.endswith(".") and " " in text
    assert not any(word in text for word in ("Error", "undefined", "null", "NetworkError", "fetch"))
