"""`rlgen doctor`."""

import json


def test_doctor_reports_and_names_problems(rlgen, tmp_path, monkeypatch):
    code, out, _ = rlgen("doctor", "--json")
    report = json.loads(out)
    assert code == 0 and report["problems"] == [] and report["torch"] and report["runs_dir"] == str(tmp_path / "runs")
    (tmp_path / "file").write_text("")
    code, out, err = rlgen("doctor", "--runs-dir", "file/runs")
    assert code == 1 and "cannot be written" in out and err.startswith("error: ")
