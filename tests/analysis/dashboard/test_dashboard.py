"""The dashboard: who may look, what stands there, and that no page waits for a report."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import HTTPCookieProcessor, Request, build_opener

import html5lib
import pytest
from flask.testing import FlaskClient

from analysis.dashboard import server_status
from analysis.dashboard.app import create_dashboard, serve, signer_of
from analysis.dashboard.background import Background
from events.clock import now_ms
from events.stores.protocol import Rejected
from experiments import load
from experiments.declarations.model import declared_dict
from tests.analysis.conftest import AT, DAY, MARGIN, World, fill
from tests.conftest import Server, WriteConfigs

TOKEN = "a-token-of-this-test"


class Board:
    """A dashboard whose background is stepped by hand, and a client of it."""

    def __init__(self, world: World, server: str | None = None) -> None:
        self.background = Background(str(world.configs), world.store.url, server)
        self.app = create_dashboard(self.background, TOKEN, signer_of(world.store.url))
        self.client: FlaskClient = self.app.test_client()

    def log_in(self, token: str = TOKEN) -> int:
        return self.client.post("/login", data={"form": form_of(self.client), "token": token}).status_code

    def page(self, path: str, status: int = 200) -> str:
        answer = self.client.get(path)
        assert answer.status_code == status
        html5lib.HTMLParser(strict=True).parse(answer.text)
        return answer.text.replace("\u2060", "")


def form_of(client: FlaskClient) -> str:
    found = re.search(r'name="form" value="([^"]+)"', client.get("/login").text)
    assert found
    return found[1]


@pytest.fixture
def board(world: World) -> Iterator[Board]:
    fill(world, {"control": 60, "offer": 60}, 300)
    made = Board(world)
    yield made
    made.background.stop()


def test_nothing_is_shown_without_the_token(board: Board) -> None:
    """Every page leads to the log-in; every answer may be framed, kept or extended by nobody."""
    paths = [rule.rule for rule in board.app.url_map.iter_rules()]
    for path in (one.replace("<key>", "ab") for one in paths):
        answer = board.client.get(path)
        if path in ("/login", "/style.css", "/healthz"):
            assert answer.status_code == 200
        elif path == "/logout":
            assert answer.status_code in (303, 405)
        else:
            assert (answer.status_code, answer.headers["Location"]) == (303, "/login")
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] in ("no-store", "no-cache")


def test_sessions_open_and_close(board: Board) -> None:
    """A wrong token opens nothing, the right one does, and a copied cookie is worth nothing after the log-out."""
    assert board.log_in("wrong") == 403
    assert board.client.get("/").status_code == 303
    answer = board.client.post("/login", data={"form": form_of(board.client), "token": TOKEN})
    assert answer.status_code == 303
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    assert board.client.get("/").status_code == 200
    kept = cookie.split(";")[0]
    mark = re.search(r'name="form" value="([^"]+)"', board.client.get("/").text)
    assert mark
    assert board.client.post("/logout", data={"form": mark[1]}).status_code == 303
    assert board.app.test_client(use_cookies=False).get("/", headers={"Cookie": kept}).status_code == 303


def test_cookies_are_for_tls_only_where_there_is_tls(board: Board) -> None:
    """Behind a proxy that speaks TLS to the browser and says so."""
    client = board.app.test_client()
    found = re.search(r'value="([^"]+)"', client.get("/login", base_url="https://localhost").text)
    assert found
    answer = client.post("/login", data={"form": found[1], "token": TOKEN}, base_url="https://localhost")
    assert "Secure" in answer.headers["Set-Cookie"]


def test_forms_of_other_pages_are_refused(board: Board) -> None:
    """A form without its mark neither logs in nor out; a foreign host name is not answered."""
    assert board.client.post("/login", data={"token": TOKEN}).status_code == 403
    assert board.log_in() == 303
    assert board.client.post("/logout", data={"form": "x"}).status_code == 403
    assert board.client.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_tokens_cannot_be_guessed_for_long(board: Board) -> None:
    """After five wrong ones not even the right one is taken for a minute."""
    for _ in range(5):
        assert board.log_in("wrong") == 403
    answer = board.client.post("/login", data={"form": form_of(board.client), "token": TOKEN})
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 60


def test_no_get_changes_anything(board: Board) -> None:
    """Only the log-in and the log-out take POST; all else is GET, and leaves the store as it was."""
    methods = {rule.rule: rule.methods or set() for rule in board.app.url_map.iter_rules()}
    assert {path for path, taken in methods.items() if taken - {"GET", "HEAD", "OPTIONS"}} == {"/login", "/logout"}


def test_the_list_says_how_every_experiment_stands(board: Board, world: World) -> None:
    """Before and after the background has worked: traffic, health and verdict."""
    board.log_in()
    assert "Being worked out" in board.page("/")
    board.background.step()
    text = board.page("/")
    for part in ("ab", "running", "600", "checks passed", "Keep running"):
        assert part in text
    world.store.write([])
    world.expose("stray", "nobody")
    board.background._done.clear()
    board.background.step()
    assert "FAILED: sample_ratio" in board.page("/")
    assert "Verdict withheld" in board.page("/experiments/ab")


def test_pages_show_what_was_worked_out(board: Board) -> None:
    """The report is the one that the file has; only what changed is worked out again."""
    board.log_in()
    assert "Being worked out" in board.page("/experiments/ab")
    board.background.step()
    version = board.background.version
    text = board.page("/experiments/ab")
    assert "Revenue per visitor" in text
    assert "<svg" in text
    board.background.step()
    assert board.background.version == version
    assert board.client.get("/experiments/none").status_code == 404


def test_mixed_currencies_are_refused_with_the_reason(board: Board, world: World) -> None:
    """A page instead of a fault."""
    world.order("control1", 1000, currency="EUR")
    board.log_in()
    board.background.step()
    assert "found EUR beside USD; wanted one currency" in board.page("/experiments/ab")
    assert "No report" in board.page("/")


def test_epochs_show_what_changed(board: Board, world: World, write_configs: WriteConfigs) -> None:
    """Line by line, the newest first."""
    changed = MARGIN.replace("weight: 1", "weight: 3", 1)
    world.configs = write_configs(ab=changed)
    world.store.open_epoch("ab", declared_dict(load(world.configs).experiments["ab"]), AT + DAY)
    board.log_in()
    board.background.step()
    text = board.page("/experiments/ab/declaration")
    assert text.index("Epoch 2") < text.index("Epoch 1")
    assert "<del>-    weight: 1.0</del>" in text
    assert "<ins>+    weight: 3.0</ins>" in text


def test_faulty_declarations_are_told_and_the_last_good_ones_shown(board: Board, world: World) -> None:
    """With file and line."""
    board.log_in()
    board.background.step()
    (world.configs / "experiments" / "ab.yaml").write_text(MARGIN.replace("weight: 1", "weight: -1", 1))
    board.background._done.clear()
    board.background.step()
    text = board.page("/")
    assert "cannot be read" in text
    assert "ab.yaml:" in text
    assert "ab</a>" in text


def test_previews_are_signed_as_the_server_reads_them(board: Board, world: World) -> None:
    """One link a variant, for a page that was asked for; nothing else is linked to."""
    board.log_in()
    board.background.step()
    text = board.page("/experiments/ab/previews?" + urlencode({"url": "https://shop.example/p?a=1"}))
    links = dict(re.findall(r'<a href="(https://shop[^"]+)" rel="noreferrer">(\w+)</a>', text))
    assert sorted(links.values()) == ["control", "offer"]
    for link, variant in links.items():
        query = parse_qs(urlsplit(link.replace("&amp;", "&")).query)
        assert query["a"] == ["1"]
        token = query["crosslift_preview"][0]
        assert signer_of(world.store.url).verify_preview(token, int(time.time())) == ("ab", variant)
    assert "javascript:" not in board.page("/experiments/ab/previews?url=javascript:alert(1)").replace(
        'value="javascript:alert(1)"', ""
    )


def test_quality_is_seen_as_it_comes(board: Board, world: World) -> None:
    """Exposures of the last hour by minute and variant, orders without a visitor, and what is held."""
    at = now_ms()
    for n in range(7):
        world.expose(f"now{n}", "control", at - n * 60_000)
    world.order(None, 1000)
    world.store.quarantine([Rejected(at, "shopify", "found no currency", "{}")])
    board.log_in()
    board.background.step()
    text = board.page("/quality")
    for part in ("control 7 in the hour", "1 of 121 counted orders (0.8%) have no visitor", "found no currency"):
        assert part in text


def test_the_running_server_is_asked(world: World, serve: Callable[..., Server], store_url: str) -> None:
    """Rejected events and declarations that are not served; a server that is away is said to be."""
    server = serve(world.configs)
    assert server.post("/v1/events", {"events": [{"type": "nonsense"}]}).json["rejected"]
    found = server_status.ask(f"http://127.0.0.1:{server.port}")
    assert found.events["rejected"] == 1
    assert found.fault is None
    assert server_status.ask("http://127.0.0.1:9").fault
    board = Board(world, f"http://127.0.0.1:{server.port}")
    board.log_in()
    board.background.step()
    assert "Events rejected" in board.page("/quality")
    board.background.stop()


def test_pages_do_not_wait_while_reports_are_worked_out(world: World, tmp_path: Path) -> None:
    """Over a real socket, with a store that is written to: 99 of 100 cached pages within 200 ms."""
    fill(world, {"control": 600, "offer": 700})
    background = Background(str(world.configs), world.store.url)
    app = create_dashboard(background, TOKEN, signer_of(world.store.url))
    ports: list[int] = []
    thread = threading.Thread(target=serve, args=(app, 0, ports.append), daemon=True)
    thread.start()
    background.start()
    until(lambda: bool(ports))
    opener = build_opener(HTTPCookieProcessor(CookieJar()))

    def get(path: str) -> str:
        return str(opener.open(f"http://127.0.0.1:{ports[0]}{path}", timeout=20).read().decode())

    mark = re.search(r'name="form" value="([^"]+)"', get("/login"))
    assert mark
    data = urlencode({"form": mark[1], "token": TOKEN}).encode()
    opener.open(Request(f"http://127.0.0.1:{ports[0]}/login", data), timeout=20).read()
    until(lambda: "<svg" in get("/experiments/ab") if "ab" in background.known else False)
    before = background.version
    slowest: list[float] = []
    while len(slowest) < 3 and min(slowest, default=1.0) >= 0.2:  # of three rounds: the machine may have other work too
        slowest.append(sorted(timed(world, get, len(slowest)))[98])
    assert min(slowest) < 0.2
    assert background.version > before
    with pytest.raises(HTTPError):
        opener.open(Request(f"http://127.0.0.1:{ports[0]}/", b"x"), timeout=20)
    background.stop()
    assert json.loads(get("/healthz")) == {"status": "ok"}


def timed(world: World, get: Callable[[str], str], round_: int) -> Iterator[float]:
    """Give how long each of 100 pages takes while the store is written to."""
    for n in range(100):
        world.expose(f"more{round_}-{n}", "control")
        began = time.perf_counter()
        assert "<svg" in get("/experiments/ab")
        yield time.perf_counter() - began
        time.sleep(0.1)


def until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.1)
