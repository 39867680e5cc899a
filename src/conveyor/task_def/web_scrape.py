"""The task `web_scrape`: facts about the pages of one web site, several jobs with some pages each.

The order finds the pages, breadth first from its start; the jobs fetch and read them. robots.txt is kept to, and the
pause between two requests is the order's, not each job's: a site is not asked faster because there are more workers.
"""

import csv
from collections import deque
from dataclasses import astuple, dataclass, fields
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from conveyor.context import current_job
from conveyor.errors import BadInput, MissingExtra
from conveyor.task_def.pausing import pause
from conveyor.task_def.places import output_file, sample_folder, unfinished
from conveyor.task_def.samples import standing_documentation_site
from conveyor.task_def.web_address import FetchError, is_loopback
from conveyor.tasks import task

try:
    from protego import Protego

    from conveyor.task_def.web_fetch import ROBOT, Fetcher, Limits, Page, parsed
    from conveyor.task_def.web_page import LONGEST_ADDRESS, PageRow, is_html, read_links, read_row, site_of
except ModuleNotFoundError as error:
    raise MissingExtra("the task web_scrape", "tasks", error.name) from error

MOST_PAGES = 20_000
#: Jobs that an order is split into, if it has that many pages.
JOBS = 16
#: More pages than this in one job could make its result too large to carry.
MOST_PAGES_PER_JOB = 100
#: Seconds between two requests where the order says nothing; none on loopback.
DELAY = 0.1
_HUGE_DELAY = 3600.0
#: Bytes of a robots.txt that are read (RFC 9309).
MOST_ROBOTS_BYTES = 500 * 1024


@dataclass(frozen=True, slots=True)
class Visit:
    """How a job behaves towards the site."""

    limits: Limits
    delay: float
    """Seconds between two requests of this job."""


@dataclass(frozen=True, slots=True)
class SiteSummary:
    """What was found on a site."""

    pages: int
    failed: int
    """Pages that could not be read; the CSV says why."""
    words: int
    bytes: int
    output: Path
    """The CSV with a row per page."""


@task(name="web_scrape", queue="queue_three")
def web_scrape(pages: list[str], visit: Visit) -> list[PageRow]:
    """Fetch pages of one site and read their facts.

    A page that cannot be fetched gives a row with the error; the job goes on. Pages that robots.txt excludes, and
    redirects that lead to them or to other sites, are such rows too.
    """
    job = current_job()
    rows = []
    with Fetcher(visit.limits) as fetcher:
        try:
            robots = _robots(fetcher, pages[0]) if pages else Protego.parse("")
        except FetchError as error:
            return [_failed_row(url, error) for url in pages]
        for number, url in enumerate(pages):
            job.check()
            job.progress(number, len(pages), url)
            if number:
                pause(visit.delay)
            rows.append(_row(fetcher, url, robots))
        job.progress(len(pages), len(pages))
    return rows


@web_scrape.splits
def split(
    url: Annotated[str, "page to start from; empty: Python's documentation, served by this machine"] = "",
    pages: Annotated[int, "most pages to read"] = 100,
    delay: Annotated[float | None, "seconds between requests; empty: 0.1, none on loopback"] = None,
    max_bytes: Annotated[int, "bytes of a page that are read at most"] = 5_000_000,
    *,
    allow_private: Annotated[bool, "fetch from loopback and private networks too"] = False,
    output: Annotated[str, "CSV file; empty: conveyor-out/web_scrape/pages.csv"] = "",
) -> list[dict[str, object]]:
    """Find up to `pages` pages of a site, and give jobs for some of them each."""
    _check_numbers(pages, delay, max_bytes)
    output_file(output, "web_scrape", "pages.csv")
    if not url:
        # The site stays up as long as this process, which waits for the parts.
        url, allow_private = standing_documentation_site(sample_folder() / "documentation"), True
    limits = Limits(bytes_per_page=max_bytes, allow_private=allow_private)
    try:
        pause_between = _delay(parsed(url).host, delay)
        with Fetcher(limits) as fetcher:
            start, robots = _start(fetcher, url)
            pause_between = max(pause_between, robots.crawl_delay(ROBOT) or 0.0)
            found = _discover(fetcher, start, pages, robots, pause_between)
    except FetchError as error:
        raise BadInput(error.message, hint=error.hint) from error
    size = min(MOST_PAGES_PER_JOB, -(-len(found) // JOBS))
    chunks = [found[start : start + size] for start in range(0, len(found), size)]
    visit = Visit(limits, min(_HUGE_DELAY, pause_between * len(chunks)))
    return [{"pages": chunk, "visit": visit} for chunk in chunks]


@web_scrape.joins
def join(parts: list[list[PageRow]], /, output: str = "", **_: object) -> SiteSummary:
    """Write the rows of all parts to one CSV, sorted by address, each page once."""
    target = output_file(output, "web_scrape", "pages.csv")
    rows: dict[str, PageRow] = {}
    for row in sorted((row for part in parts for row in part), key=lambda row: (row.url, bool(row.error))):
        rows.setdefault(row.url, row)
    temporary = unfinished(target)
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([field.name for field in fields(PageRow)])
            writer.writerows(astuple(row) for row in rows.values())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    found = rows.values()
    return SiteSummary(
        pages=len(rows),
        failed=sum(bool(row.error) for row in found),
        words=sum(row.words for row in found),
        bytes=sum(row.bytes for row in found),
        output=target,
    )


def _check_numbers(pages: int, delay: float | None, max_bytes: int) -> None:
    if not 1 <= pages <= MOST_PAGES:
        message = f"pages={pages}: 1 to {MOST_PAGES:,} pages are read"
        raise BadInput(message, hint="try pages=100")
    if delay is not None and not 0 <= delay <= _HUGE_DELAY:
        message = f"delay={delay}: the pause is 0 to {_HUGE_DELAY:g} seconds"
        raise BadInput(message, hint="try delay=0.5")
    if max_bytes < 1:
        message = f"max_bytes={max_bytes}: at least one byte of a page has to be read"
        raise BadInput(message, hint="try max_bytes=5000000")


def _delay(host: str, delay: float | None) -> float:
    """Give the pause between two requests; raises BadInput for none at all on somebody else's site."""
    if delay is None:
        return 0.0 if is_loopback(host) else DELAY
    if delay == 0 and not is_loopback(host):
        message = f"delay=0: {host} may not like that"
        raise BadInput(message, hint=f"leave some pause between requests, as delay={DELAY}")
    return delay


def _robots(fetcher: Fetcher, url: str) -> Protego:
    """Return the rules of the site's robots.txt, none if it has none. Raise FetchError if the server is in trouble."""
    address = str(parsed(url).copy_with(raw_path=b"/robots.txt"))
    page = fetcher.fetch(address, most=MOST_ROBOTS_BYTES + 1)
    if page.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        message = f"{page.url} answers {page.status}, so nobody knows what may be read"
        raise FetchError(message, hint="try again later")
    if page.status >= HTTPStatus.BAD_REQUEST:
        return Protego.parse(
            ""
        )  # one that needs a password, or that is none at all, forbids nothing (RFC 9309)
    return read_robots(page.body)


def read_robots(data: bytes) -> Protego:
    """Return the rules in the bytes of a robots.txt; if it is too long, those of the whole lines in its beginning."""
    text = data[:MOST_ROBOTS_BYTES].decode("utf-8-sig", "replace")
    return Protego.parse(
        text if len(data) <= MOST_ROBOTS_BYTES else "".join(text.splitlines(keepends=True)[:-1])
    )


def _start(fetcher: Fetcher, url: str) -> tuple[Page, Protego]:
    """Fetch the first page, which may redirect to another site, and the robots.txt of the site it is on."""
    robots = _robots(fetcher, url)
    start = fetcher.fetch(
        url, lambda target: _check_robots(robots, target) if site_of(target) == site_of(url) else None
    )
    if site_of(start.url) != site_of(url):
        robots = _robots(fetcher, start.url)
        _check_robots(robots, start.url)
    if start.status >= HTTPStatus.BAD_REQUEST:
        message = f"{url} answers {start.status}"
        raise FetchError(message, hint="correct the address")
    if start.cut or not is_html(start):
        message = f"{url} is no page to start from: {read_row(start).error}"
        raise FetchError(message, hint="give the address of a page of HTML")
    return start, robots


def _discover(fetcher: Fetcher, start: Page, pages: int, robots: Protego, delay: float) -> list[str]:
    """Follow links from the start, breadth first, until `pages` addresses are known or all are."""
    found = dict.fromkeys([start.url])
    unread = _add_links(found, start, pages, robots)
    while len(found) < pages and unread:
        pause(delay)
        try:
            page = fetcher.fetch(unread.popleft(), lambda target: _check_hop(robots, target, start.url))
        except FetchError:
            continue  # the job that reads it will say so in its row
        unread += _add_links(found, page, pages, robots)
    return list(found)


def _add_links(found: dict[str, None], page: Page, most: int, robots: Protego) -> deque[str]:
    """Add the links of a page to what was found, and give the new ones."""
    new = [link for link in read_links(page) if link not in found and robots.can_fetch(link, ROBOT)]
    new = new[: most - len(found)]
    found.update(dict.fromkeys(new))
    return deque(new)


def _row(fetcher: Fetcher, url: str, robots: Protego) -> PageRow:
    try:
        return read_row(fetcher.fetch(url, lambda target: _check_hop(robots, target, url)))
    except FetchError as error:
        return _failed_row(url, error)


def _failed_row(url: str, error: FetchError) -> PageRow:
    return PageRow(url[:LONGEST_ADDRESS], 0, error=error.message[:500])


def _check_hop(robots: Protego, target: str, site: str) -> None:
    if site_of(target) != site_of(site):
        message = f"it leads away from the site, to {target[:200]}"
        raise FetchError(message)
    _check_robots(robots, target)


def _check_robots(robots: Protego, url: str) -> None:
    if not robots.can_fetch(url, ROBOT):
        message = f"robots.txt of the site excludes {url[:200]}"
        raise FetchError(message, hint="give another page or site")
