"""Statements are cut where Cedar ends them, and know their lines."""

from hypothesis import given
from hypothesis import strategies as st

from rivven.security.authz.cedar.statements import Statement, split_statements


def test_statements_and_their_lines() -> None:
    text = '// first; not a policy\n@id("a")\npermit(a);\n\n  forbid(b); permit(c);\n'
    assert split_statements(text) == [
        Statement('@id("a")\npermit(a);', 2),
        Statement("forbid(b);", 5),
        Statement("permit(c);", 5),
    ]


def test_semicolons_in_strings_and_comments_end_nothing() -> None:
    text = 'permit(a) when { x == ";\\";//" // ; "\n && y == "\\\\" / z };forbid(b);'
    assert [s.text[:6] for s in split_statements(text)] == ["permit", "forbid"]


def test_a_carriage_return_ends_a_comment_as_it_does_for_cedar() -> None:
    """Otherwise a comment of an old Mac's editor would swallow a forbid."""
    text = "// first\rforbid(a);\r\n// second\r\npermit(b);"
    assert split_statements(text) == [Statement("forbid(a);", 2), Statement("permit(b);", 4)]


def test_what_is_not_ended_is_left_for_the_parser() -> None:
    assert split_statements('permit(a); forbid(b) "; ')[1] == Statement('forbid(b) "; ', 1)
    assert split_statements(" // nothing\n") == []


@given(st.lists(st.sampled_from(["permit(a)", '"x;y"', "// c;\n", "\n", " ", "/", ";", '"']), max_size=12))
def test_statements_taken_one_by_one_are_the_same(parts: list[str]) -> None:
    for statement in split_statements("".join(parts)):
        (alone,) = split_statements(statement.text)
        assert alone.text == statement.text
