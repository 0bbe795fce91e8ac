"""Texts become policies with id, file and line, or are refused with the place and the reason."""

from __future__ import annotations

import pytest

from rivven.security.authz.cedar import book as book_module
from rivven.security.authz.cedar.book import PoliciesRefused, PolicyBook, parse_book
from rivven.security.authz.cedar.policies import load_schema
from rivven.security.authz.cedar.statements import split_statements

FINE = '@id("fine") permit(principal, action == Action::"Read", resource is Topic);\n'


def parse(*texts: str) -> PolicyBook:
    """The policies of files called a.cedar, b.cedar, ..."""
    named = {f"{'abc'[number]}.cedar": text for number, text in enumerate(texts)}
    return parse_book(named, "policies", load_schema())


def refusal(*texts: str) -> str:
    with pytest.raises(PoliciesRefused) as caught:
        parse(*texts)
    return str(caught.value)


def test_policies_know_their_id_file_and_line() -> None:
    later = '\n\n@id("later")\n@why("because")\nforbid(principal == User::"u", action, resource);'
    found = parse(later, FINE)
    assert [(p.id, p.line, p.permits) for p in found.policies.values()] == [
        ("later", 3, False),
        ("fine", 1, True),
    ]
    assert found.policies["fine"].rule == "fine (b.cedar:1)"


def test_what_policies_mention_of_the_context() -> None:
    assert parse(FINE).context == frozenset()
    assert parse(FINE, '@id("x") permit(principal, action, resource) when { context.tls };').context == {
        "tls"
    }
    whole = '@id("x") permit(principal, action, resource) when { {a: context}.a.tls };'
    assert len(parse(whole).context) == 7


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\npermit(principal, action, resource);", "a.cedar:2: needs an @id"),
        ("@id permit(principal, action, resource);", "needs an @id"),
        ('@id("a\\nb") permit(principal, action, resource);', "cannot be an @id"),
        (FINE + FINE, "a.cedar:2: fine: the @id is used twice, first in"),
        ('@id("x") permit(principal, action resource);', "a.cedar:1: unexpected token `resource`"),
        (FINE + "permit(", "a.cedar:2: "),
        ('@id("x") permit(principal == ?principal, action, resource);', "nothing here fills its slots"),
        ('@id("x") permit(principal is Person, action, resource);', "a.cedar:1: x: unrecognized entity type"),
        (
            '\n@id("x") permit(principal, action == Action::"Reed", resource);',
            "a.cedar:2: x: unrecognized action",
        ),
        ('@id("x") permit(principal, action, resource) when { context.moon };', "attribute `moon`"),
        ('@id("x") permit(principal, action, resource) when { context.hour == "3" };', "x: "),
        ('@id("x") permit(principal, action == Action::"Read", resource is Cluster);', "x: "),
    ],
)
def test_what_is_refused(text: str, reason: str) -> None:
    found = refusal(text)
    assert reason in found
    assert "\n" not in found


def test_a_policy_that_only_cedar_finds_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """It could be a forbid: files that are read differently here and there are refused."""
    monkeypatch.setattr(book_module, "split_statements", lambda text: split_statements(text)[:1])
    assert "a.cedar: read as 1 policies here and as 2 by Cedar" in refusal(FINE + FINE.replace("fine", "b"))


def test_every_problem_is_told_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    found = refusal("permit(principal, action, resource);\nforbid;", "permit(")
    assert [place in found for place in ("a.cedar:1", "a.cedar:2", "b.cedar:1")] == [True] * 3
    monkeypatch.setattr(book_module, "PROBLEMS_MAX", 2)
    assert "b.cedar:1" not in refusal("permit(principal, action, resource);\nforbid;", "permit(")


def test_the_number_of_policies_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_module, "POLICIES_MAX", 1)
    assert "policies: more than 1 policies" in refusal(FINE, FINE.replace("fine", "other"))
