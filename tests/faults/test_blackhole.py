"""Nothing arrives in one direction of the network for a while: an item is put once and taken once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import Queue
from conveyor.store import Client
from conveyor.torture.proxy import PASS, REPLIES, REQUESTS, Mode, Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def proxy(one_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Return a proxy in front of a server that a client takes for gone after 0.3 s without an answer."""
    monkeypatch.setattr("conveyor.store.client.ANSWER_TIMEOUT", 0.3)
    with Proxy(one_server.url) as proxy:
        yield proxy


def call_through(
    proxy: Proxy, direction: str, call: Callable[[], object], eventually: Callable[..., Any]
) -> object:
    """Return what a call brings that gave up two connections, and whose held bytes arrived all the same."""
    proxy.mode = Mode(held=frozenset({direction}))
    made = proxy.connections_made
    with ThreadPoolExecutor(1) as pool:
        called = pool.submit(call)
        try:
            eventually(lambda: proxy.connections_made >= made + 2)
        finally:
            proxy.mode = PASS
        return called.result(30)


@pytest.mark.parametrize("direction", [REQUESTS, REPLIES])
def test_item_is_put_once_through_a_blackhole(
    proxy: Proxy, direction: str, one_server: Any, eventually: Callable[..., Any]
) -> None:
    queue = Queue("films", store=Client(proxy.url))
    queue.qsize()  # it is connected
    call_through(proxy, direction, lambda: queue.put("item"), eventually)
    queue.client.close()
    proxy.close()  # what was held has arrived
    count = Queue("films", store=one_server.client).count()
    assert (count.accepted, count.ready, count.imbalance) == (1, 1, 0)


@pytest.mark.parametrize("direction", [REQUESTS, REPLIES])
def test_item_is_taken_once_through_a_blackhole(
    proxy: Proxy, direction: str, one_server: Any, eventually: Callable[..., Any]
) -> None:
    direct = Queue("films", store=one_server.client)
    for item in ("first", "second"):
        direct.put(item)
    queue = Queue("films", store=Client(proxy.url))
    queue.qsize()
    assert call_through(proxy, direction, queue.get, eventually) == "first"
    count = direct.count()
    assert (count.leased, count.ready, count.lapsed) == (1, 1, 0)
    queue.task_done()
    assert queue.get() == "second"
    queue.task_done()
    direct.join(timeout=20)
    queue.client.close()
