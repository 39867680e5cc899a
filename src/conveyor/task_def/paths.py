"""Output folders, sample inputs, and files that appear only once they are complete."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conveyor.errors import BadInput

#: Folder below the producer's working folder for output without a given location.
OUTPUT = "conveyor-out"


def output_folder(output: str, task: str) -> Path:
    """Return the folder `output`, or the task's own if that is empty, as an existing absolute path.

    Raises BadInput if it cannot be created or written to.
    """
    folder = path_of(output) if output else Path.cwd() / OUTPUT / task
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        message = f"cannot create the output folder {folder}: {error}"
        raise BadInput(message, hint="name a folder you may write to with output=…") from error
    if not os.access(folder, os.W_OK):
        message = f"cannot write to {folder}: no permission"
        raise BadInput(message, hint="name a folder you may write to with output=…")
    return folder


def output_file(output: str, task: str, name: str) -> Path:
    """Return the file `output`, or `name` inside it if it is a folder or empty; creates the folder."""
    if not output or output.endswith(os.sep) or path_of(output).is_dir():
        return output_folder(output, task) / name
    file = path_of(output)
    return output_folder(str(file.parent), task) / file.name


def path_of(text: str) -> Path:
    """Return the absolute path that a user typed, with ~ for the home folder."""
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise BadInput(f"unknown user in the path {text!r}", hint="write the path without ~") from error


def exists(path: Path) -> bool:
    """Return True if the path exists; raises BadInput if the user may not know."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        message = f"cannot inspect {str(path)[:200]!r}: {error}"
        raise BadInput(message, hint="name a path that you may read") from error
    return True


def sample_folder() -> Path:
    """Return the folder for sample inputs, as an existing absolute path."""
    return output_folder("", "samples")


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Yield a unique path beside `file`; without an exception, the file written there replaces `file`.

    So no reader ever sees half a file, and a second run of the same job does no harm.
    """
    unfinished = file.with_name(f".{file.name[:100]}.{uuid.uuid4().hex}.unfinished")
    try:
        yield unfinished
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
