"""The README's table of figures."""

from benchmarks import table


def test_the_readme_has_what_the_results_say() -> None:
    assert table.block(table.README.read_text(encoding="utf-8")) == table.expected()
