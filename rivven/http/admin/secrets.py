"""The route that makes secrets of the broker anew, with encryption on or off; it shows none of them."""

from __future__ import annotations

from pydantic import BaseModel, Field

from rivven.http.admin.routes import Call, Permission, Route
from rivven.security.keys.secrets import RotatedSecret, SecretService
from rivven.types import Operation


class RotatedSecretInfo(BaseModel):
    """A secret that was made anew, in effect now."""

    name: str
    key_id: str = Field(description="Of token-hash: tells its keys apart; empty otherwise.")
    kept: int = Field(description="Of token-hash: older keys that still count.")


def routes(service: SecretService) -> list[Route]:
    """The rows of this module."""

    async def rotate(call: Call) -> RotatedSecretInfo:
        made: RotatedSecret = await service.rotate(call.path["name"])
        return RotatedSecretInfo(name=made.name, key_id=made.key_id, kept=made.kept)

    return [
        Route(
            "POST",
            "/v1/keys/secrets/{name}/rotate",
            Permission(Operation.ALTER),
            rotate,
            "Make token-hash or scram-decoy anew, in effect at once",
            RotatedSecretInfo,
            status=201,
            audited="key_change",
            target="secret:{name}",
            facts=lambda _call: {"operation": "rotate"},
        )
    ]
