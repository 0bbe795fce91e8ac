"""The metrics of who comes in and what they may: logins, users, certificates, policies, the audit trail.

The methods are what components of security declare as their observers; each is O(1). It decides nothing and
sees no credential: names of mechanisms, sections and outputs are given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rivven.telemetry.registry import Registry


class SecurityMetrics(Registry):
    """Counted on the event loop."""

    def _define_security(self) -> None:
        self._define_logins()
        self._define_users()
        self._define_tls()
        self._define_policies()
        self._define_audit()

    def authenticated(self, mechanism: str) -> None:
        """A client proved who it is."""
        self._authenticated.labelled(mechanism).value += 1

    def authentication_failed(self, mechanism: str) -> None:
        """A client failed to."""
        self._authentication_failed.labelled(mechanism).value += 1

    def keys_fetched(self, issuer: str, ok: bool) -> None:
        """An identity provider's keys were fetched, or could not be."""
        self._key_fetches.labelled(issuer, "success" if ok else "failure").value += 1

    def policies_loaded(self, count: int, now_ms: int) -> None:
        """Other policies came into force."""
        self._policies.set(count)
        self._policies_loaded.set(now_ms / 1000)

    def policy_reload_failed(self) -> None:
        """Changed policies were refused; those from before stay in force."""
        self._policy_failures.value += 1

    def users_file_reloaded(self, taken: bool) -> None:
        """The users file was taken over, or is refused as it is now."""
        self._users_file_refused.set(0 if taken else 1)

    def watch_passwords(
        self, waiting: Callable[[], float], derivations: Callable[[], float], refused: Callable[[], float]
    ) -> None:
        """Where waiting, checked and turned away passwords of PLAIN and Basic are read."""
        self._passwords_waiting.source = waiting
        self._password_derivations.source = derivations
        self._passwords_refused.source = refused

    def shadow_compared(self, outcome: str) -> None:
        """The candidate of `authorization.shadow` was asked what had been decided."""
        self._shadow.labelled(outcome).value += 1

    def shadow_dropped(self) -> None:
        """A decision was not compared, because too many waited."""
        self._shadow_dropped.value += 1

    def tls_section(self, section: str) -> None:
        """A section of the configuration with certificates is in use."""
        for outcome in ("success", "failure"):
            self._tls_reloads.labelled(section, outcome)
        self.tls_refused(section, False)

    def tls_reloaded(self, section: str, ok: bool) -> None:
        """A changed file of TLS was put in force, or refused."""
        self._tls_reloads.labelled(section, "success" if ok else "failure").value += 1

    def tls_refused(self, section: str, refused: bool) -> None:
        """Whether files of TLS are refused as they are now."""
        self._tls_refused.labelled(section).set(1 if refused else 0)

    def watch_chain(self, file: str, days: Callable[[], float] | None) -> None:
        """Where the days until a chain ends are read; None when it is not used any more."""
        if days is None:
            self._chain_days.forget(file)
        else:
            self._chain_days.labelled(file).source = days

    def watch_crl(self, file: str, days: Callable[[], float]) -> None:
        """Where the days until the next revocation list is due are read."""
        self._crl_days.labelled(file).source = days

    def watch_audit(
        self,
        lines: Callable[[], float],
        dropped: Callable[[], float],
        backlog: Callable[[], float],
        sinks: Mapping[str, tuple[Callable[[], float], Callable[[], float], Callable[[], float]]],
    ) -> None:
        """Where the audit trail's totals are read, and of each output failures, missed lines and health."""
        self._audit_lines.source, self._audit_dropped.source = lines, dropped
        self._audit_backlog.source = backlog
        for name, (failures, missed, healthy) in sinks.items():
            self._audit_failures.labelled(name).source = failures
            self._audit_missed.labelled(name).source = missed
            self._audit_healthy.labelled(name).source = healthy

    # --- definitions ----------------------------------------------------------------------------------------

    def _define_logins(self) -> None:
        self._authenticated = self._counter(
            "rivven_authentications_total", "Successful authentications.", ("mechanism",)
        )
        self._authentication_failed = self._counter(
            "rivven_authentication_failures_total", "Failed authentications.", ("mechanism",)
        )
        self._key_fetches = self._counter(
            "rivven_oidc_key_fetches_total",
            "Fetches of identity providers' keys; after failures the last good keys stay in use.",
            ("issuer", "outcome"),
        )

    def _define_users(self) -> None:
        self._users_file_refused = self._gauge(
            "rivven_users_file_refused", "1 while the users file on disk is refused and an older one counts."
        ).labelled()
        self._passwords_waiting = self._gauge(
            "rivven_passwords_waiting", "Passwords of PLAIN and Basic that wait to be checked."
        ).labelled()
        self._password_derivations = self._read_counter(
            "rivven_password_derivations_total", "Key derivations for passwords of PLAIN and Basic."
        )
        self._passwords_refused = self._read_counter(
            "rivven_passwords_refused_total", "Passwords turned away because too many were waiting."
        )

    def _define_tls(self) -> None:
        self._tls_reloads = self._counter(
            "rivven_tls_reloads_total",
            "Changed certificates, keys, authorities and revocation lists: put in force, or refused.",
            ("section", "outcome"),
        )
        self._tls_refused = self._gauge(
            "rivven_tls_refused", "1 while TLS files on disk are refused and older ones count.", ("section",)
        )
        self._chain_days = self._gauge(
            "rivven_tls_expiry_days",
            "Days until the earliest certificate of a file in force ends; negative: since it has.",
            ("file",),
        )
        self._crl_days = self._gauge(
            "rivven_tls_crl_days", "Days until the first revocation list of a file runs out.", ("file",)
        )

    def _define_policies(self) -> None:
        self._policies = self._gauge("rivven_policies", "Cedar policies in force.").labelled()
        self._policies_loaded = self._gauge(
            "rivven_policy_last_success_timestamp_seconds", "When policies last came into force; 0: never."
        ).labelled()
        self._policy_failures = self._counter(
            "rivven_policy_reload_failures_total", "Changed policies that were refused."
        ).labelled()
        self._shadow = self._counter(
            "rivven_shadow_decisions_total",
            "Decisions compared with the candidate's: same, would_deny, would_allow, outdated.",
            ("outcome",),
        )
        self._shadow_dropped = self._counter(
            "rivven_shadow_dropped_total", "Decisions not compared with the candidate's; too many waited."
        ).labelled()

    def _define_audit(self) -> None:
        self._audit_lines = self._total("rivven_audit_lines_total", "Lines of the audit trail.").labelled()
        self._audit_dropped = self._total(
            "rivven_audit_dropped_total", "Audit events counted instead of recorded."
        ).labelled()
        self._audit_backlog = self._gauge(
            "rivven_audit_backlog", "Audit events that a required output has not taken yet."
        ).labelled()
        self._audit_failures = self._total(
            "rivven_audit_output_failures_total", "Failed attempts to write to an audit output.", ("output",)
        )
        self._audit_missed = self._total(
            "rivven_audit_output_missed_total", "Lines an audit output did not get.", ("output",)
        )
        self._audit_healthy = self._gauge(
            "rivven_audit_output_healthy", "Whether an audit output took the last lines.", ("output",)
        )
