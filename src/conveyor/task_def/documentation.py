"""Write pydoc's pages about the standard library to a folder. A separate program; see `samples`.

It imports only the standard library, since it runs without the caller's import path.
"""

import contextlib
import importlib
import importlib.util
import io
import pkgutil
import pydoc
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

#: Modules with side effects on import, modules that need a screen, and large tests.
LEFT_OUT = {
    "antigravity", "this", "idlelib", "test", "turtle", "turtledemo", "tkinter", "lib2to3", "ensurepip", "pydoc_data",
    "encodings", "ctypes", "distutils", "curses", "msilib", "venv", "rlcompleter", "readline", "site",
}  # fmt: skip
#: Parts of packages with side effects on import.
LEFT_OUT_PARTS = {"__main__", "test", "tests", "_main"}
_LOCAL_LINK = re.compile(r'<a href="file:[^"]*">(.*?)</a>', re.DOTALL)


def write_pages(folder: Path) -> None:
    """Write a page per importable module, an index, and a robots.txt that allows everything."""
    names = [name for name in module_names() if write_page(name, folder)]
    links = "".join(f'<li><a href="{name}.html">{name}</a></li>\n' for name in names)
    contents = f"<h1>Modules of Python {sys.version.split()[0]}</h1>\n<ul>\n{links}</ul>"
    (folder / "index.html").write_text(pydoc.html.page("Index of Modules", contents), encoding="utf-8")
    (folder / "robots.txt").write_text("User-agent: *\nAllow: /\n", encoding="utf-8")


def write_page(name: str, folder: Path) -> bool:
    """Write the page of one module; return False if it cannot be imported or described."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            module = importlib.import_module(name)
            page = pydoc.html.page(name, pydoc.html.document(module, name))
    except (Exception, SystemExit):  # noqa: BLE001 (a module may raise anything; then it has no page)
        return False
    (folder / f"{name}.html").write_text(_LOCAL_LINK.sub(r"\1", page), encoding="utf-8", errors="replace")
    return True


def module_names() -> Iterator[str]:
    """Yield the names of the standard library's public modules, and of the modules inside its packages."""
    for name in sorted(sys.stdlib_module_names):
        if name.startswith("_") or name in LEFT_OUT:
            continue
        yield name
        spec = importlib.util.find_spec(name)
        for part in pkgutil.iter_modules((spec and spec.submodule_search_locations) or []):
            if not part.name.startswith("_") and part.name not in LEFT_OUT_PARTS:
                yield f"{name}.{part.name}"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    write_pages(Path(sys.argv[1]))
