"""Sample inputs for the demo and for orders without input: CSV files and a web site."""

import csv
import random
import shutil
import subprocess
import sys
import threading
import time
import uuid
from functools import lru_cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from conveyor.errors import ConveyorError
from conveyor.task_def import documentation
from conveyor.task_def.paths import replacing

_CITIES = (
    "Lisbon", "Tromsø", "Graz", "Porto", "Kraków", "Oslo", "Gent", "Turin", "Malmö", "Izmir", "Cork", "Lyon",
)  # fmt: skip
_STATES = ("delivered",) * 12 + ("in transit",) * 5 + ("delayed", "returned", "lost")
_REMARKS = (
    "", "", "", "left with a neighbour", "fragile", "signed for", "delayed by weather", "second attempt",
)  # fmt: skip
_COLUMNS = ("shipment", "day", "from", "to", "kilograms", "state", "remark")


def make_csv_folder(
    folder: Path, files: int = 8, megabytes: float = 6, *, first_year: int = 2025, years: int = 1
) -> Path:
    """Create a folder of CSV files of a parcel service, `megabytes` each, and return it; keeps existing files.

    The same arguments always produce the same bytes. About one row in six contains the word "delayed".
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = int(megabytes * 1_000_000)
    for number in range(1, files + 1):
        file = folder / f"shipments-{number:02}.csv"
        if not (file.is_file() and abs(file.stat().st_size - size) <= size / 20):
            with replacing(file) as making:
                _write_shipments(making, number, size, range(first_year, first_year + years))
    return folder


def documentation_site(folder: Path, latency: float = 0.0) -> str:
    """Serve the documentation of this Python's standard library on loopback, and return the site's URL.

    At least a hundred pages with links between them, written by pydoc below `folder` unless they are there, and
    served by threads until this process exits. Each reply takes `latency` seconds longer, as over a network.
    """
    return _serve(make_documentation(folder), latency)


@lru_cache(maxsize=4)
def _serve(folder: Path, latency: float) -> str:
    server = _Server(("127.0.0.1", 0), partial(_Page, directory=folder))
    server.latency = latency
    threading.Thread(target=server.serve_forever, name="documentation-site", daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"


def make_documentation(folder: Path) -> Path:
    """Write the documentation's pages below `folder` unless they exist, and return their folder.

    A separate process does it, since pydoc imports what it describes.
    """
    version = ".".join(map(str, sys.version_info[:3]))
    target = folder / f"python-{version}"
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    making = folder / f".{target.name}.{uuid.uuid4().hex}.unfinished"
    making.mkdir()
    try:
        command = [sys.executable, "-I", str(documentation.__file__), str(making)]
        finished = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if not (making / "index.html").is_file():
            message = f"pydoc wrote no pages: {finished.stderr.strip()[-300:]}"
            raise ConveyorError(message, hint="name another site with url=…")
        try:
            making.rename(target)
        except OSError:
            if not target.is_dir():  # otherwise another process has written the same pages meanwhile
                raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return target


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    latency = 0.0


class _Page(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Header and body share one packet; otherwise the peer's delayed acknowledgement costs 40 ms per page.
    wbufsize = -1
    disable_nagle_algorithm = True
    timeout = 60

    def do_GET(self) -> None:
        """Reply after the site's latency."""
        time.sleep(getattr(self.server, "latency", 0.0))
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is http.server's)
        """Log nothing: the producer's terminal belongs to its user."""


def _write_shipments(file: Path, seed: int, size: int, years: range) -> None:
    chance = random.Random(seed)  # noqa: S311 (nothing here is secret)
    with file.open("w", encoding="utf-8", newline="") as rows:
        writer = csv.writer(rows, lineterminator="\n")
        writer.writerow(_COLUMNS)
        number = seed * 1_000_000
        written = 0
        while written < size:
            number += 1
            day = f"{years[number % len(years)]}-{number % 12 + 1:02}-{number % 28 + 1:02}"
            start, end = chance.choice(_CITIES), chance.choice(_CITIES)
            weight = f"{chance.random() * 30:.2f}"
            written += writer.writerow(
                (f"P{number}", day, start, end, weight, chance.choice(_STATES), chance.choice(_REMARKS))
            )
