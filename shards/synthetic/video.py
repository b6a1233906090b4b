"""Images to a real H.264 file: the same bytes every time."""

from __future__ import annotations

import io

import av
import numpy as np
import numpy.typing as npt

_OPTIONS = {"preset": "veryfast", "crf": "18", "flags": "+bitexact"}


def encode(images: npt.NDArray[np.uint8], fps: int) -> bytes:
    """Encode uint8 [n, H, W, 3] as H.264, 4:2:0, in mp4 (one thread, no time stamps of now)."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", container_options={"fflags": "+bitexact"}) as output:
        stream = output.add_stream("libx264", rate=fps, options=_OPTIONS)
        stream.height, stream.width = images.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = index
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()
