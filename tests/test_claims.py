"""Every number of the prose stands in an output or a code cell of its page, or has its source here.

Small counts, years, and the numbers of notebooks, sections and exercises are not claims. A number
may be a rounding of what was printed, a percentage of it, or the same time in another unit.
"""

import html
import re

import nbformat
import pytest

from tools import notebooks

NUMBER = re.compile(r"(?<![\w.#/-])(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?![\w])")
UNITS = (1, 100, 1 / 100, 1 / 60, 1 / 1000, 1 / 1024)
GENERATED = re.compile(r"<!--.*?-->.*?<!-- /\w+ -->", re.DOTALL)
NOT_CLAIMS = re.compile(  # code and links, headings, references, the numbers of parts
    r"`[^`]*`|\]\([^)]*\)|^#.*$|^- .*(?:19|20)\d\d.*$"
    r"|notebooks? \d\d|sections? \d+|exercises? \d+",
    re.MULTILINE | re.IGNORECASE,
)
BAR = "published: the table of section 1 names the repository of each figure"
SOURCES = {  # what no output holds, and where it comes from
    "01": {"78": "the expression beside it, on MovieLens-1M"},
    "03": {"5.6": "a version of Perl"},
    "05": {"6,000": "a thousand times the gradient printed above"},
    "08": {
        ".8245": "Kang and McAuley (2018), table of results",
    },
    "09": {"26": "RATINGS_PER_USER of benchmarks/tricks.py, which made the stored runs"},
    "10": dict.fromkeys(
        (".1078", ".1240", ".1341", ".1622", ".1821", ".1772", ".1857", ".1858"), BAR
    ) | dict.fromkeys((".1945", ".2231"), "two bars of section 7, drawn from results.jsonl")
    | {"3,416": "the movies with five ratings or more, counted"},
    "11": {"989": "the data sheet of the H100, named in the sentence"},
}  # fmt: skip


def value(number: str) -> tuple[float, int]:
    """A printed number, and how many decimals it has."""
    digits = number.rstrip(",").replace(",", "")
    return float(digits), len(digits.partition(".")[2])


def shown(notebook: nbformat.NotebookNode) -> set[float]:
    """Every number in the code cells and in what they printed."""
    texts = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        texts.append(cell.source)
        for output in cell.outputs:
            data = output.get("data", {})
            texts.append(output.get("text", ""))
            texts += [data.get("text/plain", ""), data.get("text/markdown", "")]
            texts.append(html.unescape(re.sub(r"<[^>]+>", " ", data.get("text/html", ""))))
    found = re.findall(r"(?<![\d.])\d[\d,]*(?:\.\d+)?|(?<!\d)\.\d+", "\n".join(texts))
    return {value(number)[0] for number in found}


def unsupported(notebook: nbformat.NotebookNode) -> list[str]:
    """The numbers of the prose that nothing on the page holds, in their order."""
    there, missing = sorted(shown(notebook)), []
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            continue
        prose = NOT_CLAIMS.sub(" ", GENERATED.sub(" ", cell.source))
        for number in NUMBER.findall(prose):
            claimed, decimals = value(number)
            if decimals == 0 and (claimed <= 12 or 1900 <= claimed <= 2030):
                continue
            near = 0.51 * 10**-decimals
            if not any(abs(round(n * u, decimals) - claimed) < near for n in there for u in UNITS):
                missing.append(number)
    return missing


@pytest.mark.parametrize("path", notebooks.series(), ids=lambda path: path.stem)
def test_numbers_in_the_prose_are_printed_or_have_a_source(path):
    missing, sources = unsupported(notebooks.read(path)), SOURCES.get(path.name[:2], {})
    assert set(missing) <= set(sources), "print it, or name its source here"
    assert set(sources) <= set(missing), "a source that is no longer needed"


def test_a_number_that_nothing_printed_is_found():
    new = nbformat.v4
    printed = new.new_output("stream", text="NDCG@10 0.1648, 6,040 users, 75 s")
    code = new.new_code_cell("LENGTH = 200", outputs=[printed])
    true = "It reaches 0.165 or 16.5 %, with 6,040 users and 200 movies (notebook 04, in 2018)."
    assert unsupported(new.new_notebook(cells=[code, new.new_markdown_cell(true)])) == []
    false = "It reaches 0.175 with 6,041 users in 76 s."
    found = unsupported(new.new_notebook(cells=[code, new.new_markdown_cell(false)]))
    assert found == ["0.175", "6,041", "76"]
