"""The task `csv_search`."""

from __future__ import annotations

import csv
import os
import random
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conveyor.errors import BadInput, JobCancelled
from conveyor.task_def import csv_rows, csv_search
from conveyor.task_def.csv_search import Search, SearchSummary, join, split
from conveyor.task_def.samples import make_csv_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import RecordingJob

find = csv_search.csv_search


def order(**arguments: str | bool) -> SearchSummary:
    """Do a whole order in this process."""
    return join([find(**part) for part in split(**arguments)], **arguments)  # type: ignore[arg-type]


def write(file: Path, *rows: list[str], **form: str) -> Path:
    with file.open("w", encoding="utf-8", newline="") as text:
        csv.writer(text, **form).writerows(rows)  # type: ignore[arg-type]
    return file


def rows_of(file: Path) -> list[list[str]]:
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.reader(text))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two small files."""
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder / "a.csv", ["name", "note"], ["Ada", "late, Late and late"], ["Bob", "on time"])
    write(folder / "b.csv", ["name", "note"], ["Eve", 'says "late"\nand again late'], ["lately", "x"])
    return folder


class TestAWholeOrder:
    def test_order_counts_occurrences_and_rows_over_all_files(self, folder: Path) -> None:
        found = order(path=str(folder), word="late")
        assert (found.files, found.rows, found.occurrences, found.matching_rows) == (2, 6, 6, 3)
        assert found.per_file == {str(folder / "a.csv"): 3, str(folder / "b.csv"): 3}

    def test_search_can_be_case_sensitive(self, folder: Path) -> None:
        assert order(path=str(folder), word="late", ignore_case=False).occurrences == 5

    def test_search_can_match_whole_words_only(self, folder: Path) -> None:
        assert order(path=str(folder), word="late", whole_word=True).occurrences == 5

    def test_matching_rows_are_merged_under_the_header_of_the_files(
        self, folder: Path, tmp_path: Path
    ) -> None:
        found = order(path=str(folder), word="late", output=str(tmp_path / "out.csv"))
        assert rows_of(found.output) == [
            ["file", "row", "name", "note"],
            [str(folder / "a.csv"), "2", "Ada", "late, Late and late"],
            [str(folder / "b.csv"), "2", "Eve", 'says "late"\nand again late'],
            [str(folder / "b.csv"), "3", "lately", "x"],
        ]

    def test_columns_are_numbered_if_headers_differ(self, folder: Path) -> None:
        write(folder / "c.csv", ["x"], ["late"])
        assert rows_of(order(path=str(folder), word="late").output)[0] == [
            *["file", "row", "column_1", "column_2"]
        ]

    def test_only_the_merged_file_is_left_behind(self, folder: Path, own_folder: Path) -> None:
        order(path=str(folder), word="late")
        out = own_folder / "conveyor-out"
        assert [file for file in out.rglob("*") if file.is_file()] == [out / "csv_search" / "matches.csv"]
        assert list((out / "csv_search").iterdir()) == [out / "csv_search" / "matches.csv"]

    def test_part_may_run_twice(self, folder: Path) -> None:
        parts = split(path=str(folder), word="late")
        for part in parts:
            find(**part)  # type: ignore[arg-type]
        assert join([find(**part) for part in parts], word="late").occurrences == 6  # type: ignore[arg-type]

    def test_sample_files_are_searched_by_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(csv_search, "make_csv_folder", lambda folder: make_csv_folder(folder, 2, 0.1))
        found = order()
        assert found.files == 2
        assert found.occurrences > 100


class TestWhatAPathMeans:
    def test_pattern_matches_several_files(self, folder: Path) -> None:
        assert csv_search.find_files(f"{folder}/[ab].csv") == [folder / "a.csv", folder / "b.csv"]

    def test_paths_are_separated_by_commas(self, folder: Path) -> None:
        both = f"{folder}/b.csv, {folder}/a.csv,{folder}/b.csv"
        assert csv_search.find_files(both) == [folder / "a.csv", folder / "b.csv"]

    def test_file_name_may_have_a_comma_and_brackets(self, folder: Path) -> None:
        odd = write(folder / "-[a], 'b' ü.csv", ["late"])
        assert csv_search.find_files(str(odd)) == [odd]

    def test_relative_path_is_below_the_current_folder(self, own_folder: Path) -> None:
        write(own_folder / "x.csv", ["late"])
        assert csv_search.find_files("*.csv") == [own_folder / "x.csv"]


class TestRefusesAtOnce:
    @pytest.mark.parametrize(
        "path", ["no-such-folder", "no-such/*.csv", "a.csv,b.csv", "a**b", "x\0y", "z" * 5000]
    )
    def test_missing_path_is_refused(self, path: str) -> None:
        with pytest.raises(BadInput):
            split(path=path)

    def test_folder_of_an_unknown_user_is_refused(self) -> None:
        with pytest.raises(BadInput, match="unknown user"):
            split(path="~nobody-of-this-name/x.csv")

    def test_folder_without_csv_files_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("late")
        with pytest.raises(BadInput, match="contains no CSV files"):
            split(path=str(tmp_path))

    def test_binary_file_is_refused(self, folder: Path) -> None:
        (folder / "c.csv").write_bytes(b"\x7fELF\0\0\0" * 100)
        with pytest.raises(BadInput, match=r"c\.csv cannot be searched: it holds zero bytes"):
            split(path=str(folder))

    def test_file_needs_its_encoding_named(self, folder: Path) -> None:
        (folder / "c.csv").write_bytes("naïve,late".encode("cp1252"))
        with pytest.raises(BadInput, match="not in utf-8"):
            split(path=str(folder))
        assert order(path=str(folder / "c.csv"), word="NAÏVE", encoding="cp1252").occurrences == 1

    def test_file_without_permission_is_refused(self, open_folder: Path) -> None:
        write(open_folder / "a.csv", ["late"]).chmod(0)
        with nobody_special(), pytest.raises(BadInput, match="cannot be opened"):
            split(path=str(open_folder))

    def test_folder_without_permission_is_refused(self, open_folder: Path) -> None:
        open_folder.chmod(0)
        with nobody_special(), pytest.raises(BadInput, match="cannot read the folder"):
            split(path=str(open_folder))
        with nobody_special(), pytest.raises(BadInput, match="cannot inspect"):
            split(path=str(open_folder / "a.csv"))

    def test_irregular_file_is_refused(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.csv")
        with pytest.raises(BadInput, match="not a regular file"):
            split(path=str(tmp_path / "pipe.csv"))

    def test_empty_word_is_refused(self, folder: Path) -> None:
        with pytest.raises(BadInput, match="empty"):
            split(path=str(folder), word=" ")

    def test_unknown_encoding_is_refused(self, folder: Path) -> None:
        with pytest.raises(BadInput, match="encoding"):
            split(path=str(folder), encoding="klingon")

    def test_output_over_an_input_is_refused(self, folder: Path) -> None:
        with pytest.raises(BadInput, match="would overwrite it"):
            split(path=str(folder), output=str(folder / "a.csv"))


class TestOneFile:
    def test_oversized_field_is_refused_anywhere(self, tmp_path: Path) -> None:
        file = tmp_path / "long.csv"
        file.write_text("a,b\n" * 200_000 + "x" * 140_000 + ",late\n" + "a,b\n" * 200_000)
        with pytest.raises(BadInput, match="larger than field limit"):
            find(file, Search("late"))

    def test_file_that_turns_binary_later_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "later.csv"
        file.write_bytes(b"a,late\n" * 200_000 + b"\0")
        with pytest.raises(BadInput, match="zero bytes"):
            find(file, Search("late"))

    def test_missing_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match="cannot be opened"):
            find(tmp_path / "gone.csv", Search("late"))

    def test_progress_reaches_the_size_and_cancellation_stops_it(
        self, tmp_path: Path, job: RecordingJob
    ) -> None:
        file = tmp_path / "big.csv"
        file.write_text("a,late\n" * 400_000)
        find(file, Search("late"))
        assert job.reports[-1] == (file.stat().st_size, file.stat().st_size)
        job.cancel_after = len(job.reports) + 1
        with pytest.raises(JobCancelled):
            find(file, Search("late"), tmp_path / "found.csv")
        assert sorted(tmp_path.glob("*found*")) == []

    def test_empty_file_has_no_rows(self, tmp_path: Path) -> None:
        (tmp_path / "empty.csv").touch()
        assert find(tmp_path / "empty.csv", Search("late")).rows == 0

    @pytest.mark.parametrize("delimiter", [";", "\t", "|"])
    def test_other_field_separators_are_recognized(self, tmp_path: Path, delimiter: str) -> None:
        file = write(tmp_path / "a.csv", ["name", "price"], ["late", "1,50"], delimiter=delimiter)
        find(file, Search("late"), tmp_path / "found.csv")
        assert rows_of(tmp_path / "found.csv") == [[str(file), "2", "late", "1,50"]]

    def test_case_is_ignored_in_every_language(self, tmp_path: Path) -> None:
        file = write(tmp_path / "a.csv", ["Straße", "ΣΊΣΥΦΟΣ", "ﬁn"])
        assert find(file, Search("STRASSE")).occurrences == 1
        assert find(file, Search("σίσυφος")).occurrences == 1
        assert find(file, Search("FIN")).occurrences == 1


@pytest.mark.parametrize("seed", range(40))
def test_search_matches_the_result_of_the_csv_module(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random files, read in blocks so small that every kind of boundary falls everywhere."""
    chance = random.Random(seed)
    monkeypatch.setattr(csv_rows, "BLOCK", chance.choice([1, 2, 3, 7, 20, 100]))
    pieces = ["late", "LATE", "ß", "x", ",", "\n", "\r\n", "\r", '"', '""', "'", " ", "\n\n", 'a"b', '"q\nq"']
    text = "".join(
        chance.choice(pieces[: chance.choice([7, len(pieces)])]) for _ in range(chance.randrange(200))
    )
    file = tmp_path / "random.csv"
    file.write_text(text, encoding="utf-8", newline="")
    rows = list(csv.reader(text_lines(file)))
    found = find(file, Search("late"), tmp_path / "found.csv")
    expected = [sum(field.casefold().count("late") for field in row) for row in rows]
    assert (found.rows, found.occurrences) == (len(rows), sum(expected))
    wanted = [[str(file), str(place), *row] for place, row in enumerate(rows, 1) if expected[place - 1]]
    assert rows_of(tmp_path / "found.csv") == wanted


def text_lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8", newline="") as text:
        yield from text


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Provide a folder that other users can reach, unlike those of the other fixtures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


@contextmanager
def nobody_special() -> Iterator[None]:
    """Drop to a user whom permissions apply to: they do not apply to root."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
