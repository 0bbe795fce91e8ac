"""Instruments and the broker's metrics object."""

from __future__ import annotations

from functools import partial

import pytest

from rivven.telemetry.instruments import LABEL_VALUES_MAX, Counter, Family, Gauge, Histogram
from rivven.telemetry.metrics import Metrics
from rivven.telemetry.storage_metrics import COMPACTION_TOTALS, KEK_STATES


def values(metrics: Metrics, name: str) -> dict[tuple[str, ...], object]:
    family = next(family for family in metrics.families() if family.name == name)
    return {
        labels: child.count if isinstance(child, Histogram) else child.value
        for labels, child in family.children()
    }


def test_a_histogram_counts_into_the_first_bucket_that_holds_the_value() -> None:
    histogram = Histogram((1, 2, 5))
    for value in (0.5, 1, 1.5, 5, 6):
        histogram.observe(value)
    assert histogram.counts == [2, 1, 1, 1]
    assert histogram.count == 5
    assert histogram.total == 14.0


def test_quantiles_are_upper_bounds() -> None:
    histogram = Histogram((1, 2, 5))
    assert histogram.quantile(0.5) == 0.0
    for value in [0.5] * 98 + [1.5, 9]:
        histogram.observe(value)
    assert histogram.quantile(0.5) == 1
    assert histogram.quantile(0.99) == 2
    assert histogram.quantile(0.999) == float("inf")


def test_gauges_are_set_or_read_from_their_source() -> None:
    gauge = Gauge()
    gauge.set(3)
    gauge.add(-1)
    assert gauge.value == 2
    gauge.source = lambda: 7.0
    assert gauge.value == 7


def test_a_family_is_bounded_and_checks_its_labels() -> None:
    family = Family("x_total", "X.", "counter", Counter, ("a",))
    with pytest.raises(ValueError, match="labels"):
        family.labelled("1", "2")
    for number in range(LABEL_VALUES_MAX):
        family.labelled(str(number))
    assert family.labelled("5") is family.labelled("5")
    with pytest.raises(ValueError, match="more than"):
        family.labelled("one more")


def test_what_components_report_ends_up_under_its_name() -> None:
    metrics = Metrics({0: "Produce"})
    metrics.connection_opened("dev")
    metrics.connection_opened("dev")
    metrics.connection_closed("dev")
    metrics.connection_refused("dev")
    metrics.received(10)
    metrics.sent(20)
    metrics.answered(0, 0.001)
    metrics.answered(99, 0.001)
    metrics.answered(98, 0.001)
    metrics.denied(0)
    metrics.failed(0)
    metrics.authenticated("SCRAM-SHA-256")
    metrics.authentication_failed("SCRAM-SHA-256")
    metrics.keys_counted({"enabled": 2}, topic_keys=3, older_topic_keys=1, newest_percent=75.0)
    metrics.watch_key_work(lambda: 5, lambda: 6, lambda: True, lambda: False, lambda: 3, lambda: 2)
    metrics.watch_keys({("wrap", "ok"): lambda: 7}, lambda: 8, lambda: 9)
    metrics.commit_round(3, 0.002)
    metrics.produced(5, 500)
    metrics.fetched(600)
    metrics.recovery_cut(7)
    metrics.watch_compaction({name: partial(float, value) for value, name in enumerate(COMPACTION_TOTALS)})
    metrics.watch_memory(lambda: 1.0, lambda: 2.0)
    metrics.watch_log(lambda: 3.0, lambda: 4.0, lambda: 5.0, lambda: 6.0)
    metrics.tls_section("server.tls")
    metrics.tls_reloaded("server.tls", True)
    metrics.tls_refused("server.tls", True)
    metrics.watch_chain("server.tls.cert_path", lambda: 15.0)
    metrics.watch_crl("server.tls.crl_path", lambda: 16.0)
    metrics.users_file_reloaded(False)
    metrics.watch_passwords(lambda: 7.0, lambda: 8.0, lambda: 9.0)
    output = (lambda: 13.0, lambda: 14.0, lambda: 1.0)
    metrics.watch_audit(lambda: 10.0, lambda: 11.0, lambda: 12.0, {"file": output})
    metrics.keys_fetched("https://id.example", True)
    metrics.throttled("producer_byte_rate", 0.5)
    metrics.throttled("producer_byte_rate", 1.0)
    metrics.policies_loaded(4, 2000)
    metrics.policy_reload_failed()
    metrics.shadow_compared("same")
    metrics.shadow_dropped()
    expected: dict[str, dict[tuple[str, ...], float]] = {
        "rivven_oidc_key_fetches_total": {("https://id.example", "success"): 1},
        "rivven_requests_throttled_total": {("producer_byte_rate",): 2},
        "rivven_throttled_seconds_total": {("producer_byte_rate",): 1.5},
        "rivven_policies": {(): 4},
        "rivven_policy_last_success_timestamp_seconds": {(): 2},
        "rivven_policy_reload_failures_total": {(): 1},
        "rivven_shadow_decisions_total": {("same",): 1},
        "rivven_shadow_dropped_total": {(): 1},
        "rivven_audit_lines_total": {(): 10},
        "rivven_audit_dropped_total": {(): 11},
        "rivven_audit_backlog": {(): 12},
        "rivven_audit_output_failures_total": {("file",): 13},
        "rivven_audit_output_missed_total": {("file",): 14},
        "rivven_audit_output_healthy": {("file",): 1},
        "rivven_tls_reloads_total": {("server.tls", "success"): 1, ("server.tls", "failure"): 0},
        "rivven_tls_refused": {("server.tls",): 1},
        "rivven_tls_expiry_days": {("server.tls.cert_path",): 15},
        "rivven_tls_crl_days": {("server.tls.crl_path",): 16},
        "rivven_users_file_refused": {(): 1},
        "rivven_passwords_waiting": {(): 7},
        "rivven_password_derivations_total": {(): 8},
        "rivven_passwords_refused_total": {(): 9},
        "rivven_keks": {(state,): 2 if state == "enabled" else 0 for state in KEK_STATES},
        "rivven_topic_keys": {(): 3},
        "rivven_topic_keys_older": {(): 1},
        "rivven_keys_newest_percent": {(): 75.0},
        "rivven_reencryption_done_bytes": {(): 5},
        "rivven_reencryption_left_bytes": {(): 6},
        "rivven_erasures_running": {(): 1},
        "rivven_erasures_waiting": {(): 0},
        "rivven_erasures_pending": {(): 3},
        "rivven_erasures_called_off": {(): 2},
        "rivven_key_provider_calls_total": {("wrap", "ok"): 7},
        "rivven_topics_without_keys": {(): 8},
        "rivven_data_keys": {(): 9},
        "rivven_connections": {("dev",): 1},
        "rivven_connections_accepted_total": {("dev",): 2},
        "rivven_connections_refused_total": {("dev",): 1},
        "rivven_received_bytes_total": {(): 10},
        "rivven_sent_bytes_total": {(): 20},
        "rivven_request_seconds": {("Produce",): 1, ("other",): 2},
        "rivven_requests_denied_total": {("Produce",): 1},
        "rivven_requests_failed_total": {("Produce",): 1},
        "rivven_authentications_total": {("SCRAM-SHA-256",): 1},
        "rivven_authentication_failures_total": {("SCRAM-SHA-256",): 1},
        "rivven_commit_seconds": {(): 1},
        "rivven_commit_files": {(): 1},
        "rivven_produced_records_total": {(): 5},
        "rivven_produced_bytes_total": {(): 500},
        "rivven_fetched_bytes_total": {(): 600},
        "rivven_recovery_cuts_total": {(): 1},
        "rivven_recovery_cut_bytes_total": {(): 7},
        **{name: {(): value} for value, (name, _) in enumerate(COMPACTION_TOTALS.values())},
        "rivven_request_memory_bytes": {(): 1},
        "rivven_response_memory_bytes": {(): 2},
        "rivven_partitions": {(): 3},
        "rivven_partitions_offline": {(): 4},
        "rivven_log_bytes": {(): 5},
        "rivven_disk_free_bytes": {(): 6},
    }
    assert {name: values(metrics, name) for name in expected} == expected
    loop = {
        "rivven_loop_stall_seconds",
        "rivven_loop_stall_p999_seconds",
        "rivven_loop_stall_max_seconds",
        "rivven_loop_stall_cause_seconds",
    }
    assert {family.name for family in metrics.families()} == set(expected) | loop


def test_two_brokers_do_not_share_anything() -> None:
    first, second = Metrics(), Metrics()
    first.received(1)
    assert values(second, "rivven_received_bytes_total") == {(): 0}
