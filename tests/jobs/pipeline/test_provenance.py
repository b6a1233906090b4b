"""What a run's records say of the code and the machine."""

import json
import re

from finepseudo.run_folder.environment import code_version
from jobs.config.recipes import load
from jobs.pipeline.provenance import source_version, write_environment


def test_the_version_follows_every_source_file_of_the_packages(tmp_path):
    assert re.fullmatch(r"\S+\+[0-9a-f]{12}", source_version())
    assert source_version() == source_version()
    package = tmp_path / "package"
    (package / "inner").mkdir(parents=True)
    seen = set()
    for content in ("a = 1\n", "a = 2\n"):
        (package / "inner" / "module.py").write_text(content)
        seen.add(code_version([package]))
    (package / "inner" / "module.py").rename(package / "module.py")
    seen.add(code_version([package]))
    (package / "note.txt").write_text("no code")
    seen.add(code_version([package]))
    assert len(seen) == 3


def test_the_machine_and_what_was_asked_of_it_are_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 4.0, "GPU": 2.0, "node:1": 1.0})
    monkeypatch.setattr("ray.nodes", lambda: [{}, {}])
    for device, found in (("auto", "gpu"), ("cpu", "cpu")):
        cfg = load("smoke", [f"out={tmp_path}", f"resources.device={device}"])
        write_environment(cfg, "1+abc")
        record = json.loads((cfg.folder / "environment.json").read_text())
        assert (record["device"], record["code_version"], record["nodes"]) == (found, "1+abc", 2)
        assert record["cluster"] == {"CPU": 4.0, "GPU": 2.0}
        assert record["recipe"]["device"] == device
