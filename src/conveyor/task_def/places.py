"""Where tasks put what they make, and where their sample inputs lie."""

import os
import uuid
from pathlib import Path

from conveyor.errors import BadInput

#: Folder, under the one that the producer was started in, for everything that was not told where to go.
OUTPUT = "conveyor-out"


def output_folder(output: str, task: str) -> Path:
    """Give the folder `output`, or the task's own where that is empty, as an existing absolute path.

    Raises BadInput where it cannot be made or written to.
    """
    folder = path_of(output) if output else Path.cwd() / OUTPUT / task
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        message = f"no folder for the output can be made at {folder}: {error}"
        raise BadInput(message, hint="name a folder you may write to with output=…") from error
    if not os.access(folder, os.W_OK):
        message = f"nothing can be written to {folder}: no permission"
        raise BadInput(message, hint="name a folder you may write to with output=…")
    return folder


def output_file(output: str, task: str, name: str) -> Path:
    """Give the file `output`, or `name` inside it where it is a folder or empty; its folder exists afterwards."""
    if not output or output.endswith(os.sep) or path_of(output).is_dir():
        return output_folder(output, task) / name
    file = path_of(output)
    return output_folder(str(file.parent), task) / file.name


def path_of(text: str) -> Path:
    """Give the absolute path that a person wrote, with ~ for their own folder."""
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        message = f"{text!r} begins with the folder of a user who is not known here"
        raise BadInput(message, hint="write the path without ~") from error


def exists(path: Path) -> bool:
    """Tell whether there is something at a path; raises BadInput where that may not be known."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        message = f"{str(path)[:200]!r} cannot be looked at: {error}"
        raise BadInput(message, hint="give a path that you may read") from error
    return True


def sample_folder() -> Path:
    """Give the folder for sample inputs, as an existing absolute path."""
    return output_folder("", "samples")


def unfinished(file: Path) -> Path:
    """Give a name beside `file` that no other run uses: write there, then `os.replace` it onto `file`.

    So nobody ever reads half a file, and a second run of the same job does no harm.
    """
    return file.with_name(f".{file.name[:100]}.{uuid.uuid4().hex}.unfinished")
