from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from processes import PATIENCE

from fastki.data.kept import Kept
from fastki.data.video import Video, VideoFrames
from fastki.errors import DataError

av = pytest.importorskip("av")

CODECS = pytest.mark.parametrize("codec", ["libx264", "libsvtav1"])


class Counted:
    """A path whose file counts the bytes that are read."""

    def __init__(self, path: Path) -> None:
        self.path, self.bytes = path, 0

    def open(self, mode):
        outer = self

        class File:
            def __init__(self, inner):
                self.inner, self.seek, self.tell = inner, inner.seek, inner.tell

            def read(self, size):
                data = self.inner.read(size)
                outer.bytes += len(data)
                return data

            def __enter__(self):
                return self

            def __exit__(self, *_):
                self.inner.close()

        return File(self.path.open(mode))


@pytest.fixture
def decoded(monkeypatch):
    """Counts decoded pictures and seeks."""
    from fastki.data import video

    counts = {"_advance": 0, "_seek": 0}

    def count(name, original):
        def wrapper(self, *arguments):
            counts[name] += 1
            return original(self, *arguments)

        return wrapper

    for name in counts:
        monkeypatch.setattr(video._Decoder, name, count(name, getattr(video._Decoder, name)))
    return counts


@CODECS
@pytest.mark.parametrize("gop", [2, 60])
def test_every_frame_is_the_one_that_was_written(tmp_path, clips, codec, gop, decoded):
    path = clips.write(tmp_path / "a.mp4", range(70), codec=codec, gop=gop)
    frames = VideoFrames(path, length=70, fps=20)
    assert len(frames) == 70
    assert [clips.number(frames[i]) for i in range(70)] == list(range(70))
    assert decoded["_seek"] == 1
    for i in (5, 69, 0, 33, 34, 34, 33, -1, -70):
        assert clips.number(frames[i]) == i % 70
    for i, picture in enumerate(_decoded_in_order(path)):
        np.testing.assert_array_equal(frames[i], picture)
    with pytest.raises(IndexError):
        frames[70]
    with pytest.raises(IndexError):
        frames[-71]


@CODECS
def test_only_what_lies_between_the_keyframe_and_the_frame_is_decoded_and_read(tmp_path, clips, codec, decoded):
    path = clips.write(tmp_path / "a.mp4", range(300), codec=codec, gop=10, noise=60)
    source = Counted(path)
    frames = VideoFrames(source, length=300, fps=20)
    assert decoded["_advance"] == source.bytes == 0
    assert clips.number(frames[287]) == 287
    assert decoded["_advance"] <= 11
    assert 0 < source.bytes < path.stat().st_size / 3
    source.bytes = decoded["_advance"] = 0
    assert clips.number(frames[288]) == 288
    assert (decoded["_advance"], source.bytes < path.stat().st_size / 10) == (1, True)


def test_frames_ahead_are_decoded_on_rather_than_seeked_where_keyframes_are_rare(tmp_path, clips, decoded):
    path = clips.write(tmp_path / "a.mp4", range(200), gop=200)
    frames = VideoFrames(path, length=200, fps=20)
    assert [clips.number(frames[i]) for i in range(0, 200, 8)] == list(range(0, 200, 8))
    assert decoded["_advance"] <= 210


def test_an_episode_begins_where_it_is_said_to(tmp_path, clips):
    path = clips.write(tmp_path / "a.mp4", range(40), fps=30)
    frames = VideoFrames(path, length=10, fps=30, start=17 / 30)
    assert [clips.number(frame) for frame in frames] == list(range(17, 27))
    coarse = VideoFrames(path, length=20, fps=15)
    assert [clips.number(frame) for frame in coarse] == list(range(0, 40, 2))


def test_times_that_differ_by_rounding_find_the_nearest_frame(tmp_path, clips):
    path = clips.write(tmp_path / "a.mp4", range(40), fps=30)
    for shift in (-0.4 / 30, -1e-5, 1e-5, 0.4 / 30):
        frames = VideoFrames(path, length=10, fps=30, start=20 / 30 + shift)
        assert [clips.number(frame) for frame in frames] == list(range(20, 30))


def test_the_first_picture_counts_as_the_beginning_whenever_it_is_shown(tmp_path, clips):
    source, late = clips.write(tmp_path / "a.mp4", range(20)), tmp_path / "late.mkv"
    with av.open(str(source)) as reading, av.open(str(late), "w") as writing:
        stream = writing.add_stream_from_template(reading.streams.video[0])
        for packet in reading.demux(video=0):
            if packet.dts is not None:
                packet.pts += int(5 / packet.time_base)
                packet.dts += int(5 / packet.time_base)
                packet.stream = stream
                writing.mux(packet)
    frames = VideoFrames(late, length=20, fps=20)
    assert [clips.number(frame) for frame in frames] == list(range(20))


def test_a_time_without_a_picture_names_video_and_time(tmp_path, clips):
    frames = VideoFrames(clips.write(tmp_path / "short.mp4", range(20)), length=25, fps=20)
    assert clips.number(frames[19]) == 19
    with pytest.raises(DataError, match=r"short\.mp4 shows nothing at 1\.000 s.*fetch it again"):
        frames[20]
    assert clips.number(frames[19]) == 19
    for start in (1e300, float("inf")):
        with pytest.raises(DataError, match="shows nothing"):
            VideoFrames(tmp_path / "short.mp4", length=1, fps=20, start=start)[0]


def test_grey_videos_become_rgb(tmp_path, clips):
    path = clips.write(tmp_path / "grey.mp4", [0, 65535], pixels="gray")
    dark, light = (VideoFrames(path, length=2, fps=20)[i] for i in range(2))
    assert dark.shape == light.shape == (64, 64, 3)
    assert not np.ptp(light, axis=2).any()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "damaged video or none"),
        (b"nothing of the sort" * 50, "damaged video or none"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nreal.mp4\n#EXT-X-ENDLIST\n", "damaged video or none"),
        (b"ffconcat version 1.0\nfile real.mp4\n", "damaged video or none"),
    ],
    ids=["empty", "text", "playlist", "script"],
)
def test_what_is_no_video_is_refused(tmp_path, clips, content, reason, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clips.write(tmp_path / "real.mp4", range(5))
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.mp4 is a {reason}"):
        VideoFrames(tmp_path / "a.mp4", length=5, fps=20)[0]


def test_a_missing_video_and_one_of_sound_alone(tmp_path):
    with pytest.raises(DataError, match=r"b\.mp4 is missing"):
        VideoFrames(tmp_path / "b.mp4", length=5, fps=20)[0]
    with av.open(str(tmp_path / "c.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(DataError, match=r"c\.mp4 holds no video"):
        VideoFrames(tmp_path / "c.mp4", length=5, fps=20)[0]


def test_huge_pictures_are_refused_before_they_are_decoded(tmp_path, clips, monkeypatch):
    monkeypatch.setattr("fastki.data.video.MAX_PIXELS", 64 * 63)
    with pytest.raises(DataError, match=r"a\.mp4 is a damaged video"):
        VideoFrames(clips.write(tmp_path / "a.mp4", range(3)), length=3, fps=20)[0]


def test_without_pyav_the_message_says_what_to_install(tmp_path, clips, monkeypatch):
    path = clips.write(tmp_path / "a.mp4", range(3))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match=r"reading videos needs av: `pip install 'fastki\[video\]'`"):
        VideoFrames(path, length=3, fps=20)[0]


def test_closing_and_pickling(tmp_path, clips):
    frames = VideoFrames(clips.write(tmp_path / "a.mp4", range(9)), length=9, fps=20)
    assert clips.number(frames[4]) == 4
    before = _open_files(tmp_path)
    frames.close()
    assert (before, _open_files(tmp_path)) == (1, 0)
    assert clips.number(frames[5]) == 5
    assert clips.number(pickle.loads(pickle.dumps(frames))[6]) == 6
    del frames
    assert _open_files(tmp_path) == 0


def test_few_videos_stay_open_and_threads_share_them(tmp_path, clips):
    paths = [clips.write(tmp_path / f"{k}.mp4", range(100 * k, 100 * k + 60), gop=10) for k in range(4)]
    kept: Kept[Path, Video] = Kept(2)
    cameras = [VideoFrames(path, length=60, fps=20, kept=kept) for path in paths]
    wrong: list[tuple[int, int]] = []

    def read(seed):
        rng = np.random.default_rng(seed)
        for k, i in zip(rng.integers(4, size=40).tolist(), rng.integers(60, size=40).tolist(), strict=True):
            if clips.number(cameras[k][i]) != 100 * k + i:
                wrong.append((k, i))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)
    assert _open_files(tmp_path) <= 4
    kept.close()
    assert _open_files(tmp_path) == 0


_FORK = """
import os, sys
from pathlib import Path
from fastki.data.video import VideoFrames
path = Path(sys.argv[1])
expected = [frame.copy() for frame in VideoFrames(path, length=60, fps=20)]
frames = VideoFrames(path, length=60, fps=20)
frames[10]
child = os.fork()
if child == 0:
    os._exit(not all((frames[i] == expected[i]).all() for i in (40, 3)))
assert os.waitpid(child, 0)[1] == 0
assert all((frames[i] == expected[i]).all() for i in range(11, 60))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_does_not_disturb_its_parent(tmp_path, clips):
    path = clips.write(tmp_path / "a.mp4", range(60), gop=30, noise=60)
    subprocess.run([sys.executable, "-c", _FORK, str(path)], check=True, timeout=PATIENCE)


@CODECS
def test_fuzzed_videos_give_data_errors_only(tmp_path, clips, codec):
    rng = np.random.default_rng(1)
    good = clips.write(tmp_path / "a.mp4", range(30), codec=codec, gop=10).read_bytes()
    header = good.index(b"moov")
    messages = []
    for trial in range(120):
        bad, at = bytearray(good), int(rng.integers(header if trial % 3 else 0, len(good)))
        if trial % 4 == 0:
            del bad[at:]
        elif trial % 4 == 1:
            del bad[at : at + int(rng.integers(1, 40))]
        elif trial % 4 == 2:
            bad[at:at] = rng.bytes(int(rng.integers(1, 40)))
        else:
            for place in rng.integers(header, len(good), size=4):
                bad[place] = rng.integers(256)
        (tmp_path / "a.mp4").write_bytes(bad)
        frames = VideoFrames(tmp_path / "a.mp4", length=30, fps=20)
        for i in (0, 17, 29):
            try:
                assert frames[i].shape[2] == 3
            except DataError as error:
                messages.append(str(error))
        frames.close()
    assert len(messages) > 60
    assert not any("\n" in message for message in messages)


def _decoded_in_order(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def _open_files(folder: Path) -> int:
    """How many files in ``folder`` this process has open."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not list a process's open files")
    targets = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.exists()]
    return sum(target.startswith(str(folder)) for target in targets)
