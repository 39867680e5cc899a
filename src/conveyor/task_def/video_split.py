"""The task `video_split`: cuts a video into segments, frame by frame, one job per segment.

A cut is in the middle between two frames, so every frame falls into exactly one segment, whatever the frame rate and
the rounding of times. Segments are encoded again, since copied streams could only be cut at key frames.
Each job uses one core; the workers provide the parallelism.
"""

import shlex
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from conveyor.context import current_job
from conveyor.errors import BadInput, ConveyorError
from conveyor.task_def.ffmpeg import FfmpegError, VideoFrames, file_url, output_lines, read_frames
from conveyor.task_def.paths import output_folder, path_of, replacing, sample_folder
from conveyor.tasks import task

#: Segments of one order at most.
MAX_SEGMENTS = 10_000
#: Without frames that depend on later ones (-bf 0), the last packet is the last frame, so its duration can be set.
_PICTURE = shlex.split("-c:v libx264 -preset veryfast -crf 18 -pix_fmt yuv420p -bf 0 -threads 1")


@dataclass(frozen=True, slots=True)
class Cut:
    """The part of a video that becomes a segment; all times in seconds since the file's start."""

    number: int
    frames: int
    start: float
    """Between the last frame before the segment and its first one; 0 for the first segment."""
    sound_start: float
    """Display time of the first frame; 0 for the first segment."""
    end: float | None
    """Between its last frame and the first one after it; None if the segment extends to the end of the file."""
    sound_end: float | None
    """Display time of the first frame after it."""
    last_frame: float
    """Display duration of the last frame."""
    sound: bool
    seekable: bool


@dataclass(frozen=True, slots=True)
class Segment:
    """A finished segment."""

    number: int
    path: Path
    frames: int
    seconds: float


@dataclass(frozen=True, slots=True)
class VideoSegments:
    """A whole video and its segments, whose frames and durations add up to its own."""

    video: Path
    frames: int
    seconds: float
    segments: list[Segment]


@task(name="video_split", queue="queue_two")
def video_split(file: Path, target: Path, cut: Cut) -> Segment:
    """Cut one segment out of a video.

    Writes H.264 and AAC in MP4 to `target`, which appears only once it is complete. Raises BadInput if the file is not
    a video, ConveyorError if ffmpeg fails.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as making:
        frames = _encode(file, making, cut, seek=cut.seekable)
        if frames.count != cut.frames and cut.seekable and cut.start > 0:
            # Seeks go wrong in some files; reading from the start is slow but reliable.
            frames = _encode(file, making, cut, seek=False)
    return Segment(cut.number, target, frames.count, frames.seconds)


@video_split.splits
def split(
    video: Annotated[str, "video file; empty: a sample of 40 seconds"] = "",
    segments: Annotated[int, "number of segments of equal length"] = 4,
    output: Annotated[str, "folder for the segments; empty: conveyor-out/video_split"] = "",
) -> list[dict[str, object]]:
    """Return one job per segment, after counting the frames."""
    if not 1 <= segments <= MAX_SEGMENTS:
        message = f"segments must be between 1 and {MAX_SEGMENTS:,}, got {segments}"
        raise BadInput(message, hint="try segments=4")
    file = _video_file(video)
    source = read_frames(file)
    if segments > source.count:
        message = f"{file} has {source.count} frames, too few for {segments} segments"
        raise BadInput(message, hint=f"try segments={source.count}")
    folder = output_folder(output, "video_split")
    width = max(3, len(str(segments)))
    parts: list[dict[str, object]] = []
    for cut in plan_cuts(source, segments):
        name = f"{file.stem[:80]}-{cut.number:0{width}}-of-{segments:0{width}}.mp4"
        parts.append({"file": file, "target": folder / name, "cut": cut})
    return parts


@video_split.joins
def join(parts: list[Segment], /, video: str = "", **_: object) -> VideoSegments:
    """Check that frames and durations add up to those of the whole video."""
    file = _video_file(video)
    source = read_frames(file)
    frames = sum(part.frames for part in parts)
    seconds = sum(part.seconds for part in parts)
    frame = source.seconds / source.count
    if frames != source.count or abs(seconds - source.seconds) > frame:
        message = (
            f"the segments of {file} have {frames} frames and {seconds:.3f} s, "
            f"the whole video has {source.count} and {source.seconds:.3f} s"
        )
        raise ConveyorError(message, hint="the file may be damaged, or was changed meanwhile")
    return VideoSegments(file, frames, source.seconds, sorted(parts, key=lambda part: part.number))


def plan_cuts(source: VideoFrames, segments: int) -> list[Cut]:
    """Divide the frames of a video evenly into at most as many segments."""
    bounds = [number * source.count // segments for number in range(segments + 1)]
    return [
        Cut(
            number=number,
            frames=after - first,
            start=_between(source, first) if first else 0.0,
            sound_start=source.shown(first) if first else 0.0,
            end=_between(source, after) if after < source.count else None,
            sound_end=source.shown(after) if after < source.count else None,
            last_frame=source.shown(after) - source.shown(after - 1),
            sound=source.sound,
            seekable=source.seekable,
        )
        for number, (first, after) in enumerate(pairwise(bounds), 1)
    ]


def render_sample(path: Path, seconds: float = 40) -> Path:
    """Render a test video of 640 x 360 points and 25 frames per second, with a clock and a tone; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = ["-f", "lavfi", "-i", f"testsrc2=size=640x360:rate=25:duration={seconds}"]
    tone = ["-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=44100:duration={seconds}"]
    coding = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "50", "-c:a", "aac"]
    with replacing(path) as making:
        for _ in output_lines([*picture, *tone, *coding, "-f", "mp4", file_url(making)]):
            pass
    return path


def _video_file(video: str) -> Path:
    """Return the absolute path of the video, or if it is empty that of the sample."""
    return path_of(video) if video else sample_video()


def sample_video() -> Path:
    """Return the path of the sample of 40 seconds, which is rendered unless it exists."""
    sample = sample_folder() / "sample.mp4"
    return sample if sample.exists() else render_sample(sample)


def _encode(file: Path, making: Path, cut: Cut, *, seek: bool) -> VideoFrames:
    """Run ffmpeg for one segment, report its progress, and return the written frames."""
    job = current_job()
    try:
        with closing(output_lines(_arguments(file, making, cut, seek=seek))) as lines:
            for line in lines:
                job.check()
                name, _, value = line.partition("=")
                if name == "frame" and value.strip().isdigit():
                    job.progress(min(int(value), cut.frames), cut.frames, f"segment {cut.number}")
    except FfmpegError as error:
        read_frames(file)  # raises BadInput if the file is the problem
        message = f"cannot write segment {cut.number} of {file}: {error}"
        raise ConveyorError(message, hint="check the free disk space, and the file") from error
    return read_frames(making)


def _arguments(file: Path, making: Path, cut: Cut, *, seek: bool) -> list[str]:
    """Return ffmpeg's arguments. A seek restarts its clock, so all times are relative to `origin`."""
    origin = cut.start if seek else 0.0
    jump = ["-ss", _text(origin)] if origin else []
    stop = ["-t", _text(cut.end - origin + 1)] if cut.end is not None else []
    # The first frame of a segment is its start, except in the first one, where sound may come before the picture.
    shift = ",setpts=PTS-STARTPTS" if cut.start else ""
    even = "pad=ceil(iw/2)*2:ceil(ih/2)*2"  # H.264 with halved colours has no odd sizes
    picture = f"{_range('trim', cut.start, cut.end, origin)}{shift},{even}"
    sound = _range("atrim", cut.sound_start, cut.sound_end, origin)
    sound = f"{sound},asetpts=PTS-{_text(cut.sound_start - origin)}/TB"
    lengths = f"setts=duration=if(eq(N\\,{cut.frames - 1})\\,round({_text(cut.last_frame)}/TB)\\,DURATION)"
    return [
        *[*jump, *stop, "-protocol_whitelist", "file", "-threads", "1", "-i", file_url(file)],
        *["-map", "0:V:0", "-filter:v", picture, *_PICTURE, "-bsf:v", lengths],
        *["-fps_mode", "passthrough", "-enc_time_base:v", "demux"],
        *(["-map", "0:a:0", "-filter:a", sound, "-c:a", "aac"] if cut.sound else []),
        *["-sn", "-dn", "-movflags", "+faststart", "-progress", "pipe:1", "-stats_period", "0.2"],
        *["-f", "mp4", "-y", file_url(making)],
    ]


def _range(filter_name: str, start: float, end: float | None, origin: float) -> str:
    text = f"{filter_name}=start={_text(start - origin)}"
    return text if end is None else f"{text}:end={_text(end - origin)}"


def _text(seconds: float) -> str:
    return f"{max(0.0, seconds):.6f}"


def _between(source: VideoFrames, frame: int) -> float:
    """Return the time halfway between a frame and the one before it."""
    return float(Fraction(source.times[frame - 1] + source.times[frame], 2) * source.tick)
