"""Whole programs with an executor: their own functions, their end, and the examples of CPython's documentation."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.store import commands

from .conftest import SUPPORT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Run = Callable[..., subprocess.CompletedProcess[str]]

#: From the documentation of concurrent.futures.
PRIMES = """
import concurrent.futures
import math

PRIMES = [
    112272535095293,
    112582705942171,
    112272535095293,
    115280095190773,
    115797848077099,
    1099726899285419]

def is_prime(n):
    if n < 2:
        return False
    if n == 2:
        return True
    if n % 2 == 0:
        return False

    sqrt_n = int(math.floor(math.sqrt(n)))
    for i in range(3, sqrt_n + 1, 2):
        if n % i == 0:
            return False
    return True

def main():
    with concurrent.futures.ProcessPoolExecutor() as executor:
        for number, prime in zip(PRIMES, executor.map(is_prime, PRIMES)):
            print('%d is prime: %s' % (number, prime))

if __name__ == '__main__':
    main()
"""
#: The same; only the addresses are those of a server of the test.
PAGES = """
import concurrent.futures
import urllib.request

URLS = [URL_LIST]

# Retrieve a single page and report the URL and contents
def load_url(url, timeout):
    with urllib.request.urlopen(url, timeout=timeout) as conn:
        return conn.read()

# We can use a with statement to ensure threads are cleaned up promptly
with concurrent.futures.ThreadPoolExecutor(max_workers=5) as executor:
    # Start the load operations and mark each future with its URL
    future_to_url = {executor.submit(load_url, url, 60): url for url in URLS}
    for future in concurrent.futures.as_completed(future_to_url):
        url = future_to_url[future]
        try:
            data = future.result()
        except Exception as exc:
            print('%r generated an exception: %s' % (url, exc))
        else:
            print('%r page is %d bytes' % (url, len(data)))
"""
#: Its executor is made before the functions are defined, and it has neither a guard nor an end.
OPEN_END = """
import sys, time
from conveyor import Executor, inbox

inbox.CALLBACKS_LAST = 0.01  # so that the thread for callbacks has ended when the program ends
executor = Executor(2)

def nap(seconds):
    time.sleep(seconds)
    return seconds

print(executor.submit(nap, 0).result())
executor.submit(nap, 0.5).add_done_callback(lambda future: print("ended with", future.result(), flush=True))
print("end of the script")
"""
#: Has no guard, and calls that use executors of their own. It would start itself again and again if these imported it.
NESTED = """
import os
from conveyor import Executor

depth = os.environ["DEPTH"] = os.environ.get("DEPTH", "") + "x"
assert len(depth) <= 3, "the program, its workers, and theirs"

def square(number):
    return number * number

def add_squares(count):
    with Executor(1) as executor:
        return sum(executor.map(square, range(count)))

with Executor(1) as executor:
    print(list(executor.map(add_squares, range(1, 4))))
"""
#: A module that uses an executor while it is imported, which its workers would do in turn.
AT_IMPORT = """
import os
from conveyor import Executor

depth = os.environ["DEPTH"] = os.environ.get("DEPTH", "") + "x"
assert len(depth) <= 3, "the program, and its workers, which read it and then import this"

def double(number):
    return 2 * number

with Executor(1) as executor:
    print(executor.submit(double, 1).result())
"""
#: Uses the executor in ways that need its `__main__`.
OWN_FUNCTIONS = """
from functools import partial
from conveyor import Executor, task

class Shop:
    @classmethod
    def price(cls, number: int) -> int:
        return 2 * number

@task(name="own.task")
def add(first: int, second: int) -> int:
    return first + second

def begin(value: int) -> None:
    global begun
    begun = value

def read_begun() -> int:
    return begun

if __name__ == "__main__":
    with Executor(1, initializer=begin, initargs=(5,)) as executor:
        print(executor.submit(Shop.price, 4).result(), executor.submit(add, 1, second=2).result())
        print(list(executor.map(partial(add, 10), range(3))), executor.submit(read_begun).result())
"""


def ours(example: str, executor: str) -> str:
    """Return an example with another executor, unchanged otherwise."""
    example = example.replace("import concurrent.futures", "import concurrent.futures, conveyor")
    return example.replace(f"concurrent.futures.{executor}", "conveyor.Executor")


@pytest.fixture
def run(server: Any, tmp_path: Path) -> Run:
    """Return a function that runs a program at a server of each kind."""

    def run(text: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "program.py").write_text(text)
        done = subprocess.run(
            [sys.executable, "program.py"],
            cwd=tmp_path,
            env={**os.environ, "CONVEYOR_URL": server.url, "PYTHONPATH": str(SUPPORT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert server.client.run(commands.queue_names()) == [], "each deletes the queue of its own"
        return done

    return run


@pytest.fixture
def site() -> Iterator[str]:
    """Return the address of a server of small pages."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404 if self.path == "/missing" else 200)
            self.end_headers()
            self.wfile.write(self.path.encode())

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_prime_numbers_of_the_documentation(run: Run) -> None:
    done = run(ours(PRIMES, "ProcessPoolExecutor"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "112272535095293 is prime: True",
        "112582705942171 is prime: True",
        "112272535095293 is prime: True",
        "115280095190773 is prime: True",
        "115797848077099 is prime: True",
        "1099726899285419 is prime: False",
    ]


def test_web_pages_of_the_documentation(run: Run, site: str) -> None:
    urls = [f"{site}/{name}" for name in ("one", "three", "missing")]
    done = run(ours(PAGES, "ThreadPoolExecutor").replace("URL_LIST", ", ".join(map(repr, urls))))
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == sorted(
        [
            f"'{urls[0]}' page is 4 bytes",
            f"'{urls[1]}' page is 6 bytes",
            f"'{urls[2]}' generated an exception: HTTPError: HTTP Error 404: Not Found",
        ]
    )


def test_functions_of_the_program_run(run: Run) -> None:
    done = run(OWN_FUNCTIONS)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "8 3\n[10, 11, 12] 5\n"


def test_program_ends_after_its_calls_and_their_callbacks(run: Run) -> None:
    done = run(OPEN_END)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "0\nend of the script\nended with 0.5\n"


def test_calls_of_a_program_can_use_executors(run: Run) -> None:
    done = run(NESTED)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "[0, 1, 5]\n"


def test_module_whose_import_uses_an_executor_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "at_import.py").write_text(AT_IMPORT)
    done = run("import at_import")
    assert done.returncode == 1
    assert "a module that workers import cannot start workers while it is imported" in done.stderr


def test_traceback_of_the_worker_is_shown(run: Run) -> None:
    done = run(
        "from conveyor import Executor\n"
        "def halve(number):\n"
        "    return number / 0  # of the worker\n"
        "with Executor(1) as executor:\n"
        "    executor.submit(halve, 1).result()\n"
    )
    assert done.returncode == 1
    assert "return number / 0  # of the worker" in done.stderr
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_functions_of_a_program_without_a_file_are_refused(run: Run) -> None:
    code = (
        "from conveyor import Executor\n"
        "def double(number): return 2 * number\n"
        "with Executor(1) as executor:\n"
        "    print(executor.submit(len, 'abc').result())\n"
        "    try: executor.submit(double, 1)\n"
        "    except TypeError as error: print(error, '/', error.hint)\n"
    )
    done = run(f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {code!r}], check=True)\n")
    assert (done.returncode, done.stderr) == (0, "")
    refusal = "workers cannot load double: this program was not started from a file"
    assert done.stdout == f'3\n{refusal} / define it in a module, or use serializer="pickle"\n'
