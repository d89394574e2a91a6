"""What the build promises: complete pages, a feed, cards; and checks that find what is wrong."""

from datetime import datetime
from importlib.metadata import version
from xml.etree import ElementTree

import pytest
from bs4 import BeautifulSoup
from PIL import Image

from tests.site.conftest import SITE
from tools import post_data
from tools.site_check import HEAVIEST, check

POSTS = post_data.posts()
ATOM = "{http://www.w3.org/2005/Atom}"
URL = "https://example.org/blog/"


def test_what_is_installed_is_what_is_pinned():
    lines = (SITE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    for line in lines:
        requirement, _, comment = line.partition("#")
        if requirement:
            name, pinned = requirement.split("==")
            assert version(name) == pinned.strip()
            assert comment


@pytest.mark.parametrize("post", POSTS, ids=lambda post: post.slug)
def test_every_notebook_has_its_blog_metadata(post):
    assert post.data["tags"]
    assert post.thumbnail[0]


@pytest.mark.parametrize("key", post_data.REQUIRED)
def test_a_missing_key_is_named_with_the_command_that_sets_it(key):
    data = {"date": "2026-11-24", "tags": ["A"], "thumbnail": "A curve"}
    assert post_data.check(data, "08_x.ipynb") == data
    del data[key]
    with pytest.raises(post_data.PostDataError, match=rf'08_x.ipynb.*"{key}".*tools.post_data 08'):
        post_data.check(data, "08_x.ipynb")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"date": "24.11.2026"}, "YYYY-MM-DD"),
        ({"tags": "A, B"}, "is a str, not a list"),
        ({"titel": "x"}, '"titel".*not known'),
    ],
)
def test_wrong_metadata_is_refused(wrong, words):
    data = {"date": "2026-11-24", "tags": ["A"], "thumbnail": "A curve"} | wrong
    with pytest.raises(post_data.PostDataError, match=words):
        post_data.check(data, "08_x.ipynb")


def test_building_the_site_costs_little(built):
    """25 yardsticks (conftest.py); 39 of them took from 63 to 88 s, by the machine and the day."""
    assert built[1] < 32


@pytest.mark.parametrize("post", POSTS, ids=lambda post: post.slug)
def test_a_post_is_complete(built, post):
    page = BeautifulSoup((built[0] / f"posts/{post.slug}.html").read_bytes(), "lxml")
    assert post.title in page.h1.get_text()
    article = page.article.get_text()
    assert post.description.replace("'", "’") in article
    assert f"{post.minutes} min read" in article
    assert "<!--" not in article
    assert [image["alt"] for image in page.select(".cell_output img")] == [
        alt for _, _, alt in post.pictures()
    ]
    code = [tag.get_text().rstrip("\n") for tag in page.select(".cell_input pre")]
    assert code == post.code
    assert "NBVAL" not in article
    hosts = [link["href"] for link in page.select(".open-in a")]
    assert len(hosts) == 3
    repository = post_data.settings()["repository"]
    assert all(repository in link and post.path.name in link for link in hosts)
    meta = {tag.get("property"): tag.get("content") for tag in page("meta")}
    assert meta["og:description"] == post.description
    assert post.title in meta["og:title"]
    card = built[0] / meta["og:image"].removeprefix(post_data.settings()["url"])
    assert Image.open(card).size == (1200, 630)


def test_the_feed_has_every_post(built):
    feed = ElementTree.parse(built[0] / "blog/atom.xml").getroot()
    titles = [entry.findtext(f"{ATOM}title") for entry in feed.iter(f"{ATOM}entry")]
    assert titles == [post.title for post in reversed(POSTS)]
    for entry in feed.iter(f"{ATOM}entry"):
        link = entry.find(f"{ATOM}link").get("href")
        path = link.removeprefix(post_data.settings()["url"])
        assert (built[0] / path).is_file()


def test_a_feed_reader_can_show_every_entry(built):
    """What RFC 4287 asks of a feed; and each entry a summary with a picture that is found from there."""
    url = post_data.settings()["url"]
    feed = ElementTree.parse(built[0] / "blog/atom.xml").getroot()
    entries = [*feed.iter(f"{ATOM}entry")]
    for part in (feed, *entries):
        for name in ("id", "title", "updated"):
            assert len(part.findall(f"{ATOM}{name}")) == 1
        assert datetime.fromisoformat(part.findtext(f"{ATOM}updated")).tzinfo
        assert all(link.get("href").startswith(url) for link in part.findall(f"{ATOM}link"))
    assert len({entry.findtext(f"{ATOM}id") for entry in entries}) == len(POSTS)
    for entry, post in zip(entries, reversed(POSTS), strict=True):
        assert entry.findtext(f"{ATOM}author/{ATOM}name")
        summary = post.description.replace("'", "’")
        assert entry.findtext(f"{ATOM}summary") == summary
        content = entry.find(f"{ATOM}content")
        assert content.get("type") == "html"
        page = ElementTree.fromstring(f"<div>{content.text}</div>")  # whole tags, rightly nested
        assert {tag.tag for tag in page.iter()} <= {"div", "p", "a", "img"}
        assert {name for tag in page.iter() for name in tag.attrib} <= {"href", "src", "alt"}
        assert "".join(page.itertext()).strip().startswith(summary)
        picture = page.find(".//img")
        assert picture.get("alt") == post.thumbnail[1]
        for link in (picture.get("src"), page.find(".//a").get("href")):
            assert (built[0] / link.removeprefix(url)).is_file()


def test_posts_are_listed_under_their_tags(built):
    pages = [BeautifulSoup(p.read_bytes(), "lxml") for p in (built[0] / "blog/tag").glob("*.html")]
    by_tag = {page.article.h1.get_text(): page.article for page in pages}
    for post in POSTS:
        for tag in post.data["tags"]:
            links = {link["href"] for link in by_tag[f"Posts tagged {tag}"]("a")}
            assert f"../../posts/{post.slug}.html" in links


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="none.html">x</a>', "leads nowhere"),
        ('<a href="#none">x</a>', "no such anchor"),
        ('<a href="other.html#none">x</a>', "no such anchor"),
        ('<img src="dot.png">', "without an alternative text"),
        ('<img src="none.png" alt="x">', "leads nowhere"),
        ('<img src="https://cdn.example.com/dot.png" alt="x">', "another host"),
        ('<script src="//cdn.example.com/x.js"></script>', "another host"),
        ('<link rel="stylesheet" href="https://cdn.example.com/x.css">', "another host"),
        (f'<a href="{URL}none.html">x</a>', "leads nowhere"),
        ("x" * HEAVIEST, "bytes"),
        ("<p>Result:\n| model | HR@10 |\n| - | - |</p>", "a table as raw text: | model | HR@10 |"),
        ("<p>model | HR@10<br>--- | ---</p>", "a table as raw text: | ---"),
    ],
)
def test_the_check_finds(tmp_path, body, problem):
    (tmp_path / "dot.png").write_bytes(b"x")
    (tmp_path / "other.html").write_text("<p id=here>x</p>", encoding="utf-8")
    right = '<a href="other.html#here">x</a><img src="dot.png" alt=""><a href="https://a.org">x</a>'
    page = tmp_path / "page.html"
    page.write_text(right, encoding="utf-8")
    assert check(tmp_path, URL) == []
    page.write_text(right + body, encoding="utf-8")
    (found,) = check(tmp_path, URL)
    assert problem in found
    assert found.startswith("page.html")
