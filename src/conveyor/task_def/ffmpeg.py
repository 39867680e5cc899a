"""The ffmpeg program of the imageio-ffmpeg wheel: starting and stopping it, and the frames of a file.

It runs without a shell. File names are passed as `file:` with an absolute path, so a leading dash or a colon in them
has no meaning, and no input can make it read from the network.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from conveyor.errors import BadInput, ConveyorError, MissingExtra
from conveyor.task_def.paths import exists

try:
    import imageio_ffmpeg
except ModuleNotFoundError as error:
    raise MissingExtra("the task video_split", "tasks", error.name) from error

#: Codecs in which every packet is one displayed frame. Other codecs must be decoded to count frames.
ONE_FRAME_A_PACKET = frozenset({"h264", "hevc", "vp9", "av1", "mjpeg", "prores", "dnxhd", "ffv1"})
#: Beginnings of playlists, which make ffmpeg open other files.
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"[playlist]")
#: Set the kernel's parent-death signal, then become ffmpeg: a killed worker leaves no ffmpeg behind.
_DIE_WITH_PARENT = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class FfmpegError(ConveyorError):
    """Ffmpeg failed; the message is its own last line."""


@dataclass(frozen=True, slots=True)
class VideoFrames:
    """The frames of a video file."""

    times: tuple[int, ...]
    """Display time of each frame, in ticks since the file's start, in order."""
    end: int
    """End of the last frame, in ticks."""
    tick: Fraction
    """Seconds."""
    sound: bool
    seekable: bool
    """True if ffmpeg can seek to a time without decoding everything before it."""

    @property
    def count(self) -> int:
        """Number of frames."""
        return len(self.times)

    @property
    def seconds(self) -> float:
        """Duration of the video, in seconds."""
        return float((self.end - self.times[0]) * self.tick)

    def shown(self, frame: int) -> float:
        """Return the display time of a frame, in seconds since the start; after the last frame, its end."""
        return float((self.times[frame] if frame < self.count else self.end) * self.tick)


def output_lines(arguments: Sequence[str]) -> Generator[str, None, None]:
    """Run ffmpeg and yield the lines of its standard output; raises FfmpegError if it fails.

    Closing the iterator kills ffmpeg, and so does any end of this process.
    """
    program = imageio_ffmpeg.get_ffmpeg_exe()
    command = [program, "-hide_banner", "-nostdin", "-loglevel", "error", *arguments]
    if sys.platform == "linux" and sys.executable:
        command = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints
        ) as process,
    ):
        try:
            if process.stdout:
                for line in process.stdout:
                    yield line.decode("utf-8", "replace").rstrip()
            status = process.wait()
        finally:
            process.kill()
        if status:
            complaints.seek(0)
            said = complaints.read().decode("utf-8", "replace").strip().splitlines()
            raise FfmpegError(said[-1][:300] if said else f"exit code {status}")


def file_url(file: Path) -> str:
    """Return a file name in ffmpeg's form, safe for any characters."""
    return f"file:{file.absolute()}"


def read_frames(file: Path) -> VideoFrames:
    """Return the frames of a video; raises BadInput if the file is not a video.

    Reads the whole file once, and decodes it only if the container does not state the display times.
    """
    _check_video_file(file)
    try:
        source = _scan(file, decode=False) or _scan(file, decode=True)
    except FfmpegError as error:
        message = f"ffmpeg cannot read {file}: {error}"
        raise BadInput(message, hint="play it to check that it is complete") from error
    if source is None:
        raise BadInput(f"{file} contains no video stream", hint="name a video file")
    return source


def _check_video_file(file: Path) -> None:
    if not exists(file):
        raise BadInput(f"{file} does not exist", hint="correct the path")
    if not file.is_file():
        raise BadInput(f"{file} is not a regular file", hint="name a video file")
    try:
        with file.open("rb") as video:
            start = video.read(64)
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror}", hint="correct its rights") from error
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(_PLAYLISTS):
        raise BadInput(f"{file} is a list of other files, not a video", hint="name the video itself")


def _scan(file: Path, *, decode: bool) -> VideoFrames | None:
    """Read the times of the frames from the packets or, with `decode`, from the frames.

    Return None if the packets lack the times, or without frames.
    """
    how = (
        ["-fps_mode", "passthrough", "-vf", "scale=16:16", "-c:v", "rawvideo"] if decode else ["-c:v", "copy"]
    )
    source = ["-protocol_whitelist", "file", "-i", file_url(file), "-map", "0:V:0", "-map", "0:a:0?"]
    facts: dict[str, str] = {}
    times: list[int] = []
    end = 0
    for line in output_lines([*source, *how, "-c:a", "copy", "-f", "framecrc", "pipe:1"]):
        if line.startswith("#"):
            name, _, value = line.partition(": ")
            facts[name] = value
        elif line.startswith("0,"):
            shown, length = (part.strip() for part in line.split(",")[2:4])
            if not shown.isdigit():  # unknown, or before the start and perhaps never shown
                return None
            times.append(int(shown))
            end = max(end, int(shown) + int(length))
    known = decode or facts.get("#codec_id 0") in ONE_FRAME_A_PACKET
    if not times or not known or len(set(times)) < len(times):
        return None
    times.sort()
    sound = facts.get("#media_type 1") == "audio"
    return VideoFrames(
        tuple(times), max(end, times[-1] + 1), Fraction(facts["#tb 0"]), sound, seekable=not decode
    )
