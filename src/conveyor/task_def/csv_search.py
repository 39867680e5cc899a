"""The task `csv_search`: occurrences of a word in CSV files, one job per file."""

import codecs
import csv
import io
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TextIO

from conveyor.context import current_job
from conveyor.errors import BadInput, ConveyorError
from conveyor.task_def.csv_rows import CsvFile, Word
from conveyor.task_def.places import exists, output_file, path_of, sample_folder, unfinished
from conveyor.task_def.samples import make_csv_folder
from conveyor.tasks import task

#: The word that is searched for in the sample files.
SAMPLE_WORD = "delayed"
#: Files of one order.
MOST_FILES = 100_000


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for and how."""

    word: str
    ignore_case: bool = True
    whole_word: bool = False
    encoding: str = "utf-8-sig"
    """Python's name of the files' encoding; this one is UTF-8 with or without a byte order mark."""


@dataclass(frozen=True, slots=True)
class FileMatches:
    """What was found in one file."""

    file: Path
    rows: int
    """Rows of the file, the first one included."""
    matching_rows: int
    occurrences: int
    header: list[str]
    """The file's first row."""
    found: Path | None = None
    """CSV of the matching rows, each after the file's path and the row's number; None if nobody asked for it."""


@dataclass(frozen=True, slots=True)
class SearchSummary:
    """What was found in all files of an order."""

    word: str
    files: int
    rows: int
    matching_rows: int
    occurrences: int
    output: Path
    """The CSV of all matching rows."""
    per_file: dict[str, int]
    """Occurrences by file."""


@task(name="csv_search", queue="queue_one")
def csv_search(file: Path, search: Search, found: Path | None = None) -> FileMatches:
    """Count a word in a CSV file and copy the rows it is in.

    The rows go to `found`, if given. Row numbers start at 1 and count the first row too. Raises BadInput for a
    missing, binary or broken file, and for one in another encoding.
    """
    word = _word_of(search)
    if found is None:
        return _count(file, search, word, None)
    found.parent.mkdir(parents=True, exist_ok=True)
    target = unfinished(found)
    try:
        with target.open("w", encoding="utf-8", newline="") as rows:
            result = _count(file, search, word, rows)
        target.replace(found)
    finally:
        target.unlink(missing_ok=True)
    return FileMatches(file, result.rows, result.matching_rows, result.occurrences, result.header, found)


@csv_search.splits
def split(
    path: Annotated[
        str, "folder, file, pattern (data/*.csv) or several with commas; empty: sample files"
    ] = "",
    word: Annotated[str, "word to look for"] = SAMPLE_WORD,
    *,
    ignore_case: Annotated[bool, "treat capital and small letters alike"] = True,
    whole_word: Annotated[bool, "leave out words that only contain it"] = False,
    encoding: Annotated[str, "encoding of the files"] = "utf-8-sig",
    output: Annotated[str, "CSV file for the matching rows; empty: conveyor-out/csv_search/matches.csv"] = "",
) -> list[dict[str, object]]:
    """Give one job per file, after a look at the start of each."""
    search = Search(word, ignore_case, whole_word, encoding)
    _word_of(search)
    files = find_files(path or str(make_csv_folder(sample_folder() / "csv")))
    for file in files:
        with CsvFile(file, encoding):
            pass
    target = output_file(output, "csv_search", "matches.csv")
    if target in files:
        message = f"{target} is one of the files to be searched, and the rows would be written over it"
        raise BadInput(message, hint="give another file with output=…")
    pieces = target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex}.parts")
    return [
        {"file": file, "search": search, "found": pieces / f"{number:06}.csv"}
        for number, file in enumerate(files, 1)
    ]


@csv_search.joins
def join(
    parts: list[FileMatches], /, word: str = SAMPLE_WORD, output: str = "", **_: object
) -> SearchSummary:
    """Sum the parts, and merge the matching rows into one CSV."""
    target = output_file(output, "csv_search", "matches.csv")
    _merge(parts, target)
    return SearchSummary(
        word=word,
        files=len(parts),
        rows=sum(part.rows for part in parts),
        matching_rows=sum(part.matching_rows for part in parts),
        occurrences=sum(part.occurrences for part in parts),
        output=target,
        per_file={str(part.file): part.occurrences for part in parts},
    )


def find_files(path: str) -> list[Path]:
    """Give the CSV files that `path` means, sorted and absolute; raises BadInput where there are none."""
    if exists(path_of(path)) or "," not in path:
        found = _files_of(path)
    else:
        found = [file for one in path.split(",") for file in _files_of(one.strip())]
    files = sorted(set(found))
    if len(files) > MOST_FILES:
        message = f"{path!r} means {len(files):,} files, at most {MOST_FILES:,} are searched at once"
        raise BadInput(message, hint="name fewer")
    return files


def _files_of(path: str) -> list[Path]:
    whole = path_of(path)
    if not exists(whole):
        root = Path(whole.anchor)
        try:
            found = [file for file in root.glob(str(whole.relative_to(root))) if not file.is_dir()]
        except ValueError as error:
            message = f"{path!r} does not exist, and is no pattern either: {error}"
            raise BadInput(message, hint="a pattern looks like data/*.csv") from error
        if not found:
            message = f"{path!r} does not exist"
            raise BadInput(message, hint="give a folder, a file or a pattern such as data/*.csv")
    elif whole.is_dir():
        found = _files_in(whole)
    else:
        found = [whole]
    for file in found:
        if not file.is_file():
            message = f"{file} is no regular file"
            raise BadInput(message, hint="give CSV files")
    return found


def _files_in(folder: Path) -> list[Path]:
    try:
        found = [file for file in folder.iterdir() if file.suffix.lower() == ".csv" and file.is_file()]
    except OSError as error:
        message = f"the folder {folder} cannot be read: {error.strerror}"
        raise BadInput(message, hint="give a folder you may read") from error
    if not found:
        message = f"there are no CSV files in {folder}"
        raise BadInput(
            message, hint="give a folder with files that end in .csv; folders inside it are not searched"
        )
    return found


def _word_of(search: Search) -> Word:
    if not search.word.strip():
        message = "the word to look for is empty"
        raise BadInput(message, hint=f"give a word, as word={SAMPLE_WORD}")
    try:
        codecs.lookup(search.encoding)
    except LookupError as error:
        message = f"no encoding is called {search.encoding!r}"
        raise BadInput(message, hint="try utf-8, cp1252 or latin-1") from error
    return Word(search.word, ignore_case=search.ignore_case, whole_word=search.whole_word)


def _count(file: Path, search: Search, word: Word, rows: TextIO | None) -> FileMatches:
    """Search a file and write each matching row to the open text file `rows`, unless that is None."""
    job = current_job()
    writer = csv.writer(rows) if rows is not None else None
    matching_rows = occurrences = 0
    with CsvFile(file, search.encoding) as source:
        size = max(1, file.stat().st_size)

        def look(done: int) -> None:
            job.check()
            job.progress(done, size, f"{occurrences:,} found")

        for number, count, row in source.matches(word, look):
            matching_rows += 1
            occurrences += count
            if writer:
                writer.writerow([file, number, *row])
        job.progress(size, size, f"{occurrences:,} found")
        return FileMatches(file, source.rows, matching_rows, occurrences, source.header)


def _merge(parts: list[FileMatches], target: Path) -> None:
    """Write the rows of all parts under one header line and remove the parts' own files."""
    width = max((len(part.header) for part in parts), default=0)
    same = len({tuple(part.header) for part in parts}) == 1
    columns = parts[0].header if same else [f"column_{number}" for number in range(1, width + 1)]
    temporary = unfinished(target)
    pieces = [part.found for part in parts if part.found]
    try:
        with temporary.open("wb") as merged:
            merged.write(_line(["file", "row", *columns]))
            for piece in pieces:
                with piece.open("rb") as rows:
                    shutil.copyfileobj(rows, merged)
        temporary.replace(target)
    except FileNotFoundError as error:
        message = f"the rows that a worker found are not at {error.filename}"
        raise ConveyorError(message, hint="workers on other machines need the same output folder") from error
    finally:
        temporary.unlink(missing_ok=True)
    for folder in {piece.parent for piece in pieces if piece.parent.name.endswith(".parts")}:
        shutil.rmtree(folder, ignore_errors=True)


def _line(fields: list[str]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(fields)
    return text.getvalue().encode()
