"""A page of another site cannot change anything here, nor embed this page."""

from __future__ import annotations

import http.server
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from browser_tasks import hold

from .window import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conveyor import Queue

    from .window import Window

FORM = """<!doctype html><title>prizes</title>
<form id="f" method="post" action="{target}" enctype="{kind}"><input name='{{"a":"' value='"}}'></form>
<script>document.getElementById('f').submit();</script>"""
FETCH = """<!doctype html><title>prizes</title><script>
const to = {target!r};
const ways = [
  {{ mode: 'no-cors', headers: {{ 'content-type': 'text/plain' }}, body: '{{}}' }},
  {{ mode: 'no-cors', body: new URLSearchParams({{ reason: 'x' }}) }},
  {{ mode: 'no-cors' }},
  {{ mode: 'cors', headers: {{ 'content-type': 'application/json' }}, body: '{{}}' }},
];
Promise.allSettled(ways.map((way) => fetch(to, {{ method: 'POST', credentials: 'include', ...way }})))
  .then((all) => {{ window.over = all.map((one) => one.status + ' ' + (one.value?.type ?? '')); }});
</script>"""
FRAME = "<!doctype html><title>prizes</title><iframe id=f src='{target}' width=900 height=700></iframe>"


class Site:
    """Another site; the test sets its responses."""

    def __init__(self) -> None:
        site = self
        self.html = ""

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write(site.html.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        quick = {"poll_interval": 0.02}  # of which shutdown waits for one
        threading.Thread(target=self.server.serve_forever, kwargs=quick, daemon=True).start()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.server.shutdown()
    site.server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_other_site_cannot_pause_or_cancel(
    window: Callable[..., Window], queue: Queue, site: Site, host: str
) -> None:
    job = queue.submit(hold, "/nowhere")
    view = window()
    view.forgiven += ["status of 4", "CORS", "net::ERR_FAILED", "NotSameOrigin"]
    view.go()  # the browser now has every cookie of this page
    sent = view.requests()
    for target in (f"/api/v1/queues/{queue.name}/pause", f"/api/v1/jobs/{job.id}/cancel"):
        address = view.address + target
        for kind in ("text/plain", "application/x-www-form-urlencoded"):
            site.html = FORM.format(target=address, kind=kind)
            with view.page.expect_response(lambda reply, address=address: reply.url == address) as told:
                view.page.goto(f"http://{host}:{site.port}/")
            assert 400 <= told.value.status < 500
            view.page.wait_for_load_state()
        site.html = FETCH.format(target=address)
        view.page.goto(f"http://{host}:{site.port}/")
        over = view.comes_true("window.over")
        assert [one.split()[0] for one in over] == [
            "rejected"
        ] * 4  # not even the existence of a response is revealed
    assert [request.method for request in sent].count("POST") >= 10
    assert not queue.count().paused
    assert queue.qsize() == 1


def test_other_site_cannot_embed_the_dashboard_in_a_frame(
    window: Callable[..., Window], queue: Queue, site: Site
) -> None:
    queue.put("something")
    view = window()
    view.forgiven += ["frame-ancestors", "X-Frame-Options", "Framing", "net::ERR_BLOCKED", "status of 404"]
    for path in ("/", f"/queues/{queue.name}", "/nowhere"):
        site.html = FRAME.format(target=view.address + path)
        view.page.goto(f"http://localhost:{site.port}/")
        frame = view.page.frames[-1]
        assert frame is not view.page.main_frame
        deadline = time.monotonic() + PATIENCE / 1000
        while not frame.url.startswith("chrome-error:"):
            assert time.monotonic() < deadline, frame.url
            view.page.wait_for_timeout(20)
