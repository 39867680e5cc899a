"""The screenshots of the page in docs/screenshots; remade by `make screenshots`, left alone otherwise."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser_tasks import double, report
from PIL import Image
from playwright.sync_api import expect

from conveyor import Queue
from conveyor.errors import ConveyorError
from conveyor.store import connect
from conveyor.wire.statistics import BOUNDS

from .scene import Scene, build, far_away

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

    from conveyor.store import Client

    from .window import Window

FOLDER = Path(__file__).parents[3] / "docs" / "screenshots"
LARGEST = 150 * 1024
#: Screenshot -> page of the scene.
WIDE = {
    "overview": "overview",
    "queue": "queue",
    "jobs": "ended jobs",
    "job": "running job",
    "workers": "workers",
    "failures": "failures",
    "enqueue": "form",
}
SMALL = ("overview", "job")
#: Puts a server's usual address and a plain name in the place of those of the machine that makes the pictures.
SOMEWHERE = r"""host => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode;
    node.data = node.data.replace(/unix:\S+/, "redis://127.0.0.1:6379/0").replace(`on ${host}`, "on render-3");
  }
}"""


def had_an_hour(raw: Any, queue: str, per_minute: int) -> None:
    """Note figures of the last hour, as consumers would have."""
    chance, now = random.Random(queue), int(time.time()) // 60
    for minute in range(now - 62, now):
        done = max(0, int(chance.gauss(per_minute, per_minute / 5)))
        failed = sum(chance.random() < 0.02 for _ in range(done))
        quick, slow = int(done * 0.7), done - int(done * 0.7)
        bucket = BOUNDS.index(1.0)
        times = " ".join(
            f"{kind}={int(done * mean * 1e6)} {kind}{bucket + shift}={quick} {kind}{bucket + shift + 1}={slow}"
            for kind, mean, shift in (("R", 0.7, 0), ("W", 2.0, chance.choice((1, 1, 2))))
        )
        figures = f"b={done} s={done - failed} f={failed} r={failed * 2} {times}"
        key = f"conveyor:{{{queue}}}:minute:{minute}"
        raw.hset(key, mapping={"*": figures, "depth": done // 3, "running": 2, "oldest": 900})
        raw.expire(key, 172_800)


@pytest.fixture
def blocked(one_server: Any) -> Iterator[Callable[[str], None]]:
    """Return a function that makes a producer wait for room in a queue."""
    clients: list[Client] = []
    threads: list[threading.Thread] = []
    over = threading.Event()

    def wait(name: str) -> None:
        clients.append(connect(one_server.url))
        queue = Queue(name, store=clients[-1])

        def put() -> None:
            while not over.is_set():
                try:
                    queue.put("late", timeout=2)
                except ConveyorError:
                    continue
                return

        threads.append(threading.Thread(target=put))
        threads[-1].start()

    yield wait
    over.set()
    for thread in threads:
        thread.join(20)
    for client in clients:
        client.close()


def take(page: Page, name: str) -> None:
    """Save a screenshot with few enough colors to stay small, and without names of the host."""
    path = FOLDER / f"{name}.png"
    page.mouse.move(0, 0)
    page.evaluate(SOMEWHERE, socket.gethostname())
    page.screenshot(path=path, animations="disabled", scale="css")
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(255, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    assert path.stat().st_size <= LARGEST


def others_report(client: Client) -> None:
    """Report consumers on other hosts; one that misses its heartbeats is silent."""
    far_away(client, ["media_full", "elsewhere"])
    far_away(client, ["media_full"], host="render-1")
    far_away(client, ["media_full", "media_work"], host="render-2", workers=8)


def take_all(view: Window, scene: Scene, theme: str, client: Client) -> None:
    """Take every screenshot in a theme."""
    for name, wanted in WIDE.items():
        others_report(client)
        page = view.go(scene.pages[wanted])
        expect(page.locator("h1")).to_have_count(1)
        page.wait_for_timeout(1300)  # a rate needs two polls; a screenshot is no test
        take(page, f"{name}-{theme}")
        if name in SMALL:
            page.set_viewport_size({"width": 390, "height": 844})
            page.wait_for_timeout(300)
            take(page, f"{name}-390-{theme}")
            page.set_viewport_size({"width": 1440, "height": 900})


@pytest.mark.skipif(os.environ.get("CONVEYOR_SCREENSHOTS") != "1", reason="make screenshots makes them")
@pytest.mark.timeout(240)
def test_screenshots_are_made(
    window: Callable[..., Window],
    one_server: Any,
    consume: Callable[..., Any],
    path: Path,
    eventually: Callable[..., Any],
    blocked: Callable[[str], None],
) -> None:
    FOLDER.mkdir(exist_ok=True)
    client = one_server.client
    scene = build(client, consume, path, eventually, "media_")
    for name, rate in (("media_work", 40), ("media_full", 12), ("media_sour", 5)):
        had_an_hour(one_server.raw, name, rate)
    work = Queue("media_work", store=client)
    consume("media_work", workers=3)
    for job in work.submit_many(double, [(number,) for number in range(30)]):
        job.result(30)
    work.resize(40)
    more = path.with_name("more")
    more.write_text("opening /srv/in/clip_0381.mov\n37 frames a second\n" * 12)
    for _ in range(4):
        work.submit(report, str(more))
    work.submit_many(double, [(number,) for number in range(17)])
    for _ in range(3):
        blocked("media_full")
    eventually(lambda: Queue("media_full", store=client).count().blocked == 3)
    for theme in ("light", "dark"):
        take_all(
            window(color_scheme=theme, reduced_motion="reduce", device_scale_factor=1), scene, theme, client
        )
    assert len(list(FOLDER.glob("*.png"))) == 2 * (len(WIDE) + len(SMALL))
