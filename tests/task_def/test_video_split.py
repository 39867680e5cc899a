"""The task `video_split`, with the real ffmpeg."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import imageio_ffmpeg
import psutil
import pytest

from conveyor.errors import BadInput, ConveyorError, JobCancelled
from conveyor.task_def import video_split
from conveyor.task_def.ffmpeg import FfmpegError, output_lines, read_frames
from conveyor.task_def.video_split import VideoSegments, join, render_sample, split

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RecordingJob

#: 62 frames, which no number of segments in these tests divides.
PICTURE = ["-f", "lavfi", "-i", "testsrc2=size=160x90:rate=30000/1001:duration=2.05"]
TONE = ["-f", "lavfi", "-i", "sine=duration=2.05"]
#: The coding options of `render_sample`, whose own pictures have sixteen times the points.
CODING = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "50", "-c:a", "aac"]


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small clip of 4 seconds, 100 frames, otherwise as `render_sample` makes it."""
    picture = ["-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25:duration=4"]
    tone = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100:duration=4"]
    file = tmp_path_factory.mktemp("video") / "clip.mp4"
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *picture, *tone, *CODING, file], check=True
    )
    return file


def order(**arguments: str | int) -> VideoSegments:
    """Do a whole order in this process."""
    parts = split(**arguments)  # type: ignore[arg-type]
    return join([video_split.video_split(**part) for part in parts], **arguments)  # type: ignore[arg-type]


def duration_and_frames(file: Path) -> tuple[float, int]:
    """Query ffmpeg itself: the container's duration, and the number of decoded frames."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", f"file:{file}", "-map", "0:v", "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    duration = re.search(r"Duration: (\d+):(\d+):([\d.]+)", said)
    assert duration
    hours, minutes, seconds = map(float, duration.groups())
    return hours * 3600 + minutes * 60 + seconds, int(re.findall(r"frame= *(\d+)", said)[-1])


def first_points(file: Path, frame: int) -> bytes:
    """Return a frame in coarse gray."""
    picture = [
        "-vf",
        f"select=eq(n\\,{frame}),scale=16:9,format=gray",
        "-frames:v",
        "1",
        "-f",
        "rawvideo",
        "-",
    ]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", f"file:{file}", *picture]
    return subprocess.run(command, capture_output=True, check=True).stdout


def render(file: Path, *how: str, tone: bool = True) -> Path:
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        *PICTURE,
        *(TONE if tone else []),
        *how,
        str(file),
    ]
    subprocess.run(command, check=True)
    return file


class TestAWholeOrder:
    @pytest.mark.parametrize("segments", [1, 3])
    def test_segments_add_up_to_the_whole_video(self, sample: Path, segments: int) -> None:
        made = order(video=str(sample), segments=segments)
        assert [segment.number for segment in made.segments] == list(range(1, segments + 1))
        assert (made.frames, made.seconds) == (100, 4.0)
        facts = [duration_and_frames(segment.path) for segment in made.segments]
        assert sum(frames for _, frames in facts) == 100
        assert sum(seconds for seconds, _ in facts) == pytest.approx(4.0, abs=0.04)
        assert [frames for _, frames in facts] == [segment.frames for segment in made.segments]

    def test_segments_lose_duplicate_and_move_no_frame(self, sample: Path) -> None:
        for number, segment in enumerate(order(video=str(sample), segments=3).segments):
            first = number * 100 // 3
            for frame in (0, segment.frames - 1):
                there, here = first_points(sample, first + frame), first_points(segment.path, frame)
                off = sum(abs(one - other) for one, other in zip(there, here, strict=True))
                assert off / len(here) < 2, f"frame {frame} of segment {segment.number}"

    def test_segment_may_have_a_single_frame(self, tmp_path: Path) -> None:
        file = render_sample(tmp_path / "short.mp4", seconds=0.2)
        assert [segment.frames for segment in order(video=str(file), segments=5).segments] == [1] * 5

    def test_order_leaves_only_the_segments_and_may_be_repeated(self, sample: Path, own_folder: Path) -> None:
        order(video=str(sample), segments=2)
        order(video=str(sample), segments=2)
        names = sorted(file.name for file in (own_folder / "conveyor-out" / "video_split").iterdir())
        assert names == ["clip-001-of-002.mp4", "clip-002-of-002.mp4"]

    def test_sample_video_is_cut_by_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(video_split, "render_sample", lambda path: render_sample(path, seconds=1))
        assert order().frames == 25

    @pytest.mark.parametrize("name", ['-it\'s "q" für:100%d [x].mp4', "a\nb c.mp4"])
    def test_files_of_any_name_are_accepted(self, sample: Path, own_folder: Path, name: str) -> None:
        (own_folder / name).write_bytes(sample.read_bytes())
        assert order(video=name, segments=2, output="-out put").frames == 100

    @pytest.mark.parametrize(
        ("name", "how"),
        [
            ("odd.mkv", ["-vf", "scale=161:91", "-c:v", "libx264", "-pix_fmt", "yuv444p", "-bf", "3"]),
            ("uneven.mp4", ["-vf", "select='gt(random(0),0.5)'", "-fps_mode", "vfr"]),
            ("broadcast.ts", ["-c:v", "mpeg2video", "-bf", "2"]),
            ("moving.gif", ["-an"]),
            ("old.avi", ["-c:v", "mpeg4", "-bf", "2", "-c:a", "mp3"]),
            (
                "web.webm",
                [
                    "-c:v",
                    "libvpx",
                    "-auto-alt-ref",
                    "1",
                    "-b:v",
                    "200k",
                    "-deadline",
                    "realtime",
                    "-cpu-used",
                    "8",
                ],
            ),
            ("bare.h264", ["-an", "-c:v", "libx264"]),
            ("late.mkv", ["-output_ts_offset", "100"]),
            ("silent.mp4", ["-an"]),
        ],
    )
    def test_videos_of_every_kind_are_accepted(self, tmp_path: Path, name: str, how: list[str]) -> None:
        file = render(tmp_path / name, *how)
        made = order(video=str(file), segments=3)
        assert sum(segment.frames for segment in made.segments) == duration_and_frames_of_picture(file)
        assert sum(segment.seconds for segment in made.segments) == pytest.approx(made.seconds, abs=0.04)


def duration_and_frames_of_picture(file: Path) -> int:
    """Count the frames that ffmpeg decodes, as they come."""
    picture = ["-map", "0:v", "-fps_mode", "passthrough", "-f", "framecrc", "pipe:1"]
    lines = output_lines(["-i", str(file), *picture])
    return sum(line.startswith("0,") for line in lines)


class TestRefusesAtOnce:
    def test_missing_file_is_refused(self) -> None:
        with pytest.raises(BadInput, match="does not exist"):
            split(video="gone.mp4")

    def test_text_file_named_mp4_is_refused(self, own_folder: Path) -> None:
        (own_folder / "text.mp4").write_text("I am no video at all.\n" * 100)
        with pytest.raises(BadInput, match=r"cannot read .*text\.mp4"):
            split(video="text.mp4")

    def test_empty_file_is_refused(self, own_folder: Path) -> None:
        (own_folder / "empty.mp4").touch()
        with pytest.raises(BadInput, match=r"cannot read|no video stream"):
            split(video="empty.mp4")

    def test_folder_is_refused(self) -> None:
        with pytest.raises(BadInput, match="not a regular file"):
            split(video=".")

    def test_sound_without_a_picture_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "tone.m4a"
        list(output_lines([*TONE, str(file)]))
        with pytest.raises(BadInput):
            split(video=str(file))

    @pytest.mark.parametrize("start", ["#EXTM3U\n#EXTINF:1,\n", "ffconcat version 1.0\nfile "])
    def test_playlist_of_other_files_is_refused(self, sample: Path, own_folder: Path, start: str) -> None:
        (own_folder / "list.mp4").write_text(f"{start}{sample}\n")
        with pytest.raises(BadInput, match="list of other files"):
            split(video="list.mp4")

    def test_more_segments_than_frames_are_refused(self, sample: Path) -> None:
        with pytest.raises(BadInput, match="has 100 frames, too few for 101 segments") as refused:
            split(video=str(sample), segments=101)
        assert "segments=100" in refused.value.hint

    @pytest.mark.parametrize("segments", [0, -1, 10**9])
    def test_invalid_number_of_segments_is_refused(self, sample: Path, segments: int) -> None:
        with pytest.raises(BadInput, match="segments"):
            split(video=str(sample), segments=segments)


class TestOneSegment:
    def test_progress_counts_the_frames_of_the_segment(self, sample: Path, job: RecordingJob) -> None:
        part = split(video=str(sample), segments=2)[0]
        video_split.video_split(**part)  # type: ignore[arg-type]
        assert job.reports[-1] == (50, 50)

    def test_cancellation_kills_ffmpeg_and_leaves_no_file(self, tmp_path: Path, job: RecordingJob) -> None:
        long = render_sample(tmp_path / "long.mp4", seconds=20)
        part = split(video=str(long), segments=1, output=str(tmp_path / "out"))[0]
        job.cancel_after = 1
        with pytest.raises(JobCancelled):
            video_split.video_split(**part)  # type: ignore[arg-type]
        assert list((tmp_path / "out").iterdir()) == []

    def test_video_removed_meanwhile_is_refused(self, sample: Path, own_folder: Path) -> None:
        copy = own_folder / "copy.mp4"
        copy.write_bytes(sample.read_bytes())
        part = split(video=str(copy), segments=2)[1]
        copy.unlink()
        with pytest.raises(BadInput, match="does not exist"):
            video_split.video_split(**part)  # type: ignore[arg-type]

    def test_missing_part_is_noticed(self, sample: Path) -> None:
        first = video_split.video_split(**split(video=str(sample), segments=2)[0])  # type: ignore[arg-type]
        with pytest.raises(ConveyorError, match="have 50 frames and"):
            join([first], video=str(sample), segments=2)


class TestFfmpeg:
    def test_ffmpeg_failure_has_a_reason(self) -> None:
        with pytest.raises(FfmpegError, match="No such file"):
            list(output_lines(["-i", "file:/no/such/file", "-f", "null", "-"]))

    def test_ffmpeg_is_killed_if_its_output_is_no_longer_read(self) -> None:
        endless = ["-re", "-f", "lavfi", "-i", "testsrc2", "-f", "null", "-progress", "pipe:1", "-"]
        lines = output_lines(endless)
        assert "=" in next(lines)
        lines.close()
        with pytest.raises(StopIteration):
            next(lines)

    def test_ffmpeg_does_not_outlive_a_killed_worker(self) -> None:
        program = """if True:
            from conveyor.task_def.ffmpeg import output_lines
            endless = ["-re", "-f", "lavfi", "-i", "testsrc2", "-f", "null", "-progress", "pipe:1", "-"]
            for line in output_lines(endless):
                print(line, flush=True)
        """
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as worker:
            try:
                assert worker.stdout
                assert b"=" in worker.stdout.readline()
                (ffmpeg,) = psutil.Process(worker.pid).children()
            finally:
                worker.kill()
            gone, alive = psutil.wait_procs([ffmpeg], timeout=30)
        assert (gone, alive) == ([ffmpeg], [])

    def test_ffmpeg_never_reads_from_the_network(self, own_folder: Path) -> None:
        sdp = "v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
        (own_folder / "stream.sdp").write_text(sdp)
        with pytest.raises(BadInput):
            read_frames(own_folder / "stream.sdp")
