"""Our ACL authorizer gives the answers of Kafka's own, written down in acl_answers.txt."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rivven.security.authz.acl import AclAuthorizer
from rivven.security.authz.authorizer import Action, Subject
from rivven.security.authz.chain import AuthorizerChain
from rivven.types import AclBinding, Operation, PatternType, Permission, Principal, ResourceType


@dataclass
class Case:
    name: str
    rules: list[AclBinding] = field(default_factory=list)
    super_users: list[str] = field(default_factory=list)
    allow_everyone: bool = False
    questions: list[str] = field(default_factory=list)


def _cases() -> list[Case]:
    cases: list[Case] = []
    for line in (Path(__file__).parent / "acl_answers.txt").read_text().splitlines():
        word, _, rest = line.partition(" ")
        if not word or word.startswith("#"):
            continue
        if word == "case":
            cases.append(Case(rest))
        elif word == "option" and rest == "allow_everyone":
            cases[-1].allow_everyone = True
        elif word == "option" and rest.startswith("super_users="):
            cases[-1].super_users.append(rest.removeprefix("super_users="))
        elif word == "rule":
            permission, operation, kind, pattern, name, principal, host = rest.split(" ")
            cases[-1].rules.append(
                AclBinding(
                    ResourceType[kind],
                    name,
                    PatternType[pattern.upper()],
                    principal,
                    host,
                    Operation[operation],
                    Permission[permission],
                )
            )
        elif word in ("ask", "any"):
            cases[-1].questions.append(line)
        else:
            raise ValueError(f"cannot read {line!r}")
    return cases


def _answer(authorizer: AuthorizerChain, question: str) -> str:
    word, *words = question.split(" ")
    host, principal = words.pop(), words.pop()
    operation, kind = Operation[words[0]], ResourceType[words[1]]
    subject = Subject(Principal.parse(principal), host, "main")
    if word == "any":
        decision = authorizer.authorize_any(subject, operation, kind)
    else:
        (decision,) = authorizer.authorize(subject, [Action(operation, kind, words[2])])
    return "ALLOWED" if decision.allowed else "DENIED"


CASES = _cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("turned", [False, True], ids=["as written", "rules reversed"])
def test_answers_are_kafkas(case: Case, turned: bool) -> None:
    rules = case.rules[::-1] if turned else case.rules
    engine = AclAuthorizer(lambda: (1, rules), allow_everyone_if_no_acl_found=case.allow_everyone)
    authorizer = AuthorizerChain({"acl": engine}, case.super_users)
    assert case.questions
    for line in case.questions * 2:  # the second time from the cache
        question, _, expected = line.partition(" -> ")
        assert expected in ("ALLOWED", "DENIED")
        assert _answer(authorizer, question) == expected, question


def test_the_table_is_not_empty() -> None:
    assert len(CASES) >= 40
    assert sum(len(case.questions) for case in CASES) >= 120
