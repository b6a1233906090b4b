"""Names of a run folder: written and read by the same rules."""

from finepseudo.run_folder.layout import RunPaths


def test_what_is_written_is_listed(tmp_path):
    paths = RunPaths(tmp_path)
    for seed in (10, 2):
        for folder in (
            paths.pretrain(seed),
            paths.action_encoder(seed, None, 0),
            paths.evaluation(seed, "mine"),
            paths.round(seed, "mine", 11),
            paths.round(seed, "mine", 2),
        ):
            folder.mkdir(parents=True)
    (paths.seed(2) / ".parts").mkdir()
    assert [seed for seed, _ in paths.seeds()] == [2, 10]
    assert paths.methods(2) == ["mine"]
    assert paths.rounds(2, "mine") == [(n, paths.round(2, "mine", n)) for n in (2, 11)]
    assert RunPaths(tmp_path / "nowhere").seeds() == []
    assert (paths.pretrain(None), paths.pretrain(2)) == (tmp_path / "pretrain", tmp_path / "seed-2" / "pretrain")


def test_round_zero_is_shared_but_for_its_labels(tmp_path):
    paths = RunPaths(tmp_path)
    for name in ("action_encoder", "frame_encoder", "embeddings", "scores"):
        place = getattr(paths, name)
        assert place(1, "mine", 0) == place(1, None, 0) == tmp_path / "seed-1" / "round-00" / name
        assert place(1, "mine", 3) == tmp_path / "seed-1" / "mine" / "round-03" / name
    assert paths.round(1, "mine", 0) == tmp_path / "seed-1" / "mine" / "round-00"
    assert paths.action_encoder(1, "mine", 2, "teacher").name == "teacher"
