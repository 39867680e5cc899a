"""The task `csv_search`: occurrences of a word in CSV files, one job per file."""

import codecs
import csv
import io
import shutil
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TextIO

from conveyor.context import current_job
from conveyor.errors import BadInput, ConveyorError
from conveyor.task_def.csv_rows import CsvFile, Word
from conveyor.task_def.paths import exists, output_file, path_of, replacing, sample_folder
from conveyor.task_def.samples import make_csv_folder
from conveyor.tasks import task

#: The word to search for in the sample files.
SAMPLE_WORD = "delayed"
#: Files of one order at most.
MAX_FILES = 100_000


@dataclass(frozen=True, slots=True)
class Search:
    """The word and how to search for it."""

    word: str
    ignore_case: bool = True
    whole_word: bool = False
    encoding: str = "utf-8-sig"
    """Python's name of the files' encoding; this one is UTF-8 with or without a byte order mark."""


@dataclass(frozen=True, slots=True)
class FileMatches:
    """The matches in one file."""

    file: Path
    rows: int
    """Rows of the file, the first one included."""
    matching_rows: int
    occurrences: int
    header: list[str]
    """The file's first row."""
    found: Path | None = None
    """CSV of the matching rows, each after the file's path and the row's number; None if not requested."""


@dataclass(frozen=True, slots=True)
class SearchSummary:
    """The matches in all files of an order."""

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

    The rows go to `found`, if given. Row numbers start at 1 and include the first row. Raises BadInput for a
    missing, binary or invalid file, or one in another encoding.
    """
    word = _word_of(search)
    if found is None:
        return _count(file, search, word, None)
    found.parent.mkdir(parents=True, exist_ok=True)
    with replacing(found) as target, target.open("w", encoding="utf-8", newline="") as rows:
        result = _count(file, search, word, rows)
    return replace(result, found=found)


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
    """Return one job per file, after checking the start of each."""
    search = Search(word, ignore_case, whole_word, encoding)
    _word_of(search)
    files = find_files(path or str(sample_files()))
    for file in files:
        with CsvFile(file, encoding):
            pass
    target = output_file(output, "csv_search", "matches.csv")
    if target in files:
        message = f"{target} is one of the input files, and the rows would overwrite it"
        raise BadInput(message, hint="name another file with output=…")
    pieces = target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex}.parts")
    return [
        {"file": file, "search": search, "found": pieces / f"{number:06}.csv"}
        for number, file in enumerate(files, 1)
    ]


@csv_search.joins
def join(
    parts: list[FileMatches], /, word: str = SAMPLE_WORD, output: str = "", **_: object
) -> SearchSummary:
    """Add up the parts, and merge the matching rows into one CSV."""
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


def sample_files() -> Path:
    """Return the folder of the sample files, which are made unless they exist."""
    return make_csv_folder(sample_folder() / "csv")


def find_files(path: str) -> list[Path]:
    """Return the CSV files that `path` names, sorted and absolute; raises BadInput if there are none."""
    if exists(path_of(path)) or "," not in path:
        found = _files_of(path)
    else:
        found = [file for one in path.split(",") for file in _files_of(one.strip())]
    files = sorted(set(found))
    if len(files) > MAX_FILES:
        message = f"{path!r} matches {len(files):,} files, more than {MAX_FILES:,}"
        raise BadInput(message, hint="name fewer files")
    return files


def _files_of(path: str) -> list[Path]:
    whole = path_of(path)
    if not exists(whole):
        root = Path(whole.anchor)
        try:
            found = [file for file in root.glob(str(whole.relative_to(root))) if not file.is_dir()]
        except ValueError as error:
            message = f"{path!r} does not exist and is not a pattern: {error}"
            raise BadInput(message, hint="a pattern looks like data/*.csv") from error
        if not found:
            message = f"{path!r} does not exist"
            raise BadInput(message, hint="name a folder, a file or a pattern such as data/*.csv")
    elif whole.is_dir():
        found = _files_in(whole)
    else:
        found = [whole]
    for file in found:
        if not file.is_file():
            raise BadInput(f"{file} is not a regular file", hint="name CSV files")
    return found


def _files_in(folder: Path) -> list[Path]:
    try:
        found = [file for file in folder.iterdir() if file.suffix.lower() == ".csv" and file.is_file()]
    except OSError as error:
        message = f"cannot read the folder {folder}: {error.strerror}"
        raise BadInput(message, hint="name a folder you may read") from error
    if not found:
        message = f"{folder} contains no CSV files"
        raise BadInput(message, hint="name a folder with files that end in .csv; subfolders are not searched")
    return found


def _word_of(search: Search) -> Word:
    if not search.word.strip():
        raise BadInput("the word is empty", hint=f"set a word, for example word={SAMPLE_WORD}")
    try:
        codecs.lookup(search.encoding)
    except LookupError as error:
        message = f"unknown encoding {search.encoding!r}"
        raise BadInput(message, hint="try utf-8, cp1252 or latin-1") from error
    return Word(search.word, ignore_case=search.ignore_case, whole_word=search.whole_word)


def _count(file: Path, search: Search, word: Word, rows: TextIO | None) -> FileMatches:
    """Search a file and write each matching row to the open text file `rows`, if any."""
    job = current_job()
    writer = csv.writer(rows) if rows is not None else None
    matching_rows = occurrences = 0
    with CsvFile(file, search.encoding) as source:
        size = max(1, file.stat().st_size)

        def report(done: int) -> None:
            job.check()
            job.progress(done, size, f"{occurrences:,} found")

        for number, count, row in source.matches(word, report):
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
    pieces = [part.found for part in parts if part.found]
    try:
        with replacing(target) as temporary, temporary.open("wb") as merged:
            merged.write(_line(["file", "row", *columns]))
            for piece in pieces:
                with piece.open("rb") as rows:
                    shutil.copyfileobj(rows, merged)
    except FileNotFoundError as error:
        message = f"the rows that a worker found are not at {error.filename}"
        raise ConveyorError(message, hint="give workers on other machines the same output folder") from error
    for folder in {piece.parent for piece in pieces if piece.parent.name.endswith(".parts")}:
        shutil.rmtree(folder, ignore_errors=True)


def _line(fields: list[str]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(fields)
    return text.getvalue().encode()
