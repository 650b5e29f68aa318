"""The HTML page."""

import re

import pytest

from rlgen.compare import figures, files, page, tables


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
    for wanted in (
        "Learning curves",
        "against wall time",
        "Performance profiles",
        "Expected (solid) and obtained value",
    ):
        assert wanted in text
    for tag in ("section", "table", "details", "figure", "div", "tr", "td"):
        assert len(re.findall(f"<{tag}[ >]", text)) == text.count(f"</{tag}>"), tag


def test_each_section_with_lines_has_one_legend_that_names_every_group_once(comparison, tmp_path):
    pytest.importorskip("matplotlib")
    files.write(comparison, [tmp_path / "r.html"])
    sections = (tmp_path / "r.html").read_text().split("<section>")[1:]
    legends = [re.findall(r'<p class="legend">.*?</p>', section) for section in sections]
    assert [len(found) for found in legends] == [1, 1, 1, 1, 0]  # over tasks, two environments, images, explanation
    for section, (legend,) in zip(sections, filter(None, legends), strict=False):
        names = re.findall(r"</svg>(.*?)</span>", legend)
        assert len(names) == len(set(names)) == 2 and section.index(legend) < section.index("<figure>")


def test_a_table_that_is_wider_than_the_screen_scrolls_and_shows_that_there_is_more(comparison, tmp_path):
    """Each has a box of its own that scrolls, with a shadow at the right which the end of the table covers."""
    pytest.importorskip("matplotlib")
    files.write(comparison, [tmp_path / "r.html"])
    text = (tmp_path / "r.html").read_text()
    assert text.count("<table") == text.count('<div class="wide"><table')
    assert re.search(r"\.wide \{ overflow-x: auto;[^}]*no-repeat local[^}]*no-repeat scroll", text)


@pytest.mark.parametrize(
    ("num", "columns"), [(1, "one"), (2, "three"), (3, "three"), (4, "two"), (5, "three"), (7, "two")]
)
def test_no_row_of_figures_is_two_thirds_empty(num, columns):
    pytest.importorskip("matplotlib")
    plots = [figures.Figure("", "", lambda ax: None)] * num
    text = "".join(page._section_lines(tables.Section("title"), plots))
    assert f'<div class="figures {columns}">' in text
