"""Videos through the encoders of a finished run: `finepseudo predict`, and the same from Python.

What was named (`inputs`) is normalised into shards of its own in a temporary folder (`clips`), so that it is read
exactly as the run's clips; the weights (`trained`) are loaded once. `videos` joins them, `tables` writes what came out.
"""

from jobs.pipeline.predict.trained import load_predictor
from jobs.pipeline.predict.videos import predict_paths, predict_video

__all__ = ["load_predictor", "predict_paths", "predict_video"]
