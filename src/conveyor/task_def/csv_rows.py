"""The rows of a CSV file that hold a word, found without reading the whole file into memory.

Most blocks of most files hold neither the word nor a quote. For them the row count is the line count and nothing is
parsed, which makes the search several times as fast as the csv module reads; all other blocks go through it.
"""

import contextlib
import csv
import io
import re
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, Self, TextIO

from conveyor.errors import BadInput

#: Characters read at a time.
BLOCK = 1 << 19
#: Characters that one line may have.
MAX_LINE_LENGTH = 1 << 26
#: Rows between two checks for a cancellation.
ROWS_PER_CHECK = 4096
_DELIMITERS = ",;\t|"

#: A row with the word: its number from 1, how often the word occurs, and its fields.
Match = tuple[int, int, list[str]]
#: Called every few thousand rows with the bytes read so far; may raise to stop the search.
Report = Callable[[int], None]


class Word:
    """The word to search for."""

    def __init__(self, text: str, *, ignore_case: bool, whole_word: bool) -> None:
        self.fold: Callable[[str], str] = str.casefold if ignore_case else str
        self.needle = self.fold(text)
        self._pattern = re.compile(rf"(?<!\w){re.escape(self.needle)}(?!\w)") if whole_word else None

    def count(self, row: list[str]) -> int:
        """Return the number of occurrences in the fields of a row; none spans two fields."""
        fields = [field for field in map(self.fold, row) if self.needle in field]
        if self._pattern:
            return sum(len(self._pattern.findall(field)) for field in fields)
        return sum(field.count(self.needle) for field in fields)


class CsvFile:
    """A CSV file to be searched, inside a `with` block.

    Commas, semicolons, tabs or bars separate its fields, whichever its first line has most of. Entering the block and
    reading raise BadInput if the file is not CSV: binary, in another encoding, or with a field over 131,072 characters.
    """

    def __init__(self, path: Path, encoding: str) -> None:
        self.path = path
        self.rows = 0
        """Rows passed so far."""
        self.header: list[str] = []
        """The first row."""
        self.delimiter = ","
        self._encoding = encoding
        self._text: TextIO
        self._rest = ""
        self._lines: deque[str] = deque()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            try:
                self._text = stack.enter_context(self.path.open(encoding=self._encoding, newline=""))
            except OSError as error:
                self._refuse(f"it cannot be opened: {error.strerror}", "correct its name or rights", error)
            self._rest = self._read_text()
            first_line = self._rest.partition("\n")[0]
            self.delimiter = max(_DELIMITERS, key=first_line.count)
            with self._csv_errors():
                self.header = next(
                    csv.reader(io.StringIO(self._rest, newline=""), delimiter=self.delimiter), []
                )
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._text.close()

    def matches(self, word: Word, report: Report) -> Iterator[Match]:
        """Yield each row with the word, in the order of the file."""
        reader = csv.reader(iter(self._next_line, None), delimiter=self.delimiter)
        with self._csv_errors():
            while block := self._read_block():
                report(self._text.buffer.tell())
                if self._is_plain(block):
                    yield from self._plain_matches(block, word)
                else:
                    self._lines.extend(io.StringIO(block, newline=""))
                    yield from self._parsed_matches(reader, word, report)

    def _is_plain(self, block: str) -> bool:
        """Return True if every line of the block is a row and no field is too long for the csv module."""
        if '"' in block or block.count("\r") != block.count("\r\n"):
            return False
        # A field over the limit fills at least one whole window of half the limit.
        window = csv.field_size_limit() // 2
        return all(
            block.find("\n", start, start + window) >= 0
            or block.find(self.delimiter, start, start + window) >= 0
            for start in range(0, len(block) - window, window)
        )

    def _plain_matches(self, block: str, word: Word) -> Iterator[Match]:
        first = self.rows + 1
        self.rows += block.count("\n") + (not block.endswith("\n"))
        folded = word.fold(block)
        if word.needle not in folded:
            return
        # Folding may change the length of a line but never the number of lines.
        places = [place for place, line in enumerate(folded.split("\n")) if word.needle in line]
        lines = block.split("\n")
        rows = csv.reader((lines[place] for place in places), delimiter=self.delimiter)
        for place, row in zip(places, rows, strict=True):
            if count := word.count(row):
                yield first + place, count, row

    def _parsed_matches(self, reader: Iterator[list[str]], word: Word, report: Report) -> Iterator[Match]:
        """Parse the buffered lines with the csv module, and more while a quoted field continues."""
        while self._lines and (row := next(reader, None)) is not None:
            self.rows += 1
            if self.rows % ROWS_PER_CHECK == 0:
                report(self._text.buffer.tell())
            if count := word.count(row):
                yield self.rows, count, row

    def _next_line(self) -> str | None:
        if not self._lines:
            self._lines.extend(io.StringIO(self._read_block(), newline=""))
        return self._lines.popleft() if self._lines else None

    def _read_block(self) -> str:
        """Return about a block of text up to the end of a line, or "" at the end of the file."""
        pieces = [self._rest]
        self._rest = ""
        length = len(pieces[0])
        while text := self._read_text():
            # A carriage return at the very end may be half of a line's end.
            end = text.rfind("\n") + 1 or text.rfind("\r", 0, len(text) - 1) + 1
            pieces.append(text[:end] if end else text)
            if end:
                self._rest = text[end:]
                break
            length += len(text)
            if length > MAX_LINE_LENGTH:
                self._refuse(f"it has a line of more than {MAX_LINE_LENGTH:,} characters")
        return "".join(pieces)

    def _read_text(self) -> str:
        try:
            text = self._text.read(BLOCK)
        except UnicodeError as error:
            self._refuse(
                f"it is not in {self._encoding} ({error})", "name its encoding, as encoding=cp1252", error
            )
        except OSError as error:
            self._refuse(f"it cannot be read: {error.strerror}", cause=error)
        if "\0" in text:
            self._refuse("it holds zero bytes, so it is binary", "choose text files, or name their encoding")
        return text

    @contextlib.contextmanager
    def _csv_errors(self) -> Iterator[None]:
        try:
            yield
        except csv.Error as error:
            self._refuse(f"invalid CSV after row {self.rows}: {error}", cause=error)

    def _refuse(
        self, why: str, hint: str = "leave it out, or repair it", cause: Exception | None = None
    ) -> NoReturn:
        raise BadInput(f"{self.path} cannot be searched: {why}", hint=hint) from cause
