"""What users have: video files, tars of them, folders of frames, URLs; found, opened strictly, probed.

Nothing here knows labels or shards. May import `shards.storage.remote`, `files` and `errors`.
"""
