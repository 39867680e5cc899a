"""The task `web_scrape`: facts about the pages of one web site, several jobs with some pages each.

The order finds the pages, breadth first from its start; the jobs fetch and read those that it did not have to read
itself for their links, so every page is fetched once. The task honors robots.txt, and the pause between two requests is
that of the whole order: more workers do not load the site more.
"""

import csv
from collections import deque
from dataclasses import astuple, dataclass, fields
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from conveyor.context import current_job
from conveyor.errors import BadInput, MissingExtra
from conveyor.task_def.paths import output_file, replacing, sample_folder
from conveyor.task_def.samples import documentation_site
from conveyor.task_def.sleep import pause
from conveyor.tasks import task

try:
    from protego import Protego

    from conveyor.task_def.web_fetch import (
        ROBOT,
        FetchedPage,
        Fetcher,
        FetchError,
        FetchLimits,
        is_loopback,
        parsed,
    )
    from conveyor.task_def.web_page import MAX_URL_LENGTH, PageRow, is_html, read_links, read_row, site_of
except ModuleNotFoundError as error:
    raise MissingExtra("the task web_scrape", "tasks", error.name) from error

MAX_PAGES = 20_000
#: Jobs that an order is split into, if it has that many pages.
JOBS = 16
#: More pages than this in one job could make its result too large to carry.
MAX_PAGES_PER_JOB = 100
#: Seconds between two requests by default; none on loopback.
DELAY = 0.1
_MAX_DELAY = 3600.0
#: Characters of a robots.txt that a job carries.
MAX_CARRIED_ROBOTS = 50_000
#: Bytes of a robots.txt that are read (RFC 9309).
MAX_ROBOTS_BYTES = 500 * 1024


@dataclass(frozen=True, slots=True)
class Visit:
    """How a job behaves towards the site."""

    limits: FetchLimits
    delay: float
    """Seconds between two requests of this job."""
    robots: str | None = None
    """The site's robots.txt; None if it is too long to carry, and the job fetches it."""


@dataclass(frozen=True, slots=True)
class SiteSummary:
    """What was found on a site."""

    pages: int
    failed: int
    """Unreadable pages; the CSV contains the reasons."""
    words: int
    bytes: int
    output: Path
    """The CSV with a row per page."""


@task(name="web_scrape", queue="queue_three")
def web_scrape(pages: list[str], visit: Visit, rows: list[PageRow] | None = None) -> list[PageRow]:
    """Fetch pages of one site, read their facts, and return them after `rows`, those of pages read before.

    A page that cannot be fetched becomes a row with the error, and the job continues. So do pages that robots.txt
    excludes, and redirects to such pages or to other sites.
    """
    job = current_job()
    rows = list(rows or ())
    with Fetcher(visit.limits) as fetcher:
        try:
            robots = _robots_of(fetcher, pages, visit)
        except FetchError as error:
            return [*rows, *(_failed_row(url, error) for url in pages)]
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
    pages: Annotated[int, "maximum number of pages"] = 100,
    delay: Annotated[float | None, "seconds between requests; empty: 0.1, none on loopback"] = None,
    max_bytes: Annotated[int, "maximum bytes read from a page"] = 5_000_000,
    *,
    allow_private: Annotated[bool, "fetch from loopback and private networks too"] = False,
    output: Annotated[str, "CSV file; empty: conveyor-out/web_scrape/pages.csv"] = "",
) -> list[dict[str, object]]:
    """Find up to `pages` pages of a site, and return jobs of some pages each."""
    _check_numbers(pages, delay, max_bytes)
    output_file(output, "web_scrape", "pages.csv")
    if not url:
        # The site lives as long as this process, which waits for the parts.
        url, allow_private = sample_site(), True
    limits = FetchLimits(bytes_per_page=max_bytes, allow_private=allow_private)
    try:
        pause_between = _delay(parsed(url).host, delay)
        with Fetcher(limits) as fetcher:
            start, rules = _start(fetcher, url)
            robots = Protego.parse(rules)
            pause_between = max(pause_between, robots.crawl_delay(ROBOT) or 0.0)
            unread, rows = _discover(fetcher, start, pages, robots, pause_between)
    except FetchError as error:
        raise BadInput(error.message, hint=error.hint) from error
    jobs = max(min(JOBS, len(unread)), -(-(len(unread) + len(rows)) // MAX_PAGES_PER_JOB))
    carried = rules if len(rules) <= MAX_CARRIED_ROBOTS else None
    visit = Visit(limits, min(_MAX_DELAY, pause_between * jobs), carried)
    return [{"pages": unread[job::jobs], "visit": visit, "rows": rows[job::jobs]} for job in range(jobs)]


def sample_site() -> str:
    """Return the URL of Python's documentation, written unless it exists and served by this process."""
    return documentation_site(sample_folder() / "documentation")


@web_scrape.joins
def join(parts: list[list[PageRow]], /, output: str = "", **_: object) -> SiteSummary:
    """Write the rows of all parts to one CSV, sorted by address, each page once."""
    target = output_file(output, "web_scrape", "pages.csv")
    rows: dict[str, PageRow] = {}
    for row in sorted((row for part in parts for row in part), key=lambda row: (row.url, bool(row.error))):
        rows.setdefault(row.url, row)
    with replacing(target) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(PageRow)])
        writer.writerows(astuple(row) for row in rows.values())
    found = rows.values()
    return SiteSummary(
        pages=len(rows),
        failed=sum(bool(row.error) for row in found),
        words=sum(row.words for row in found),
        bytes=sum(row.bytes for row in found),
        output=target,
    )


def _check_numbers(pages: int, delay: float | None, max_bytes: int) -> None:
    if not 1 <= pages <= MAX_PAGES:
        raise BadInput(f"pages must be between 1 and {MAX_PAGES:,}, got {pages}", hint="try pages=100")
    if delay is not None and not 0 <= delay <= _MAX_DELAY:
        message = f"delay must be between 0 and {_MAX_DELAY:g} seconds, got {delay:g}"
        raise BadInput(message, hint="try delay=0.5")
    if max_bytes < 1:
        raise BadInput(f"max_bytes must be 1 or more, got {max_bytes}", hint="try max_bytes=5000000")


def _delay(host: str, delay: float | None) -> float:
    """Return the pause between two requests; raises BadInput for a pause of 0 on a public site."""
    if delay is None:
        return 0.0 if is_loopback(host) else DELAY
    if delay == 0 and not is_loopback(host):
        message = f"delay=0 would overload {host}"
        raise BadInput(message, hint=f"pause between requests, for example delay={DELAY}")
    return delay


def _robots_of(fetcher: Fetcher, pages: list[str], visit: Visit) -> Protego:
    """Return the rules of the site of some pages. Raise FetchError if they have to be fetched and the server fails."""
    rules = visit.robots
    if rules is None:
        rules = _fetch_robots(fetcher, pages[0]) if pages else ""
    return Protego.parse(rules)


def _fetch_robots(fetcher: Fetcher, url: str) -> str:
    """Return the site's robots.txt, or "" without any. Raise FetchError if the server fails."""
    address = str(parsed(url).copy_with(raw_path=b"/robots.txt"))
    page = fetcher.fetch(address, max_bytes=MAX_ROBOTS_BYTES + 1)
    if page.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        message = f"{page.url} returned {page.status}, so the site's rules are unknown"
        raise FetchError(message, hint="try again later")
    if page.status >= HTTPStatus.BAD_REQUEST:
        return ""  # a missing or protected robots.txt forbids nothing (RFC 9309)
    return robots_text(page.body)


def robots_text(data: bytes) -> str:
    """Return the text of a robots.txt; of one that is too long, the first whole lines."""
    text = data[:MAX_ROBOTS_BYTES].decode("utf-8-sig", "replace")
    return text if len(data) <= MAX_ROBOTS_BYTES else "".join(text.splitlines(keepends=True)[:-1])


def _start(fetcher: Fetcher, url: str) -> tuple[FetchedPage, str]:
    """Fetch the first page, which may redirect to another site, and the robots.txt of the site it is on."""
    rules = _fetch_robots(fetcher, url)
    robots = Protego.parse(rules)
    start = fetcher.fetch(
        url, lambda target: _check_robots(robots, target) if site_of(target) == site_of(url) else None
    )
    if site_of(start.url) != site_of(url):
        rules = _fetch_robots(fetcher, start.url)
        _check_robots(Protego.parse(rules), start.url)
    if start.status >= HTTPStatus.BAD_REQUEST:
        raise FetchError(f"{url} returned {start.status}", hint="correct the URL")
    if start.cut or not is_html(start):
        message = f"cannot start from {url}: {read_row(start).error}"
        raise FetchError(message, hint="name the URL of an HTML page")
    return start, rules


def _discover(
    fetcher: Fetcher, start: FetchedPage, pages: int, robots: Protego, delay: float
) -> tuple[list[str], list[PageRow]]:
    """Follow links breadth first until `pages` URLs are found, or all.

    Return the URLs that were found only, and the rows of the pages that were fetched for their links.
    """
    found = dict.fromkeys([start.url])
    unread = deque(_add_links(found, start, pages, robots))
    rows = [read_row(start)]
    while len(found) < pages and unread:
        pause(delay)
        url = unread.popleft()
        try:
            page = fetcher.fetch(url, lambda target: _check_hop(robots, target, start.url))
        except FetchError as error:
            rows.append(_failed_row(url, error))
            continue
        rows.append(read_row(page))
        unread += _add_links(found, page, pages, robots)
    return list(unread), rows


def _add_links(found: dict[str, None], page: FetchedPage, most: int, robots: Protego) -> list[str]:
    """Add the links of a page to `found`, and return the new ones."""
    new = [link for link in read_links(page) if link not in found and robots.can_fetch(link, ROBOT)]
    new = new[: most - len(found)]
    found.update(dict.fromkeys(new))
    return new


def _row(fetcher: Fetcher, url: str, robots: Protego) -> PageRow:
    try:
        return read_row(fetcher.fetch(url, lambda target: _check_hop(robots, target, url)))
    except FetchError as error:
        return _failed_row(url, error)


def _failed_row(url: str, error: FetchError) -> PageRow:
    return PageRow(url[:MAX_URL_LENGTH], 0, error=error.message[:500])


def _check_hop(robots: Protego, target: str, site: str) -> None:
    if site_of(target) != site_of(site):
        raise FetchError(f"it redirects to another site, {target[:200]}")
    _check_robots(robots, target)


def _check_robots(robots: Protego, url: str) -> None:
    if not robots.can_fetch(url, ROBOT):
        raise FetchError(f"robots.txt excludes {url[:200]}", hint="name another page or site")
