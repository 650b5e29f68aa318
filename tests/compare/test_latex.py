"""Tables for LaTeX."""

import re

from rlgen.compare.latex import escaped, latex
from rlgen.compare.tables import Section, Table, sections


def test_every_table_that_is_no_detail_is_a_table_with_as_many_cells_as_columns(comparison):
    text = latex(sections(comparison))
    blocks = re.findall(r"\\begin\{table\}.*?\\end\{table\}", text, re.DOTALL)
    assert len(blocks) == sum(not table.detail for part in sections(comparison) for table in part.tables)
    for block in blocks:
        (columns,) = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", block)
        rows = [line for line in block.splitlines() if line.endswith(r"\\")]
        assert len(rows) > 1 and {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns)}
        assert block.count("{") == block.count("}")


def test_what_has_a_meaning_in_latex_is_written_out():
    assert escaped(r"50 % of a_b & {c} #1 $ ~ ^ \ < |") == (
        r"50 \% of a\_b \& \{c\} \#1 \$ \textasciitilde{} \textasciicircum{} \textbackslash{} \textless{} \textbar{}"
    )
    assert escaped("nll \N{DOWNWARDS ARROW} \N{EN DASH}") == r"nll $\downarrow$ --"


def test_a_minus_is_one_and_a_hyphen_stays_one():
    rows = [["a-1", ("-1.5 [-2e-05, 3]", -1.5)]]
    text = latex([Section("title", tables=[Table("", ["name", "value"], rows)])])
    assert r"a-1 & $-$1.5 [$-$2e-05, 3] \\" in text


def test_reasons_are_comments_of_one_line(comparison):
    text = latex([Section("title", refusals=["one\ntwo"], warnings=["three"]), *sections(comparison)])
    assert "% not ranked: one\\ntwo\n% three\n" in text and "% dqn: 1 of 6 seeds failed" in text
