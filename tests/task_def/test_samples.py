"""The sample inputs."""

from __future__ import annotations

import http.client
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from conveyor.task_def.samples import documentation_site, make_csv_folder, make_documentation

if TYPE_CHECKING:
    from pathlib import Path


def get(url: str, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_generated_csv_files_are_always_identical(tmp_path: Path) -> None:
    one, other = (make_csv_folder(tmp_path / name, files=2, megabytes=0.05) for name in ("one", "other"))
    texts = [file.read_bytes() for file in sorted(one.iterdir())]
    assert texts == [file.read_bytes() for file in sorted(other.iterdir())]
    assert [50_000 <= len(text) < 52_500 for text in texts] == [True, True]
    assert texts[0] != texts[1]


def test_existing_csv_files_are_kept_and_broken_files_replaced(tmp_path: Path) -> None:
    folder = make_csv_folder(tmp_path / "csv", files=2, megabytes=0.05)
    first, second = sorted(folder.iterdir())
    before = first.stat().st_mtime_ns
    second.write_text("half")
    make_csv_folder(folder, files=2, megabytes=0.05)
    assert first.stat().st_mtime_ns == before
    assert second.stat().st_size >= 50_000


def test_documentation_site_has_over_a_hundred_linked_pages(documentation: Path) -> None:
    url = documentation_site(documentation)
    assert url.startswith("http://127.0.0.1:")
    status, index = get(url, "/")
    names = re.findall(r'<a href="([\w.]+)\.html">', index)
    assert status == 200
    assert len(names) >= 150
    assert not {"antigravity", "this", "idlelib", "test"} & set(names)
    assert {get(url, f"/{name}.html")[0] for name in names} == {200}
    assert 'href="re.html' in get(url, "/fnmatch.html")[1]
    assert "file:" not in get(url, "/json.html")[1]
    assert get(url, "/robots.txt")[1].startswith("User-agent: *")
    assert get(url, "/../samples.py")[0] == 404


def test_documentation_is_written_once(documentation: Path) -> None:
    folder = make_documentation(documentation)
    made = {file: file.stat().st_mtime_ns for file in documentation.rglob("*")}
    assert make_documentation(documentation) == folder
    assert {file: file.stat().st_mtime_ns for file in documentation.rglob("*")} == made
