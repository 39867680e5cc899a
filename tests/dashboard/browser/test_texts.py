"""Names, log lines and results are escaped on every page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
from browser_tasks import echo, fail, linger
from playwright.sync_api import expect

from conveyor import Queue
from conveyor.monitor import Inspector
from conveyor.store import commands
from conveyor.store.commands import PutParams
from conveyor.wire import call, ids

from .corpus import TEXTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .window import Window

#: As many texts as there are bad ones, and none of them is.
HARMLESS = tuple(f"a plain text {number:02d}" for number in range(len(TEXTS)))
#: Pages that are read when they are live, and so contain the content of the stream, too.
LIVE = 10
DANGEROUS = {
    "SCRIPT",
    "IMG",
    "IFRAME",
    "BASE",
    "META",
    "STYLE",
    "VIDEO",
    "MATH",
    "OBJECT",
    "ANIMATE",
    "animate",
}
COUNT = """() => {
  const found = {};
  for (const one of document.querySelectorAll('*')) found[one.tagName] = (found[one.tagName] ?? 0) + 1;
  return [found, window.__xss ?? null];
}"""
ASKED = (
    "/jobs?queue={queue}&task={text}",
    "/jobs?queue={queue}&state=ended&worker={text}&text={text}&outcome={text}",
    "/jobs?id={text}",
    "/queues/{text}",
    "/queues/{queue}/jobs/{text}",
    "/queues?name={text}",
    "/workers/{text}/1",
    "/workers?queue={text}&host={text}&state={text}",
    "/failures?queue={text}",
    "/audit?action={text}&queue={text}&who={text}",
    "/enqueue?task={text}&from={text}&queue={text}",
    "/{text}",
)


def fill(
    queue: Queue, texts: Sequence[str], address: str, path: Path, eventually: Callable[..., Any]
) -> list[str]:
    """Show the texts everywhere they can appear; return the paths of the pages that show them."""
    said = queue.submit_many(echo, [(text,) for text in texts])
    failed = queue.submit_many(fail, [(text,) for text in texts])
    for number, text in enumerate(texts):
        data = call.encode_calls(echo, f"{number} {text}", [((text,), {})], call.RunOptions())
        queue.client.run(commands.put(queue.name, [(ids.unique(), data[0])], PutParams()))
    for job in (*said, *failed):
        job.exception(30)
    running = queue.submit(linger, texts[2], str(path))
    workers = Inspector(queue.client).workers
    eventually(lambda: running.progress() and running.id in {one.job for one in workers(queue.name)})
    own = {"origin": address, "sec-fetch-site": "same-origin"}
    for verb, text in zip(("pause", "resume") * 8, texts, strict=False):
        reply = httpx.post(f"{address}/api/v1/queues/{queue.name}/{verb}", json={"reason": text}, headers=own)
        assert reply.status_code == 200, reply.text
    jobs = [f"/queues/{queue.name}/jobs/{job.id}" for job in (*said[::2], *failed[1::2])]
    lists = [f"/jobs?queue={queue.name}&state={state}" for state in ("ended", "running", "dead")]
    return [
        f"/queues/{queue.name}/jobs/{running.id}",
        *lists,
        "/",
        f"/queues/{queue.name}",
        "/workers",
        "/failures",
        "/audit",
        "/operations",
        *jobs,
    ]


def path_of(asked: str, queue: Queue, text: str) -> str:
    """Return a path with a text in it."""
    return asked.format(queue=queue.name, text=quote(text, safe=""))


class Reader:
    """Visits pages, and counts the elements of each."""

    def __init__(self, view: Window) -> None:
        self.view = view
        self.dialogs: list[str] = []
        view.forgiven += ["status of 40[04]"]
        view.page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))

    def counts(self, addresses: Sequence[str], *, live: bool = False) -> list[dict[str, int]]:
        """Return the number of elements by tag on each page."""
        found = []
        for address in addresses:
            self.view.page.goto(
                self.view.address + address, wait_until="load" if live else "domcontentloaded"
            )
            if live:
                self.view.is_live()
            if live and "/jobs/" in address:  # it runs, and its resources and log arrive a moment later
                expect(self.view.page.locator("#resources")).to_be_visible()
                expect(self.view.page.locator("#log-lines li")).to_have_count(1)
            tags, ran = self.view.page.evaluate(COUNT)
            assert ran is None, address
            found.append(tags)
        assert self.dialogs == []
        return found


def new_tags(bad: dict[str, int], plain: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Return the tags of which a page has too many: the expected and the actual number."""
    return {tag: (plain.get(tag, 0), count) for tag, count in bad.items() if count > plain.get(tag, 0)}


def richest(pages: Sequence[dict[str, int]]) -> dict[str, int]:
    """Return how many elements of each tag any of the pages has."""
    return {tag: max(page.get(tag, 0) for page in pages) for page in pages for tag in page}


@pytest.mark.timeout(240)
def test_texts_of_jobs_workers_and_reasons_are_escaped(
    window: Callable[..., Window],
    queue: Queue,
    consume: Callable[..., Any],
    path: Path,
    eventually: Callable[..., Any],
) -> None:
    queues = [Queue(f"{queue.name}{letter}", store=queue.client) for letter in "ab"]
    consume(*(one.name for one in queues), workers=2)
    view = window()
    reader = Reader(view)
    go_on = [path.with_name(f"go-{one.name}") for one in queues]
    filled = [
        fill(one, texts, view.address, go, eventually)
        for one, texts, go in zip(queues, (HARMLESS, TEXTS), go_on, strict=True)
    ]
    found = []
    for addresses in filled:
        counted = reader.counts(addresses[:LIVE], live=True) + reader.counts(addresses[LIVE:])
        found.append(list(zip(addresses, counted, strict=True)))
    for go in go_on:
        go.touch()
    # Of short jobs in a batch, only the first has its run kept, and which are in a batch is up to chance.
    said = slice(LIVE, LIVE + len(TEXTS[::2]))
    most = [plain for _, plain in found[0]]
    most[said] = [richest(most[said])] * len(most[said])
    for number, (plain, (address, bad)) in enumerate(zip(most, found[1], strict=True)):
        fresh = new_tags(bad, plain)
        if "/jobs" not in address:  # these show texts of both rounds, or the jobs of workers
            fresh = {tag: count for tag, count in fresh.items() if tag in DANGEROUS}
        assert fresh == {}, f"page {number}, {address}: {fresh}"


@pytest.mark.timeout(120)
def test_texts_in_urls_are_escaped(window: Callable[..., Window], queue: Queue) -> None:
    queue.put("something")
    view = window()
    view.go(
        f"/queues/{queue.name}"
    )  # until the dashboard knows the queue, its pages say that it does not exist
    reader = Reader(view)
    plain = dict(zip(ASKED, reader.counts([path_of(one, queue, HARMLESS[0]) for one in ASKED]), strict=True))
    asked = [ASKED[number % len(ASKED)] for number in range(2 * len(TEXTS))]  # each text in two positions
    paths = [path_of(one, queue, TEXTS[number // 2]) for number, one in enumerate(asked)]
    bad = reader.counts(paths)
    fresh = [new_tags(tags, plain[one]) for one, tags in zip(asked, bad, strict=True)]
    assert [pair for pair in zip(paths, fresh, strict=True) if pair[1]] == []
