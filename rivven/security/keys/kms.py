"""The provider `kms`: KEKs in AWS KMS, wrapping by `Encrypt` and `Decrypt` with an encryption context.

A driver; needs the extra `aws`. A KEK is a KMS key, and its id the key's own ARN, never an alias: an alias
may be pointed elsewhere and then says nothing about what wrapped a blob. The service's own yearly rotation
happens behind one ARN and cannot be seen here. Errors name operation, key and the service's error code,
never its message, which may quote a request.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from typing import Any, Final

from botocore import xform_name
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
)

from rivven.clock import Clock, SystemClock
from rivven.config.storage import EncryptionConfig, KmsConfig
from rivven.security.keys.kms_session import ARN, client_config, open_session, region_of
from rivven.security.keys.provider import (
    BLOB_BYTES_MAX,
    KEY_ID_CHARACTERS_MAX,
    PLAIN_BYTES_MAX,
    Destruction,
    KekInfo,
    KekState,
    KeyGone,
    KeyMismatch,
    KeyProviderError,
    KeyRefused,
    ProviderUnavailable,
    WrappedKey,
)

REGIONS_MAX: Final = 16
"""Clients kept: keys of one key store live in one region, or in two while an operator moves."""
ALIAS_SETTLE_SECONDS: Final = 600.0
"""How long this process goes by its own memory of an alias it has moved: the service tells of it with delay
(it promises "within seconds" for most, not all)."""
HISTORY_MAX: Final = 256
"""Older keys looked for behind an alias: 60 years at 90 days each."""

_ALIAS: Final = "alias/"
_FOLLOWS: Final = re.compile(r"follows (arn:[\w-]+:kms:[\w-]+:\d{12}:key/[\w-]+)$")
"""At the end of a made key's description: the key before it. KMS keeps no history of aliases."""

_MISMATCHES: Final = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
_GONE: Final = frozenset({"NotFoundException"})
_OVERLOADED: Final = frozenset(
    {
        "ThrottlingException",
        "Throttling",
        "RequestLimitExceeded",
        "LimitExceededException",
        "DependencyTimeoutException",
        "KMSInternalException",
        "KeyUnavailableException",
        "InternalFailure",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "RequestTimeout",
        "RequestTimeoutException",
    }
)
_HINTS: Final = {
    "AccessDeniedException": "the credentials may not do that",
    "AccessDenied": "the credentials may not do that",
    "DisabledException": "the key is disabled",
    "KMSInvalidStateException": "the key is disabled or waits for its deletion",
    "ExpiredTokenException": "the credentials have expired",
    "UnrecognizedClientException": "the credentials are not known",
    "InvalidClientTokenId": "the credentials are not known",
    "InvalidSignatureException": "the secret access key is wrong, or the clock",
}
_STATES: Final[dict[str, KekState]] = {
    "Enabled": "enabled",
    "PendingDeletion": "pending-destruction",
    "PendingReplicaDeletion": "pending-destruction",
}

_log = logging.getLogger("rivven.keys.kms")


class KmsProvider:
    """A `KeyProvider` and its lifecycle over AWS KMS. Safe to use from several threads."""

    name = "kms"

    def __init__(self, config: KmsConfig, clock: Clock | None = None) -> None:
        """Opens nothing yet: credentials and region are looked for at the first call."""
        assert config.key_id is not None, "the configuration was checked"
        self._config = config
        self._key = config.key_id
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._session: Any = None
        self._clients: dict[str, Any] = {}
        self._moved: dict[str, tuple[str, float]] = {}
        # These libraries write whole requests at level DEBUG, plain keys included.
        for library in ("boto3", "botocore", "urllib3"):
            quiet = logging.getLogger(library)
            quiet.setLevel(max(quiet.level, logging.INFO))

    # -- wrapping --------------------------------------------------------------------------------------------

    def current_id(self, key: str) -> str:
        return self._arn(self._metadata(self._target(key)))

    def wrap(self, key: str, plain: bytes, context: Mapping[str, str]) -> WrappedKey:
        if len(plain) > PLAIN_BYTES_MAX:
            raise KeyRefused(f"{len(plain)} bytes are more than a provider wraps")
        target = self._target(key)
        answer = self._call("Encrypt", target, Plaintext=plain, EncryptionContext=dict(context))
        blob = answer.get("CiphertextBlob")
        if not isinstance(blob, bytes) or not 0 < len(blob) <= BLOB_BYTES_MAX:
            raise ProviderUnavailable(f"Encrypt with {target}: an answer without a usable blob")
        return WrappedKey(self.name, self._arn(answer), blob)

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        if wrapped.provider != self.name:
            raise KeyRefused(f"the key was wrapped by {wrapped.provider}, not by kms")
        if not wrapped.blob:
            raise KeyMismatch(f"what {wrapped.key_id} is said to have wrapped is empty")
        answer = self._call(
            "Decrypt", wrapped.key_id, CiphertextBlob=wrapped.blob, EncryptionContext=dict(context)
        )
        if answer.get("KeyId") != wrapped.key_id:
            self._metadata(wrapped.key_id)  # KeyGone, if it is that
            raise KeyMismatch(f"{wrapped.key_id} did not wrap this, another key did")
        plain = answer.get("Plaintext")
        if not isinstance(plain, bytes) or not 0 < len(plain) <= PLAIN_BYTES_MAX:
            raise ProviderUnavailable(f"Decrypt with {wrapped.key_id}: an answer without a usable key")
        return plain

    # -- lifecycle -------------------------------------------------------------------------------------------

    def rotate(self, key: str) -> str:
        """Make a new key like the current one and point the alias at it: from then on `wrap` uses it.

        Only an alias can be moved. A crash between the two leaves a key nobody uses, never two current ones.
        """
        name = key or self._key
        alias = _alias_of(name)
        if alias is None:
            raise KeyRefused(
                f"{name} is a key, not an alias, so it cannot be replaced under its name: create an "
                "alias for it and set storage.encryption.kms.key_id to alias/NAME"
            )
        old = self._metadata(self._target(key))
        old_arn = self._arn(old)
        if old.get("Origin", "AWS_KMS") != "AWS_KMS":
            raise KeyRefused(f"{old_arn} has key material from elsewhere: create the new key there")
        policy = self._call("GetKeyPolicy", old_arn, bare=True, PolicyName="default")["Policy"]
        made = self._call(
            "CreateKey",
            old_arn,
            named=False,
            Policy=policy,
            MultiRegion=bool(old.get("MultiRegion", False)),
            Description=f"Rivven key encryption key of {alias}, follows {old_arn}",
        )
        new_arn = self._arn(made["KeyMetadata"])
        self._call("UpdateAlias", old_arn, named=False, AliasName=alias, TargetKeyId=_bare(new_arn))
        with self._lock:
            self._moved[name] = (new_arn, self._clock.monotonic() + ALIAS_SETTLE_SECONDS)
        _log.info("%s is %s from now on, it was %s", alias, new_arn, old_arn)
        return new_arn

    def destroy(self, key_id: str) -> Destruction:
        """Schedule the deletion, which the service carries out after `deletion_days`; until then it can be
        undone. Once it is carried out the answer is KeyGone."""
        current = self._reference()
        if key_id == current:
            raise KeyRefused(f"{key_id} is the current key: rotate first")
        self._check_ours(key_id, current)
        metadata = self._metadata(key_id)
        if _state(metadata) == "pending-destruction":
            return Destruction(False, _ms(metadata.get("DeletionDate")))
        pointing = self._call("ListAliases", key_id).get("Aliases", [])
        if pointing:
            raise KeyRefused(f"{key_id} is what {pointing[0].get('AliasName')} points at")
        answer = self._call(
            "ScheduleKeyDeletion", key_id, bare=True, PendingWindowInDays=self._config.deletion_days
        )
        return Destruction(False, _ms(answer.get("DeletionDate")))

    def state(self, key_id: str) -> KekState:
        """A key the service does not know any more was destroyed, if it is one the service would know."""
        self._check_ours(key_id, self._reference())
        try:
            return _state(self._metadata(key_id))
        except KeyGone:
            return "destroyed"

    def describe(self, key: str) -> list[KekInfo]:
        """The current key and those it followed, as far as `rotate` made them."""
        current = self._metadata(self._target(key))
        found = [_info(self._arn(current), current, current=True)]
        description = str(current.get("Description", ""))
        while len(found) < HISTORY_MAX and (before := _FOLLOWS.search(description)) is not None:
            try:
                metadata = self._metadata(before[1])
            except KeyGone:
                found.append(KekInfo(before[1], None, "destroyed", current=False))
                break  # what came before it was destroyed with its description, or long before it
            found.append(_info(before[1], metadata, current=False))
            description = str(metadata.get("Description", ""))
        return found[::-1]

    def close(self) -> None:
        with self._lock:
            clients, self._clients, self._session = list(self._clients.values()), {}, None
        for client in clients:
            client.close()

    # -- keys ------------------------------------------------------------------------------------------------

    def _target(self, key: str) -> str:
        """What to name in a request: an alias this process has just moved is where it was moved to."""
        name = key or self._key
        with self._lock:
            moved = self._moved.get(name)
            if moved is None:
                return name
            arn, until = moved
            if self._clock.monotonic() >= until:
                del self._moved[name]
                return name
        return arn

    def _metadata(self, key_id: str) -> dict[str, Any]:
        metadata = self._call("DescribeKey", key_id).get("KeyMetadata")
        if not isinstance(metadata, dict):
            raise ProviderUnavailable(f"DescribeKey of {key_id}: an answer without a key")
        return metadata

    def _arn(self, answer: Mapping[str, Any]) -> str:
        """The key's ARN in an answer; anything else could not be told from another key later."""
        arn = answer.get("Arn", answer.get("KeyId"))
        if not isinstance(arn, str) or len(arn) > KEY_ID_CHARACTERS_MAX or ARN.match(arn) is None:
            raise ProviderUnavailable("the service does not answer with the ARN of a key")
        return arn

    def _reference(self) -> str:
        """The default key, beside which another can be said to be gone. Raises KeyProviderError, but not
        KeyGone: that this one is gone is no word about another."""
        try:
            return self.current_id("")
        except KeyGone as error:
            raise KeyRefused(str(error)) from None

    def _check_ours(self, key_id: str, current: str) -> None:
        """Refuse keys an answer "not found" would prove nothing about. `current` is one that is found."""
        ours, other = ARN.match(current), ARN.match(key_id)
        if ours is None or other is None:
            raise KeyRefused(f"{key_id} is not the ARN of a key")
        elsewhere = self._config.endpoint_url is not None and other["region"] != ours["region"]
        if other["account"] != ours["account"] or elsewhere:
            raise KeyRefused(f"{key_id} belongs to another account or region than {current}")

    # -- calls -----------------------------------------------------------------------------------------------

    def _call(
        self, operation: str, key_id: str, *, named: bool = True, bare: bool = False, **parameters: Any
    ) -> dict[str, Any]:
        """One call about a key; raises KeyProviderError.

        `named`: the key is a parameter of the operation; `bare`: by its id without the ARN around it.
        """
        if named:
            parameters["KeyId"] = _bare(key_id) if bare else key_id
        try:
            client = self._client(key_id)
            answer: dict[str, Any] = getattr(client, xform_name(operation))(**parameters)
        except ClientError as error:
            raise _refusal(key_id, error) from None
        except NoRegionError:
            raise KeyRefused("no region: set storage.encryption.kms.region") from None
        except NoCredentialsError:
            self.close()  # a client keeps that there were none, and an instance may still get them
            raise ProviderUnavailable(f"{operation} with {key_id}: no credentials were found") from None
        except ParamValidationError:
            raise KeyRefused(f"{operation} with {key_id}: not a valid request") from None
        except BotoCoreError as error:  # time-outs, connections, credentials that cannot be had
            raise ProviderUnavailable(f"{operation} with {key_id}: {type(error).__name__}") from None
        return answer

    def _client(self, key_id: str) -> Any:
        """The client of the key's region, where its ARN names one and no address is configured."""
        arn = ARN.match(key_id)
        region = (arn["region"] if arn and self._config.endpoint_url is None else "") or ""
        with self._lock:
            if self._session is None:
                self._session = open_session(self._config)
            client = self._clients.get(region)
            if client is None:
                if len(self._clients) >= REGIONS_MAX:
                    raise KeyRefused(f"keys in more than {REGIONS_MAX} regions")
                authorities = self._config.ca_path
                if authorities is not None and not authorities.is_file():
                    raise KeyRefused(f"storage.encryption.kms.ca_path: {authorities}: there is no such file")
                client = self._clients[region] = self._session.client(
                    "kms",
                    region_name=region or self._config.region or region_of(self._key),
                    endpoint_url=self._config.endpoint_url,
                    verify=str(authorities) if authorities is not None else None,
                    config=client_config(self._config),
                )
        return client


def open_kms(config: EncryptionConfig) -> KmsProvider:
    """The factory of `key_source: kms`. Opens nothing yet."""
    return KmsProvider(config.kms)


def _refusal(key_id: str, error: ClientError) -> KeyProviderError:
    """What a refusal means to us; the operation may also be that of the token service (AssumeRole)."""
    code = str(error.response.get("Error", {}).get("Code", "unknown"))[:64]
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    text = f"{error.operation_name} with {key_id}: {code}"
    if code in _MISMATCHES:
        return KeyMismatch(f"{text}: what was wrapped does not open for this use")
    if code in _GONE:
        return KeyGone(f"{text}: there is no such key")
    if code in _OVERLOADED or status >= 500 or status == 429:
        return ProviderUnavailable(text)
    return KeyRefused(f"{text}: {_HINTS[code]}" if code in _HINTS else text)


def _alias_of(name: str) -> str | None:
    """``alias/NAME`` of an alias or an alias ARN; None for a key."""
    arn = ARN.match(name)
    resource = arn["resource"] if arn is not None else name
    return resource if resource.startswith(_ALIAS) else None


def _bare(key_id: str) -> str:
    """The key's id without the ARN around it, for operations within the own account."""
    return key_id.rpartition(":key/")[2]


def _state(metadata: Mapping[str, Any]) -> KekState:
    return _STATES.get(str(metadata.get("KeyState", "")), "disabled")


def _info(arn: str, metadata: Mapping[str, Any], *, current: bool) -> KekInfo:
    return KekInfo(arn, _ms(metadata.get("CreationDate")), _state(metadata), current)


def _ms(moment: Any) -> int | None:
    """Milliseconds since 1970 of a date the SDK has parsed."""
    return int(moment.timestamp() * 1000) if moment is not None else None
