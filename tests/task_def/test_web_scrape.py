"""The task `web_scrape`."""

from __future__ import annotations

import codecs
import csv
import socket
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.errors import BadInput, JobCancelled
from conveyor.task_def import web_scrape
from conveyor.task_def.web_fetch import FetchedPage, FetchLimits
from conveyor.task_def.web_page import MAX_DEPTH, PageRow, read_links, read_row
from conveyor.task_def.web_scrape import SiteSummary, Visit, join, split

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RecordingJob, Site

scrape = web_scrape.web_scrape


def order(**arguments: Any) -> SiteSummary:
    """Do a whole order in this process."""
    return join([scrape(**part) for part in split(**arguments)], **arguments)  # type: ignore[arg-type]


def links(*targets: str) -> str:
    return "".join(f'<a href="{target}">{target}</a> ' for target in targets)


def rows_of(summary: SiteSummary) -> dict[str, dict[str, str]]:
    with summary.output.open(encoding="utf-8", newline="") as file:
        return {row["url"]: row for row in csv.DictReader(file)}


@pytest.fixture
def small_site(site: Site) -> Site:
    """Return a site of ten pages, of which the last is nine links away."""
    for number in range(9):
        site.page(f"/p{number}", links(f"p{number + 1}", "p0#top", "/p0"), title=f"page {number}")
    site.page("/p9", "<p>four words of text</p><script>not counted at all</script>", title="page 9")
    return site


class TestAWholeOrder:
    def test_each_page_has_a_single_row_in_sorted_order(self, small_site: Site) -> None:
        found = order(url=f"{small_site.url}p0", allow_private=True)
        rows = rows_of(found)
        assert list(rows) == [f"{small_site.url}p{number}" for number in range(10)]
        assert (found.pages, found.failed) == (10, 0)
        last = rows[f"{small_site.url}p9"]
        assert (last["title"], last["h1"], last["words"], last["links"]) == ("page 9", "Of page 9", "7", "0")

    def test_order_reads_at_most_the_given_number_of_pages(self, small_site: Site) -> None:
        assert order(url=f"{small_site.url}p0", pages=4, allow_private=True).pages == 4

    @pytest.mark.parametrize("pages", [1, 4, 10, 100])
    def test_every_page_and_robots_txt_are_fetched_once(self, small_site: Site, pages: int) -> None:
        found = order(url=f"{small_site.url}p0", pages=pages, allow_private=True)
        assert sorted(small_site.asked) == sorted(["/robots.txt", *(f"/p{n}" for n in range(found.pages))])

    def test_jobs_share_the_pages_that_the_split_left(self, site: Site) -> None:
        names = [f"/p{number}" for number in range(40)]
        site.page("/", links(*names))
        for name in names:
            site.page(name)
        parts = split(url=site.url, pages=41, allow_private=True)
        assert site.asked == ["/robots.txt", "/"]
        pages = [len(part["pages"]) for part in parts]  # type: ignore[arg-type]
        assert (len(parts), sum(pages), max(pages) - min(pages)) == (16, 40, 1)

    def test_failing_page_of_the_split_is_fetched_once(self, site: Site) -> None:
        site.page("/", links("/dies"))
        site.answers["/dies"] = lambda visitor: visitor.connection.shutdown(socket.SHUT_RDWR)
        found = order(url=site.url, allow_private=True)
        assert (found.pages, found.failed) == (2, 1)
        assert site.asked.count("/dies") == 1

    def test_long_robots_txt_is_fetched_by_each_job(self, site: Site) -> None:
        text = "User-agent: *\n" + "# padding\n" * 6000 + "Disallow: /way\n"
        site.answers["/robots.txt"] = lambda visitor: visitor.say(text)
        site.page("/", links("a", "b", "way"))
        found = rows_of(order(url=site.url, pages=3, allow_private=True))
        assert set(found) == {site.url, f"{site.url}a", f"{site.url}b"}
        assert site.asked.count("/robots.txt") == 3, "once by the split, once by each of two jobs"

    def test_scraper_stays_on_the_site(self, site: Site) -> None:
        site.page(
            "/",
            links(
                "/in", "http://127.0.0.1:9/out", "https://example.org/", "mailto:x@y", "file:///etc/passwd"
            ),
        )
        site.page("/in")
        assert list(rows_of(order(url=site.url, allow_private=True))) == [site.url, f"{site.url}in"]

    def test_scraper_obeys_robots_txt(self, site: Site) -> None:
        site.answers["/robots.txt"] = lambda visitor: visitor.say(
            "User-agent: *\nDisallow: /private\nDisallow: /hidden\n", Content_Type="text/plain"
        )
        site.page("/", links("/open", "/private/1", "/way"))
        site.page("/open")
        site.redirect("/way", "/hidden")
        rows = rows_of(order(url=site.url, allow_private=True))
        assert list(rows) == [site.url, f"{site.url}open", f"{site.url}way"]
        assert "robots.txt" in rows[f"{site.url}way"]["error"]
        assert not {"/private/1", "/hidden"} & set(site.asked)

    def test_failing_pages_are_rows_and_not_failures(self, site: Site) -> None:
        site.page("/", links("/gone", "/loop", "/away", "/meta", "/big", "/data", "/dies"))
        site.redirect("/loop", "/loop")
        site.redirect("/away", "http://127.0.0.1:9/")
        site.redirect("/meta", "http://169.254.169.254/")
        site.page("/big", "x" * 20_000)
        site.answers["/data"] = lambda visitor: visitor.say("1,2", Content_Type="text/csv")
        site.answers["/dies"] = lambda visitor: visitor.connection.shutdown(socket.SHUT_RDWR)
        found = order(url=site.url, max_bytes=10_000, allow_private=True)
        errors = {
            url.removeprefix(site.url): row["error"] for url, row in rows_of(found).items() if row["error"]
        }
        assert found.failed == 7
        assert errors["gone"] == "the site returned 404"
        assert "loop back" in errors["loop"]
        assert "another site" in errors["away"]
        assert "another site" in errors["meta"]
        assert errors["big"] == "longer than 10,000 bytes"
        assert errors["data"] == "not HTML but text/csv"
        assert "cannot be reached" in errors["dies"]

    @pytest.mark.usefixtures("shared_documentation")
    def test_documentation_of_python_is_read_by_default(self, own_folder: Path) -> None:
        found = order(pages=30)
        assert (found.pages, found.failed) == (30, 0)
        assert found.words > 1000
        assert found.output == own_folder / "conveyor-out" / "web_scrape" / "pages.csv"

    def test_scraper_starts_at_the_redirect_target_of_the_first_page(self, site: Site) -> None:
        site.redirect("/", "/start/")
        site.page("/start/", links("next"))
        site.page("/start/next")
        rows = rows_of(order(url=site.url, allow_private=True))
        assert list(rows) == [f"{site.url}start/", f"{site.url}start/next"]


class TestPoliteness:
    def test_no_pause_is_made_on_loopback(self, small_site: Site) -> None:
        assert visit_of(split(url=f"{small_site.url}p0", allow_private=True)).delay == 0

    def test_pause_is_shared_by_the_whole_order(self, small_site: Site) -> None:
        parts = split(url=f"{small_site.url}p0", pages=2, delay=0.01, allow_private=True)
        assert visit_of(parts).delay == pytest.approx(0.01 * len(parts))

    def test_robots_txt_is_read_whole_despite_a_small_page_limit(self, site: Site) -> None:
        text = "User-agent: *\n" + "# \n" * 1000 + "Disallow: /*way$\n"
        site.answers["/robots.txt"] = lambda visitor: visitor.say(text)
        site.page("/", links("away", "stay"))
        site.page("/stay")
        found = rows_of(order(url=site.url, allow_private=True, max_bytes=2000))
        assert set(found) == {site.url, f"{site.url}stay"}

    def test_longer_pause_of_robots_txt_is_honored(self, site: Site) -> None:
        site.answers["/robots.txt"] = lambda visitor: visitor.say("User-agent: *\nCrawl-delay: 7\n")
        site.page("/")
        assert visit_of(split(url=site.url, delay=0.01, allow_private=True)).delay == 7

    def test_zero_pause_is_allowed_on_loopback_only(self) -> None:
        with pytest.raises(BadInput, match="would overload"):
            split(url="http://192.0.2.1/", delay=0)

    def test_cancelled_job_does_not_wait_for_its_pause(self, site: Site, job: RecordingJob) -> None:
        site.page("/")
        job.cancel_after = 2
        with pytest.raises(JobCancelled):
            scrape([site.url, site.url], Visit(FetchLimits(allow_private=True), delay=3000))


def visit_of(parts: list[dict[str, object]]) -> Visit:
    visit = parts[0]["visit"]
    assert isinstance(visit, Visit)
    return visit


class TestRefusesAtOnce:
    def test_unreachable_site_is_refused(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            with pytest.raises(BadInput, match="cannot be reached"):
                split(url=f"http://127.0.0.1:{unused.getsockname()[1]}/", allow_private=True)

    @pytest.mark.parametrize(
        "url", ["file:///etc/passwd", "gopher://127.0.0.1/", "example", "http://2130706433/"]
    )
    def test_forbidden_url_is_refused(self, url: str) -> None:
        with pytest.raises(BadInput):
            split(url=url)

    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "0177.0.0.1", "[::ffff:127.0.0.1]", "localhost", "169.254.169.254"]
    )
    def test_private_address_is_refused(self, host: str) -> None:
        with pytest.raises(BadInput, match=r"private address|never allowed|invalid URL"):
            split(url=f"http://{host}/")

    def test_redirect_to_the_metadata_service_is_refused(self, site: Site) -> None:
        site.redirect("/", "http://169.254.169.254/latest/meta-data/")
        with pytest.raises(BadInput, match="never allowed"):
            split(url=site.url, allow_private=True)

    def test_redirect_loop_is_refused(self, site: Site) -> None:
        site.redirect("/", "/")
        with pytest.raises(BadInput, match="loop back"):
            split(url=site.url, allow_private=True)

    def test_missing_page_is_refused(self, site: Site) -> None:
        with pytest.raises(BadInput, match="returned 404"):
            split(url=site.url, allow_private=True)

    def test_oversized_page_is_refused(self, site: Site) -> None:
        site.page("/", "x" * 20_000)
        with pytest.raises(BadInput, match="longer than 10,000 bytes"):
            split(url=site.url, max_bytes=10_000, allow_private=True)

    def test_page_excluded_by_robots_txt_is_refused(self, site: Site) -> None:
        site.answers["/robots.txt"] = lambda visitor: visitor.say(
            "User-agent: ConveyorScraper\nDisallow: /\n"
        )
        site.page("/")
        with pytest.raises(BadInput, match=r"robots\.txt"):
            split(url=site.url, allow_private=True)
        assert site.asked == ["/robots.txt"]

    def test_site_with_a_failing_robots_txt_is_refused(self, site: Site) -> None:
        site.answers["/robots.txt"] = lambda visitor: visitor.say("", status=503)
        with pytest.raises(BadInput, match="returned 503"):
            split(url=site.url, allow_private=True)

    @pytest.mark.parametrize(
        "wrong", [{"pages": 0}, {"pages": -1}, {"delay": -1.0}, {"delay": float("nan")}, {"max_bytes": 0}]
    )
    def test_invalid_numbers_are_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(BadInput, match=f"{next(iter(wrong))} must be"):
            split(**wrong)


class TestOneJob:
    def test_job_on_an_unreachable_site_has_rows_with_errors(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
            rows = scrape([url, f"{url}2"], Visit(FetchLimits(allow_private=True), 0))
        assert [row.status for row in rows] == [0, 0]
        assert "cannot be reached" in rows[1].error

    def test_progress_counts_each_page(self, site: Site, job: RecordingJob) -> None:
        site.page("/")
        scrape([site.url, site.url], Visit(FetchLimits(allow_private=True), 0))
        assert job.reports == [(0, 2), (1, 2), (2, 2)]


class TestReadingAPage:
    def read(self, body: str | bytes, kind: str = "text/html") -> PageRow:
        data = body if isinstance(body, bytes) else body.encode()
        return read_row(FetchedPage("http://a/", 200, kind, data, cut=False))

    @pytest.mark.parametrize("tag", ["div", "a href=x", "table", "b", "h1", "span"])
    def test_endlessly_nested_elements_are_given_up(self, tag: str) -> None:
        assert "nested deeper" in self.read(f"<{tag}>" * 300_000 + "x").error
        assert self.read(f"<{tag}>x</{tag.split(maxsplit=1)[0]}>" * (MAX_DEPTH + 10)).error == ""

    def test_unclosed_list_does_not_count_as_nesting(self) -> None:
        assert self.read("<ul>" + "<li>a word<p>more" * 20_000).words == 60_000

    @pytest.mark.parametrize(
        ("data", "kind"),
        [
            (codecs.BOM_UTF8 + "<title>naïve</title>".encode(), "text/html; charset=iso-8859-1"),
            (codecs.BOM_UTF16_LE + "<title>naïve</title>".encode("utf-16-le"), "text/html; charset=utf-8"),
            (codecs.BOM_UTF16_BE + "<title>naïve</title>".encode("utf-16-be"), "text/html"),
            ("<title>naïve</title>".encode("utf-16"), ""),
            ("\n <title>naïve</title>".encode("utf-16-le"), "text/html"),
            ("<title>naïve</title>".encode("utf-16-be"), "text/html"),
            ("<title>naïve</title>".encode("utf-16-le"), "text/html; charset=utf-16"),
            ("<meta charset=utf-16><title>naïve</title>".encode(), "text/html"),
            ("<meta charset=utf-8><title>naïve</title>".encode("latin-1"), "text/html; charset=latin-1"),
            ("<meta charset=latin-1><title>naïve</title>".encode("latin-1"), "text/html; charset=klingon"),
            ("<!-- <meta charset=koi8-r> --><title>naïve</title>".encode(), "text/html"),
        ],
    )
    def test_encoding_mark_beats_header_and_header_beats_meta(self, data: bytes, kind: str) -> None:
        assert self.read(data, kind).title == "naïve"

    @pytest.mark.parametrize("label", ["iso-8859-1", "ascii", "windows-1252"])
    def test_encoding_labels_are_interpreted_as_in_browsers(self, label: str) -> None:
        assert (
            self.read("<title>„5 €“</title>".encode("cp1252"), f"text/html; charset={label}").title == "„5 €“"
        )

    @pytest.mark.parametrize("label", ["utf-7", "punycode", "utf-32", "unicode_escape"])
    def test_forbidden_encodings_are_ignored(self, label: str) -> None:
        assert (
            self.read("<title>+AGE- a\\x62</title>", f"text/html; charset={label}").title == "'+AGE- a\\x62"
        )

    def test_encoding_can_be_given_in_three_ways(self) -> None:
        page = "<meta charset=latin-1><title>naïve</title>"
        assert self.read(page.encode("latin-1")).title == "naïve"
        assert self.read(page.encode(), "text/html; charset=utf-8").title == "naïve"
        assert self.read("<title>naïve</title>").title == "naïve"
        assert self.read("<title>naïve</title>", "text/html; charset=klingon").title == "naïve"
        assert self.read(b"<title>x</title>", "text/html; charset=base64").title == "x"

    @pytest.mark.parametrize("title", ["=HYPERLINK(1)", "+1", "-1", "@x"])
    def test_spreadsheet_formula_in_a_title_is_neutralized(self, title: str) -> None:
        assert self.read(f"<title> {title}</title>").title == f"'{title}"

    def test_texts_are_bounded_single_lines(self) -> None:
        row = self.read(f"<h1>a\n\tb {'x' * 1000}</h1>")
        assert row.h1.startswith("a b xxx")
        assert len(row.h1) == 300

    def test_links_follow_the_base_and_omit_files(self) -> None:
        body = '<base href="/sub/">' + links("a", "b.png", "../c", "#d", "?e=1", "http://[bad", "//other/f")
        page = FetchedPage("http://a/x", 200, "text/html", body.encode(), cut=False)
        assert read_links(page) == ["http://a/sub/a", "http://a/c", "http://a/sub/", "http://a/sub/?e=1"]
