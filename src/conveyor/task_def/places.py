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
    folder = Path(output).expanduser().absolute() if output else Path.cwd() / OUTPUT / task
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"no folder for the output can be made at {folder}: {error.strerror}"
        raise BadInput(message, hint="name a folder you may write to with output=…") from error
    if not os.access(folder, os.W_OK):
        message = f"nothing can be written to {folder}: no permission"
        raise BadInput(message, hint="name a folder you may write to with output=…")
    return folder


def output_file(output: str, task: str, name: str) -> Path:
    """Give the file `output`, or `name` inside it where it is a folder or empty; its folder exists afterwards."""
    if not output or output.endswith(os.sep) or Path(output).expanduser().is_dir():
        return output_folder(output, task) / name
    file = Path(output).expanduser().absolute()
    return output_folder(str(file.parent), task) / file.name


def sample_folder() -> Path:
    """Give the folder for sample inputs, as an existing absolute path."""
    return output_folder("", "samples")


def unfinished(file: Path) -> Path:
    """Give a name beside `file` that no other run uses: write there, then `os.replace` it onto `file`.

    So nobody ever reads half a file, and a second run of the same job does no harm.
    """
    return file.with_name(f".{file.name[:100]}.{uuid.uuid4().hex}.unfinished")
