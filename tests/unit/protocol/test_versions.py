"""ApiVersions: cached answers, the answer to versions we do not know, software names, features."""

from __future__ import annotations

import pytest

from rivven.protocol import codec, versions
from rivven.protocol import messages as m
from rivven.protocol.api import API_RANGES, ApiKey
from rivven.protocol.versions import ApiVersionsAnswers


def parsed(answers: ApiVersionsAnswers, version: int) -> m.ApiVersionsResponse:
    frame = b"".join(codec.write_response_buffers(ApiKey.API_VERSIONS, version, answers.answer(version), 6))
    assert frame[4:8] == bytes([0, 0, 0, 6]), "the response header is always v0"
    answer: m.ApiVersionsResponse = codec.parse_response(ApiKey.API_VERSIONS, version, frame, 8)
    return answer


@pytest.mark.parametrize("version", range(5))
def test_each_version_lists_every_range(version: int) -> None:
    answer = parsed(ApiVersionsAnswers(API_RANGES), version)
    assert {k.api_key: (k.min_version, k.max_version) for k in answer.api_keys} == API_RANGES
    assert answer.error_code == 0
    # aiokafka stops on an entry whose minimum is above its maximum.
    assert all(k.min_version <= k.max_version for k in answer.api_keys)


def test_an_answer_is_encoded_once() -> None:
    answers = ApiVersionsAnswers(API_RANGES)
    assert answers.answer(3) is answers.answer(3)


def test_an_unknown_version_is_answered_in_the_layout_of_version_0() -> None:
    frame = versions.unsupported_version_frame(bytes([0, 18, 0, 9, 1, 2, 3, 4]) + b"\xff" * 20)
    assert frame[:8] == bytes([0, 0, 0, 16, 1, 2, 3, 4])
    answer = codec.parse_response(ApiKey.API_VERSIONS, 0, frame, 8)
    entry = m.ApiVersionsResponse.ApiVersion(api_key=18, min_version=0, max_version=4)
    assert answer == m.ApiVersionsResponse(error_code=35, api_keys=[entry])


@pytest.mark.parametrize("name", ["librdkafka", "a", "apache-kafka-java", "v1.2.3", "A--.b", "0"])
def test_software_names_that_are_allowed(name: str) -> None:
    assert versions.is_valid_client_software(name, name)


@pytest.mark.parametrize("name", ["", "-a", "a-", ".a", "a.", "a b", "a_b", "ä", "a\n", "a/b"])
def test_software_names_that_are_not(name: str) -> None:
    assert not versions.is_valid_client_software(name, "1.0")
    assert not versions.is_valid_client_software("a", name)


def test_malformed_software_gets_invalid_request_from_version_3() -> None:
    answers = ApiVersionsAnswers(API_RANGES)
    refused = answers.answer_to(3, "", "")
    assert codec.parse_response(ApiKey.API_VERSIONS, 3, refused.body) == m.ApiVersionsResponse(error_code=42)
    assert answers.answer_to(2, "", "") is answers.answer(2)
    assert answers.answer_to(3, "librdkafka", "2.16.1") is answers.answer(3)


def test_features_with_minimum_zero_are_hidden_from_version_3() -> None:
    answers = ApiVersionsAnswers(
        API_RANGES,
        supported_features={"group.version": (0, 1), "metadata.version": (1, 25)},
        finalized_features={"metadata.version": (1, 25)},
        finalized_features_epoch=4,
    )
    assert [f.name for f in parsed(answers, 3).supported_features] == ["metadata.version"]
    answer = parsed(answers, 4)
    assert [(f.name, f.min_version, f.max_version) for f in answer.supported_features] == [
        ("group.version", 0, 1),
        ("metadata.version", 1, 25),
    ]
    (finalized,) = answer.finalized_features
    assert (finalized.min_version_level, finalized.max_version_level) == (1, 25)
    assert answer.finalized_features_epoch == 4
    assert parsed(answers, 2).supported_features == []
