"""Reading a page: one row of facts, and the links to other pages of its site."""

import codecs
import re
from dataclasses import dataclass, replace
from http import HTTPStatus
from urllib.parse import urljoin, urlsplit

from selectolax.lexbor import LexborHTMLParser, LexborNode

from conveyor.task_def.web_fetch import FetchedPage, FetchError, parsed

#: Characters of a title at most.
MAX_TEXT_LENGTH = 300
MAX_URL_LENGTH = 2_000
#: Links of one page to follow at most.
MAX_LINKS = 20_000
#: Nesting depth at most. The parser's time grows with its square, so a page could keep it busy for hours.
MAX_DEPTH = 1_000
_FILES = "png jpe?g gif svg webp ico css js pdf zip gz bz2 xz tar exe dmg mp[34] webm woff2?".replace(
    " ", "|"
)
_NO_PAGES = re.compile(rf"\.({_FILES})$", re.IGNORECASE)
_TAG = re.compile(r"<(/?)([a-z][a-z0-9]*)", re.IGNORECASE)
#: Elements without an end tag, or with an optional one.
_ENDLESS = {
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr", "p",
    "li", "dt", "dd", "td", "th", "tr", "tbody", "thead", "tfoot", "option", "optgroup", "colgroup", "rp", "rt", "html",
    "head", "body",
}  # fmt: skip
_DECLARED = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)
_COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
#: Bytes of a page that are searched for its encoding.
_HEAD = 2_000
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
#: The beginning of a page in UTF-16 without a byte-order mark: white space, if any, and `<`.
_UTF_16 = (
    (re.compile(rb"(?:[\t\n\r ]\0)*<\0"), "utf-16-le"),
    (re.compile(rb"(?:\0[\t\n\r ])*\0<"), "utf-16-be"),
)
#: Encodings that browsers read as another one, by Python's name.
_AS_BROWSERS = {
    "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874", "tis-620": "cp874",
    "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949", "big5": "big5hkscs",
    "utf-16": "utf-16-le",
}  # fmt: skip
#: Python encodings that no page may use: some are slow, some do not encode text.
_REFUSED = {"utf-7", "punycode", "idna", "unicode-escape", "raw-unicode-escape", "undefined"}


@dataclass(frozen=True, slots=True)
class PageRow:
    """A page in one row."""

    url: str
    """URL after redirects."""
    status: int
    """HTTP status; 0 without a response."""
    title: str = ""
    h1: str = ""
    """Text of its first heading."""
    links: int = 0
    words: int = 0
    """Words of text, without scripts and styles."""
    bytes: int = 0
    error: str = ""
    """Why the page was not read, or ""."""


def read_row(page: FetchedPage) -> PageRow:
    """Return the facts of a page, or the reason why it was not read."""
    unread = PageRow(page.url, page.status, bytes=len(page.body))
    if page.cut:
        return replace(unread, error=f"longer than {unread.bytes:,} bytes")
    if not is_html(page):
        return replace(unread, error=f"not HTML but {page.content_type[:80] or 'unnamed'}")
    try:
        tree = _tree(page)
    except FetchError as refusal:
        return replace(unread, error=refusal.message)
    links = len(tree.css("a[href]"))
    title = _text(tree.css_first("title"))
    heading = _text(tree.css_first("h1"))
    tree.strip_tags(["script", "style", "noscript", "template"])
    words = len(tree.body.text(separator=" ").split()) if tree.body else 0
    error = "" if page.status < HTTPStatus.BAD_REQUEST else f"the site returned {page.status}"
    return replace(unread, title=title, h1=heading, links=links, words=words, error=error)


def read_links(page: FetchedPage) -> list[str]:
    """Return the URLs of other pages of the same site that a page links to, in order and without duplicates."""
    if page.cut or not is_html(page):
        return []
    try:
        tree = _tree(page)
    except FetchError:
        return []
    base = tree.css_first("base[href]")
    start = urljoin(page.url, base.attributes.get("href") or "") if base else page.url
    site = site_of(page.url)
    found: dict[str, None] = {}
    for link in tree.css("a[href]")[:MAX_LINKS]:
        try:
            target = str(parsed(urljoin(start, link.attributes.get("href") or "")))
        except (FetchError, ValueError):
            continue
        known = target in found or len(target) > MAX_URL_LENGTH
        if not known and site_of(target) == site and not _NO_PAGES.search(urlsplit(target).path):
            found[target] = None
    return list(found)


def site_of(url: str) -> tuple[str, str, int | None]:
    """Return the scheme, host and port of a URL, which identify its site."""
    address = parsed(url)
    return address.scheme, address.host, address.port


def is_html(page: FetchedPage) -> bool:
    """Return True if a page is HTML by its content type or, without one, by its looks."""
    kind = page.content_type.partition(";")[0].strip().lower()
    return kind in {"text/html", "application/xhtml+xml"} or (not kind and b"<" in page.body[:1000])


def _tree(page: FetchedPage) -> LexborHTMLParser:
    text = _decoded(page)
    if _depth(text) > MAX_DEPTH:
        raise FetchError(f"nested deeper than {MAX_DEPTH:,} elements")
    return LexborHTMLParser(text)


def _decoded(page: FetchedPage) -> str:
    """Return a page's text as browsers read it: a byte-order mark decides, then the header, then the page itself."""
    for mark, name in _MARKS:
        if page.body.startswith(mark):
            return page.body[len(mark) :].decode(name, "replace")
    said = _CHARSET.search(page.content_type)
    name = _encoding(said[1]) if said else ""
    return page.body.decode(name or _own_encoding(page.body) or "utf-8", "replace")


def _own_encoding(body: bytes) -> str:
    """Return the encoding that a page's own bytes state, or ""."""
    for start, name in _UTF_16:
        if start.match(body[:_HEAD]):
            return name
    declared = _DECLARED.search(_COMMENT.sub(b"", body[:_HEAD]))
    name = _encoding(declared[1].decode("ascii", "replace")) if declared else ""
    return "" if name.startswith("utf-16") else name  # its declaration was readable, so it is not UTF-16


def _encoding(label: str) -> str:
    """Return Python's name of the encoding that a label means to browsers, or "" if there is none."""
    try:
        name = codecs.lookup(label).name
        b"a".decode(name, "replace")
    except (LookupError, ValueError):
        return ""
    return "" if name in _REFUSED or name.startswith("utf-32") else _AS_BROWSERS.get(name, name)


def _depth(text: str) -> int:
    """Return the approximate nesting depth of a page."""
    depth = deepest = 0
    for tag in _TAG.finditer(text):
        if tag[2].lower() not in _ENDLESS:
            depth = max(0, depth - 1) if tag[1] else depth + 1
            deepest = max(deepest, depth)
    return deepest


def _text(node: LexborNode | None) -> str:
    """Return the text of a node in one line.

    A text that begins like a formula gets an apostrophe, since a spreadsheet would run it.
    """
    text = " ".join(node.text().split())[:MAX_TEXT_LENGTH] if node else ""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
