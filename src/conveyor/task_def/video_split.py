"""The task `video_split`: cuts a video into segments, frame by frame, one job per segment.

A cut lies in the middle between two frames, so every frame falls into exactly one segment, whatever the frame rate
does and however times are rounded. Segments are encoded anew: copied streams could only be cut at key frames.
Each job uses one core; the workers are what runs in parallel.
"""

from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from conveyor.context import current_job
from conveyor.errors import BadInput, ConveyorError
from conveyor.task_def.ffmpeg import FfmpegError, Reel, file_address, output_lines, read_reel
from conveyor.task_def.places import output_folder, path_of, sample_folder, unfinished
from conveyor.tasks import task

#: Segments of one order.
MOST_SEGMENTS = 10_000
#: Without frames that depend on later ones (-bf 0) the last packet is the last frame, so its duration can be set.
_PICTURE = [
    "-c:v",
    "libx264",
    "-preset",
    "veryfast",
    "-crf",
    "18",
    "-pix_fmt",
    "yuv420p",
    "-bf",
    "0",
    "-threads",
    "1",
]


@dataclass(frozen=True, slots=True)
class Cut:
    """Which part of a video a segment is; all times in seconds since the file's start."""

    number: int
    frames: int
    start: float
    """Between the last frame before the segment and its first one; 0 for the first segment."""
    sound_start: float
    """When the first frame is shown; 0 for the first segment."""
    end: float | None
    """Between its last frame and the first one after it; None where the segment goes on to the end of the file."""
    sound_end: float | None
    """When the first frame after it is shown."""
    last_frame: float
    """How long the last frame is shown, in seconds."""
    sound: bool
    seekable: bool


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment that was made."""

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

    Writes H.264 and AAC in MP4 to `target`, which appears only when it is whole. Raises BadInput where the file is no
    video, ConveyorError where ffmpeg fails.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    making = unfinished(target)
    try:
        reel = _encode(file, making, cut, seek=cut.seekable)
        if reel.frames != cut.frames and cut.seekable and cut.start > 0:
            # Some files lead a seek astray; reading from the start is slow and sure.
            reel = _encode(file, making, cut, seek=False)
        making.replace(target)
    finally:
        making.unlink(missing_ok=True)
    return Segment(cut.number, target, reel.frames, reel.seconds)


@video_split.splits
def split(
    video: Annotated[str, "video file; empty: a sample of 40 seconds"] = "",
    segments: Annotated[int, "number of segments of equal length"] = 4,
    output: Annotated[str, "folder for the segments; empty: conveyor-out/video_split"] = "",
) -> list[dict[str, object]]:
    """Give one job per segment; the frames are counted first."""
    if not 1 <= segments <= MOST_SEGMENTS:
        message = f"segments={segments}: a video is cut into 1 to {MOST_SEGMENTS:,} segments"
        raise BadInput(message, hint="try segments=4")
    file = _video_file(video)
    reel = read_reel(file)
    if segments > reel.frames:
        message = f"{file} has {reel.frames} frames, which do not make {segments} segments"
        raise BadInput(message, hint=f"give at most segments={reel.frames}")
    folder = output_folder(output, "video_split")
    width = max(3, len(str(segments)))
    names = [
        f"{file.stem[:80]}-{number:0{width}}-of-{segments:0{width}}.mp4" for number in range(1, segments + 1)
    ]
    return [
        {"file": file, "target": folder / name, "cut": cut}
        for name, cut in zip(names, plan_cuts(reel, segments), strict=True)
    ]


@video_split.joins
def join(parts: list[Segment], /, video: str = "", **_: object) -> VideoSegments:
    """Check that nothing is missing and nothing is there twice: frames and durations add up to the whole."""
    file = _video_file(video)
    reel = read_reel(file)
    frames = sum(part.frames for part in parts)
    seconds = sum(part.seconds for part in parts)
    frame = reel.seconds / reel.frames
    if frames != reel.frames or abs(seconds - reel.seconds) > frame:
        message = (
            f"the segments of {file} have {frames} frames and {seconds:.3f} s, "
            f"the whole has {reel.frames} and {reel.seconds:.3f} s"
        )
        raise ConveyorError(message, hint="the file may be damaged, or was changed meanwhile")
    return VideoSegments(file, frames, reel.seconds, sorted(parts, key=lambda part: part.number))


def plan_cuts(reel: Reel, segments: int) -> list[Cut]:
    """Divide the frames of a video evenly; raises ValueError where there are fewer frames than segments."""
    if not 1 <= segments <= reel.frames:
        message = f"{segments} segments of {reel.frames} frames"
        raise ValueError(message)
    bounds = [number * reel.frames // segments for number in range(segments + 1)]
    return [
        Cut(
            number=number,
            frames=after - first,
            start=_between(reel, first) if first else 0.0,
            sound_start=reel.shown(first) if first else 0.0,
            end=_between(reel, after) if after < reel.frames else None,
            sound_end=reel.shown(after) if after < reel.frames else None,
            last_frame=reel.shown(after) - reel.shown(after - 1),
            sound=reel.sound,
            seekable=reel.seekable,
        )
        for number, (first, after) in enumerate(pairwise(bounds), 1)
    ]


def render_sample(path: Path, seconds: float = 40) -> Path:
    """Render a test picture of 640 x 360 points with a clock and a tone, 25 frames a second, as MP4; gives the path."""
    if not 0 < seconds <= 24 * 3600:
        message = f"seconds={seconds}: a sample is more than 0 seconds and at most a day"
        raise BadInput(message, hint="try seconds=40")
    path.parent.mkdir(parents=True, exist_ok=True)
    making = unfinished(path)
    picture = ["-f", "lavfi", "-i", f"testsrc2=size=640x360:rate=25:duration={seconds}"]
    tone = ["-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=44100:duration={seconds}"]
    coding = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "50", "-c:a", "aac"]
    try:
        for _ in output_lines([*picture, *tone, *coding, "-f", "mp4", file_address(making)]):
            pass
        making.replace(path)
    finally:
        making.unlink(missing_ok=True)
    return path


def _video_file(video: str) -> Path:
    """Give the path of the video, absolute; the sample's, rendered if need be, where it is empty."""
    if video:
        return path_of(video)
    sample = sample_folder() / "sample.mp4"
    return sample if sample.exists() else render_sample(sample)


def _encode(file: Path, making: Path, cut: Cut, *, seek: bool) -> Reel:
    """Run ffmpeg for one segment, report how far it is, and give the frames that it wrote."""
    job = current_job()
    try:
        with closing(output_lines(_arguments(file, making, cut, seek=seek))) as lines:
            for line in lines:
                job.check()
                name, _, value = line.partition("=")
                if name == "frame" and value.strip().isdigit():
                    job.progress(min(int(value), cut.frames), cut.frames, f"segment {cut.number}")
    except FfmpegError as error:
        read_reel(file)  # says what is wrong with the file, if that is what is wrong
        message = f"segment {cut.number} of {file} was not made: {error}"
        raise ConveyorError(message, hint="look at the free space on the disk, and at the file") from error
    return read_reel(making)


def _arguments(file: Path, making: Path, cut: Cut, *, seek: bool) -> list[str]:
    """Give ffmpeg's arguments. After a seek its clock starts anew, so all times are counted from `origin`."""
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
        *[*jump, *stop, "-protocol_whitelist", "file", "-threads", "1", "-i", file_address(file)],
        *["-map", "0:V:0", "-filter:v", picture, *_PICTURE, "-bsf:v", lengths],
        *["-fps_mode", "passthrough", "-enc_time_base:v", "demux"],
        *(["-map", "0:a:0", "-filter:a", sound, "-c:a", "aac"] if cut.sound else []),
        *["-sn", "-dn", "-movflags", "+faststart", "-progress", "pipe:1", "-stats_period", "0.2"],
        *["-f", "mp4", "-y", file_address(making)],
    ]


def _range(filter_name: str, start: float, end: float | None, origin: float) -> str:
    text = f"{filter_name}=start={_text(start - origin)}"
    return text if end is None else f"{text}:end={_text(end - origin)}"


def _text(seconds: float) -> str:
    return f"{max(0.0, seconds):.6f}"


def _between(reel: Reel, frame: int) -> float:
    """Give the time halfway between a frame and the one before it."""
    return float(Fraction(reel.times[frame - 1] + reel.times[frame], 2) * reel.tick)
