"""Building listeners: sockets bound, TLS contexts made, SASL conversations wired, addresses advertised."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from rivven.api.authentication import CertificateIdentities
from rivven.api.dispatch import Dispatch
from rivven.api.memory import MemoryBudget
from rivven.api.session import ListenerInfo
from rivven.app.failures import address_failure
from rivven.app.tls_material import TlsMaterial
from rivven.clock import Clock
from rivven.config.listeners import ListenerConfig
from rivven.config.models import Config
from rivven.security.admission import Admission
from rivven.security.arrivals import Arrivals
from rivven.security.authn.authenticator import AuthContext, AuthenticatorSource, Credentials
from rivven.security.authn.sasl import SaslExchange
from rivven.security.sessions import Sessions
from rivven.server.listener import ConnectionLimits, Listener, bind_sockets
from rivven.telemetry import Metrics

if TYPE_CHECKING:  # with the crypto library, which only listeners that ask for certificates need
    from rivven.security.tls_trust import ClientTrust


class Network:
    """The listeners of one broker, from binding to draining."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._bound: list[tuple[ListenerConfig, list[socket.socket]]] = []
        self.listeners: list[Listener] = []

    def bind(self) -> None:
        """Bind every address early: a taken port is told before any work. Raises StartFailed."""
        for listener in self._config.listeners:
            try:
                self._bound.append((listener, bind_sockets(listener.bind)))
            except OSError as error:
                self.close()
                raise address_failure(listener.name, listener.bind, error) from None

    def open(
        self,
        *,
        dispatch: Dispatch,
        arrivals: Callable[[ListenerConfig], Arrivals],
        admission: Admission,
        source: AuthenticatorSource,
        credentials: Credentials,
        sessions: Sessions,
        tls: TlsMaterial,
        certificates: Callable[[Callable[[], ClientTrust]], CertificateIdentities] | None,
        request_budget: MemoryBudget,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        """Start to accept on every bound address. Raises StartFailed for unusable certificates."""
        config = self._config
        limits = ConnectionLimits(
            frame_bytes_max=whole(config, "socket.request.max.bytes"),
            frame_bytes_max_unauthenticated=whole(config, "sasl.server.max.receive.size"),
            requests_in_flight_max=config.limits.requests_in_flight_per_connection,
            idle_timeout_s=config.limits.idle_timeout_secs,
        )
        max_reauth_ms = whole(config, "connections.max.reauth.ms")
        for settings, sockets in self._bound:
            info = _info(settings, sockets)
            section = tls.of_listener(settings)
            listener = Listener(
                info,
                sockets,
                tls_context=section.context if section is not None else None,
                new_exchange=_new_exchange(settings, source, credentials, max_reauth_ms),
                sessions=sessions,
                certificates=certificates(section.trust)
                if certificates is not None and section is not None and section.asks
                else None,
                dispatch=dispatch,
                arrivals=arrivals(settings),
                admission=admission,
                limits=limits,
                request_budget=request_budget,
                clock=clock,
                observer=metrics,
            )
            self.listeners.append(listener)
        self._bound = []
        for listener in self.listeners:
            listener.start()

    def bound_port(self) -> int:
        """The port of the first address, known before anything accepts."""
        port: int = self._bound[0][1][0].getsockname()[1]
        return port

    def addresses(self) -> dict[str, str]:
        """The real address of each listener by name, as ``host:port``."""
        found = {}
        for listener in self.listeners:
            host, port = listener.addresses[0]
            found[listener.info.name] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return found

    def close(self) -> None:
        """Give back addresses that were bound but never opened."""
        for _, sockets in self._bound:
            for sock in sockets:
                sock.close()
        self._bound = []


def whole(config: Config, name: str) -> int:
    """A broker setting that is a number."""
    value = config.broker[name]
    assert isinstance(value, int)
    return value


def _info(settings: ListenerConfig, sockets: list[socket.socket]) -> ListenerInfo:
    advertised = settings.advertised_address
    port = advertised.port or sockets[0].getsockname()[1]
    return ListenerInfo(
        name=settings.name,
        tls=settings.uses_tls,
        sasl=settings.uses_sasl,
        advertised_host=advertised.host,
        advertised_port=port,
    )


def asks_for_certificates(config: Config, settings: ListenerConfig) -> bool:
    """Whether clients of this listener may or must show a certificate."""
    tls = config.tls_of(settings)
    return tls is not None and tls.client_auth != "none"


def _new_exchange(
    settings: ListenerConfig, source: AuthenticatorSource, credentials: Credentials, max_reauth_ms: int
) -> Callable[[str], SaslExchange] | None:
    if not settings.uses_sasl:
        return None

    def new_exchange(host: str) -> SaslExchange:
        context = AuthContext(listener=settings.name, host=host, tls=settings.uses_tls)
        return SaslExchange(
            settings.sasl, source, context, credentials, os.urandom, max_reauth_ms=max_reauth_ms
        )

    return new_exchange
