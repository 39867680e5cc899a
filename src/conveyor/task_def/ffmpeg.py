"""The ffmpeg program of the imageio-ffmpeg wheel: how it is started and stopped, and the frames it sees in a file.

It is started without a shell. Names are handed over as `file:` with an absolute path, so neither a leading dash nor a
colon in them means anything, and no input may make it read from the network.
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
from conveyor.task_def.places import exists

try:
    import imageio_ffmpeg
except ModuleNotFoundError as error:
    raise MissingExtra("the task video_split", "tasks", error.name) from error

#: Codecs in which every packet is one frame that is shown. Of others the frames have to be decoded to be counted.
ONE_FRAME_A_PACKET = frozenset({"h264", "hevc", "vp9", "av1", "mjpeg", "prores", "dnxhd", "ffv1"})
#: Texts that tell ffmpeg to open other files.
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"[playlist]")
#: Sets the kernel's "kill me when my parent dies" and becomes ffmpeg: a worker that is killed leaves no ffmpeg behind.
_DIE_WITH_PARENT = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class FfmpegError(ConveyorError):
    """Ffmpeg gave up; the message is its own last words."""


@dataclass(frozen=True, slots=True)
class Reel:
    """The frames of a video file."""

    times: tuple[int, ...]
    """When each frame is shown, in ticks since the file's start, in order."""
    end: int
    """When the last frame is over, in ticks."""
    tick: Fraction
    """Seconds."""
    sound: bool
    seekable: bool
    """Whether ffmpeg finds a time in the file without decoding all that is before."""

    @property
    def frames(self) -> int:
        """The number of frames."""
        return len(self.times)

    @property
    def seconds(self) -> float:
        """How long the picture lasts."""
        return float((self.end - self.times[0]) * self.tick)

    def shown(self, frame: int) -> float:
        """When a frame is shown, in seconds since the start; for the one after the last, when the last is over."""
        return float((self.times[frame] if frame < self.frames else self.end) * self.tick)


def output_lines(arguments: Sequence[str]) -> Generator[str, None, None]:
    """Run ffmpeg and give the lines of its standard output; raises FfmpegError if it fails.

    Closing the iterator kills ffmpeg, and so does the end of this process, however it ends.
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
            said = complaints.read().decode("utf-8", "replace").strip().splitlines() or [
                f"exit code {status}"
            ]
            raise FfmpegError(said[-1][:300])


def file_address(file: Path) -> str:
    """Give a file's name as ffmpeg takes it, whatever characters are in it."""
    return f"file:{file.absolute()}"


def read_reel(file: Path) -> Reel:
    """Find out when each frame of a video is shown; raises BadInput where the file is no video.

    Reads the whole file once. Decodes it only where the file itself does not say when each frame is shown.
    """
    _check_video_file(file)
    try:
        reel = _scan(file, decode=False) or _scan(file, decode=True)
    except FfmpegError as error:
        message = f"{file} is no video that ffmpeg can read: {error}"
        raise BadInput(message, hint="play it to see whether it is whole") from error
    if reel is None:
        message = f"{file} has no picture in it"
        raise BadInput(message, hint="give a video file")
    return reel


def _check_video_file(file: Path) -> None:
    if not exists(file):
        message = f"{file} does not exist"
        raise BadInput(message, hint="correct the path")
    if not file.is_file():
        message = f"{file} is no regular file"
        raise BadInput(message, hint="give a video file")
    try:
        with file.open("rb") as video:
            start = video.read(64)
    except OSError as error:
        message = f"{file} cannot be read: {error.strerror}"
        raise BadInput(message, hint="correct its rights") from error
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(_PLAYLISTS):
        message = f"{file} is a list of other files, not a video"
        raise BadInput(message, hint="give the video itself")


def _scan(file: Path, *, decode: bool) -> Reel | None:
    """Read the times of the frames from the packets or, with `decode`, from the frames.

    Gives None where the packets do not tell, or where there are no frames.
    """
    how = (
        ["-fps_mode", "passthrough", "-vf", "scale=16:16", "-c:v", "rawvideo"] if decode else ["-c:v", "copy"]
    )
    source = ["-protocol_whitelist", "file", "-i", file_address(file), "-map", "0:V:0", "-map", "0:a:0?"]
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
    return Reel(tuple(times), max(end, times[-1] + 1), Fraction(facts["#tb 0"]), sound, seekable=not decode)
