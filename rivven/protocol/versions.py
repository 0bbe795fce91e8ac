"""ApiVersions answers (KIP-35, KIP-511): encoded once per version, and the odd one for versions we do not
know.

A client that asks above our maximum gets error 35 in the layout of version 0, whatever it asked, with the one
range it needs to ask again on the same connection. This module must not decide which APIs are offered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from struct import Struct
from typing import Final

from rivven.protocol.api import API_RANGES, ApiKey
from rivven.protocol.codec import EncodedBody, peek_request_header, write_response
from rivven.protocol.messages import ApiVersionsResponse
from rivven.protocol.primitives import Buffer

UNSUPPORTED_VERSION: Final = 35
INVALID_REQUEST: Final = 42

SOFTWARE_SINCE: Final = 3
"""The first version that names the client's software."""

ZERO_MINIMUM_SINCE: Final = 4
"""Before this version clients fail on a supported feature whose minimum is 0 (KAFKA-17492)."""

_SOFTWARE: Final = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")
_FRAME: Final = Struct(">iihihhh")


def unsupported_version_frame(frame: Buffer) -> bytes:
    """The whole answer to an ApiVersions request of an unknown version; of `frame` only eight bytes are read.

    int32 size | int32 correlation id | int16 35 | int32 1 | int16 18, min, max
    """
    _, _, correlation_id = peek_request_header(frame)
    low, high = API_RANGES[ApiKey.API_VERSIONS]
    return _FRAME.pack(
        _FRAME.size - 4, correlation_id, UNSUPPORTED_VERSION, 1, int(ApiKey.API_VERSIONS), low, high
    )


def is_valid_client_software(name: str, version: str) -> bool:
    """Whether both names are what KIP-511 allows; otherwise the answer is INVALID_REQUEST."""
    return _SOFTWARE.fullmatch(name) is not None and _SOFTWARE.fullmatch(version) is not None


class ApiVersionsAnswers:
    """The answers of one listener, each encoded when first asked for."""

    def __init__(
        self,
        ranges: Mapping[int, tuple[int, int]],
        *,
        supported_features: Mapping[str, tuple[int, int]] | None = None,
        finalized_features: Mapping[str, tuple[int, int]] | None = None,
        finalized_features_epoch: int = -1,
    ) -> None:
        """`ranges`: API key -> (lowest, highest version). Features: name -> (lowest, highest level)."""
        self._ranges = dict(sorted(ranges.items()))
        self._supported = dict(supported_features or {})
        self._finalized = dict(finalized_features or {})
        self._epoch = finalized_features_epoch
        self._encoded: dict[tuple[int, int], EncodedBody] = {}

    def answer(self, version: int, error_code: int = 0) -> EncodedBody:
        """The body for a version we know; with an error it lists nothing."""
        found = self._encoded.get((version, error_code))
        if found is None:
            body = write_response(ApiKey.API_VERSIONS, version, self._response(version, error_code))
            found = self._encoded[version, error_code] = EncodedBody(body)
        return found

    def answer_to(self, version: int, software_name: str, software_version: str) -> EncodedBody:
        """The answer to a request: INVALID_REQUEST when the client's software names are malformed."""
        if version >= SOFTWARE_SINCE and not is_valid_client_software(software_name, software_version):
            return self.answer(version, INVALID_REQUEST)
        return self.answer(version)

    def _response(self, version: int, error_code: int) -> ApiVersionsResponse:
        if error_code:
            return ApiVersionsResponse(error_code=error_code)
        supported = {
            name: span
            for name, span in self._supported.items()
            if span[0] > 0 or version >= ZERO_MINIMUM_SINCE
        }
        return ApiVersionsResponse(
            api_keys=[
                ApiVersionsResponse.ApiVersion(api_key=key, min_version=low, max_version=high)
                for key, (low, high) in self._ranges.items()
            ],
            supported_features=[
                ApiVersionsResponse.SupportedFeatureKey(name=name, min_version=low, max_version=high)
                for name, (low, high) in supported.items()
            ],
            finalized_features_epoch=self._epoch,
            finalized_features=[
                ApiVersionsResponse.FinalizedFeatureKey(
                    name=name, min_version_level=low, max_version_level=high
                )
                for name, (low, high) in self._finalized.items()
            ],
        )
