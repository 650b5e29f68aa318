"""The HTML page."""

import re

import pytest

from rlgen.compare import files


def test_html_stands_alone(comparison, tmp_path):
    pytest.importorskip("matplotlib")
    files.write(comparison, [tmp_path / "r.html"])
    text = (tmp_path / "r.html").read_text()
    assert not re.search(r'(?:src|srcset|href)="(?!data:)', text) and "<link" not in text and "@import" not in text
    assert "http" not in re.sub(r"data:image/[^\"]+", "", text), "no address but those inside pictures"
    assert 'name="viewport"' in text and "prefers-color-scheme: dark" in text and "aria-sort" in text
    assert "a|&lt;b&gt;" in text and "<b>" not in text  # a group's name is text, not markup
    assert text.count('class="picture"') == 2  # a sample grid of each model
    assert text.count("<source") == text.count("<picture") > 8
    for wanted in ("Learning curves", "against wall time", "Performance profiles", "Expected and obtained value"):
        assert wanted in text
    for tag in ("section", "table", "details", "figure", "div", "tr", "td"):
        assert len(re.findall(f"<{tag}[ >]", text)) == text.count(f"</{tag}>"), tag
