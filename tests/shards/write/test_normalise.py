import io

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.errors import SampleError, UserError
from shards.write.normalise import MAX_SIDE, MIN_SIDE, normalise, target_size
from tests.shards.make_clips import need_data, numbered_frame, read_numbers, set_display_matrix, write_numbered


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(48, 1024))
def test_target_size_is_small_and_changes_a_side_by_little_to_fill_macroblocks(width, height, short_side):
    new_width, new_height = target_size(width, height, short_side)
    for side in (new_width, new_height):
        assert side % 16 == 0 if side >= 256 else side % 2 == 0
        assert MIN_SIDE <= side <= MAX_SIDE
    assert min(new_width, new_height) <= max(short_side * 33 / 32 + 1, MIN_SIDE)
    if MIN_SIDE <= min(width, height) <= short_side and max(width, height) <= MAX_SIDE:
        assert abs(new_width - width) <= max(1, width / 32)
        assert abs(new_height - height) <= max(1, height / 32)


@pytest.mark.parametrize(
    ("given_size", "stored"),
    [
        ((340, 256), (336, 256)),
        ((1920, 1080), (448, 256)),
        ((1080, 1920), (256, 448)),
        ((320, 240), (320, 240)),
        ((171, 128), (176, 128)),
        ((100, 56), (100, 56)),  # too far from whole blocks
    ],
)
def test_clips_are_stored_in_whole_macroblocks_where_they_can_be(given_size, stored):
    assert target_size(*given_size, 256) == stored


@pytest.mark.parametrize("profile", ["h264", "vp9"])
@pytest.mark.parametrize(
    ("name", "codec"), [("x.mp4", "libx264"), ("x.webm", "libvpx-vp9"), ("x.avi", "mjpeg"), ("x.avi", "mpeg4")]
)
def test_every_frame_arrives_once_and_in_order(tmp_path, profile, name, codec):
    path = write_numbered(tmp_path / name, 40, codec=codec)
    clip = normalise("x", path, profile=profile)
    assert read_numbers(io.BytesIO(clip.data)) == list(range(40))
    assert (clip.n_frames, clip.fps, clip.width, clip.height) == (40, 25.0, 160, 96)


def test_profile_of_the_stored_stream(tmp_path):
    path = write_numbered(tmp_path / "x.mp4", 40, options={"bf": "3", "g": "250"})
    clip = normalise("x", path)
    with av.open(io.BytesIO(clip.data)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        stream = container.streams.video[0]
        assert stream.codec_context.pix_fmt == "yuv420p"
        packets = [packet for packet in container.demux(stream) if packet.size]
    assert [index for index, packet in enumerate(packets) if packet.is_keyframe] == [0, 12, 24, 36]
    assert all(packet.pts == packet.dts for packet in packets)  # no B-frames: shown in stored order
    assert clip.data.find(b"moov") < clip.data.find(b"mdat")


def test_variable_frame_rate_keeps_every_frame_on_a_constant_timeline(tmp_path):
    path = write_numbered(tmp_path / "x.mp4", 6, times=[0, 1, 10, 11, 12, 40])
    clip = normalise("x", path)
    assert read_numbers(io.BytesIO(clip.data)) == list(range(6))
    with av.open(io.BytesIO(clip.data)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert np.allclose(np.diff(times), np.diff(times)[0])


@settings(deadline=None, max_examples=25)
@given(first=st.integers(0, 59), length=st.integers(1, 60))
def test_a_cut_holds_exactly_the_frames_of_its_window(tmp_path_factory, first, length):
    folder = tmp_path_factory.getbasetemp()
    path = folder / "long.mp4"
    if not path.exists():
        write_numbered(path, 60, options={"g": "20", "bf": "2"})
    clip = normalise("x", path, start=first / 25, end=(first + length) / 25)
    assert read_numbers(io.BytesIO(clip.data)) == list(range(first, min(first + length, 60)))


def test_a_cut_counts_from_the_first_image_of_a_transport_stream(tmp_path):
    path = write_numbered(tmp_path / "x.ts", 50, options={"g": "10", "bf": "0"})
    assert read_numbers(io.BytesIO(normalise("x", path, start=1.0, end=1.2).data)) == [25, 26, 27, 28, 29]


def test_a_window_past_the_end_of_its_file_is_remarked_on(tmp_path):
    path = write_numbered(tmp_path / "x.mp4", 25, fps=25)
    assert normalise("x", path, start=0.4, end=1.04).remarks == {}
    clip = normalise("x", path, start=0.4, end=3)
    assert clip.remarks == {"cut_past_end": "the window ends at 3.00 s, the file at 1.00 s"}
    assert clip.n_frames == 15


@pytest.mark.parametrize("profile", ["h264", "copy"])
def test_a_video_of_one_frame_is_remarked_on(tmp_path, profile):
    path = write_numbered(tmp_path / "x.mp4", 1)
    assert list(normalise("x", path, profile=profile).remarks) == ["one_frame"]


def test_windows_without_a_frame_are_refused(tmp_path):
    path = write_numbered(tmp_path / "x.mp4", 10)
    for start, end in ((0.2, 0.2), (5.0, 6.0), (0.3, 0.1)):
        with pytest.raises(SampleError) as caught:
            normalise("x", path, start=start, end=end)
        assert caught.value.reason == "empty_cut"


@pytest.mark.parametrize(("pixels", "named"), [("yuv420p", "h264"), ("yuv420p10le", "h264 yuv420p10le")])
def test_copy_names_pixels_that_video_engines_do_not_take(tmp_path, pixels, named):
    path = tmp_path / "a.mp4"
    with av.open(path, "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, pixels
        for _ in range(2):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            out.mux(stream.encode(frame.reformat(format=pixels)))
        out.mux(stream.encode())
    assert normalise("x", path, profile="copy").codec == named


def test_copy_keeps_the_bytes_and_cannot_cut(tmp_path):
    path = write_numbered(tmp_path / "x.mp4", 9)
    clip = normalise("x", path, profile="copy")
    assert clip.data == path.read_bytes()
    assert (clip.n_frames, clip.extension) == (9, "mp4")
    with pytest.raises(UserError, match="profile copy cannot cut"):
        normalise("x", path, profile="copy", end=0.2)


ENDINGS = ("avi", "mkv", "mov", "mp4")


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("video_0.mov", (448, 256)),
        ("video_90.mov", (256, 448)),
        ("video_180.mov", (448, 256)),
        ("bitmap.mp4", (48, 48)),
    ],
)
def test_rotation_flags_and_tiny_images(name, size):
    clip = normalise("x", need_data(f"clips/odd/{name}"))
    assert (clip.width, clip.height) == size


def test_rotation_turns_the_pixels_the_right_way():
    """video_180.mov is stored upside down with a flag; shown rightly, its stored image is ours turned by 180."""
    path = need_data("clips/odd/video_180.mov")
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0)).reformat(448, 256, "gray").to_ndarray().astype(float)
    with av.open(io.BytesIO(normalise("x", path).data)) as container:
        ours = next(container.decode(video=0)).to_ndarray(format="gray").astype(float)
    assert abs(ours - stored[::-1, ::-1]).mean() < 6 < abs(ours - stored).mean()


def _turned(image, name):
    """What each name of FFmpeg's filters does to an image [H, W]."""
    return {
        "plain": image,
        "hflip": image[:, ::-1],
        "vflip": image[::-1],
        "rot180": image[::-1, ::-1],
        "transpose": image.T,
        "rot90": np.rot90(image, -1),
        "rot270": np.rot90(image),
        "antitranspose": image.T[::-1, ::-1],
    }[name]


MATRICES = {
    "plain": (1, 0, 0, 1),
    "hflip": (-1, 0, 0, 1),
    "vflip": (1, 0, 0, -1),
    "rot180": (-1, 0, 0, -1),
    "transpose": (0, 1, 1, 0),
    "rot90": (0, 1, -1, 0),
    "rot270": (0, -1, 1, 0),
    "antitranspose": (0, -1, -1, 0),
}


def _first_grey(source):
    with av.open(source) as container:
        return next(container.decode(video=0)).to_ndarray(format="gray").astype(float)


def _corner_clip(path):
    """Four frames of 160x96, bright in the upper left corner only."""
    image = np.zeros((96, 160, 3), np.uint8)
    image[:32, :64] = 255
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for index in range(4):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = index
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("profile", ["h264", "vp9", "copy"])
@pytest.mark.parametrize("name", MATRICES)
def test_all_eight_orientations_are_shown_as_phones_mean_them(tmp_path, name, profile):
    path = set_display_matrix(_corner_clip(tmp_path / "x.mp4"), *MATRICES[name])
    stored = _first_grey(str(path))
    ours = _first_grey(io.BytesIO(normalise("x", path, profile=profile).data))
    assert abs(ours - _turned(stored, name)).mean() < 6
    assert name == "plain" or ours.shape != stored.shape or abs(ours - stored).mean() > 20


@pytest.mark.parametrize("profile", ["h264", "vp9", "copy"])
@pytest.mark.parametrize("name", MATRICES)
def test_mirrored_phone_videos_that_people_report(name, profile):
    path = need_data("cases/mirrored") / f"{name}.mp4"
    ours = _first_grey(io.BytesIO(normalise("x", path, profile=profile).data))
    assert abs(ours - _turned(_first_grey(str(path)), name)).mean() < 6


@pytest.mark.parametrize("profile", ["h264", "copy"])
@pytest.mark.parametrize("name", ["attached.mp4", "covr_before_trak.mp4", *(f"thumb_first.{e}" for e in ENDINGS)])
def test_covers_and_thumbnails_that_people_report_are_not_the_video(name, profile):
    clip = normalise("x", need_data("cases/cover_first") / name, profile=profile)
    assert (clip.n_frames, clip.width, clip.height, clip.fps) == (50, 160, 120, 25.0)


def test_a_thumbnail_track_before_the_video_is_left_alone(tmp_path):
    path = tmp_path / "x.mov"
    with av.open(str(path), "w") as output:
        cover, video = output.add_stream("mjpeg", rate=25), output.add_stream("libx264", rate=25)
        cover.width, cover.height, cover.pix_fmt = 320, 240, "yuvj420p"
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        for stream, n in ((cover, 1), (video, 12)):
            for index in range(n):
                image = numbered_frame(index, stream.width, stream.height)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts = index
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    for profile in ("h264", "copy"):
        assert read_numbers(io.BytesIO(normalise("x", path, profile=profile).data)) == list(range(12))


@pytest.mark.slow
def test_dali_decodes_vp9_shards_on_a_cpu(tmp_path):
    pytest.importorskip("nvidia.dali")
    from nvidia.dali import fn, pipeline_def

    data = normalise("x", write_numbered(tmp_path / "x.mp4", 30), profile="vp9").data

    @pipeline_def(batch_size=1, num_threads=1, device_id=None)
    def pipeline():
        encoded = fn.external_source(source=lambda: [np.frombuffer(data, np.uint8)], dtype=None)
        return fn.decoders.video(encoded, frames=[0, 7, 13, 29, 2], device="cpu")

    from tests.shards.make_clips import read_number

    pipe = pipeline()
    pipe.build()
    (video,) = pipe.run()
    assert [read_number(image) for image in video.as_array()[0]] == [0, 7, 13, 29, 2]
