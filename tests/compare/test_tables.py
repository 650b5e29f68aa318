"""Tables for a terminal: verdicts, warnings, and why something is not ranked."""

from rlgen.compare import tables


def test_text_has_verdicts_warnings_and_failures(comparison):
    text = tables.text(comparison)
    assert "double_dqn is better" in text and "All 2 tasks together" in text
    assert "warning: dqn: 1 of 6 seeds failed" in text and "1 unfinished, not scored" in text
    assert "eval/fd \N{DOWNWARDS ARROW}" in text and "eval/episodic_return \N{UPWARDS ARROW}" in text
