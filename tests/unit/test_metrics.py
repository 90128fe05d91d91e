"""Series stay few, whatever a relay invents."""

from worker import metrics
from worker.domain.delivery import DeliveryState
from worker.domain.provider import Provider


def test_codes_that_a_relay_invents_share_one_label():
    # When
    for n in range(500):
        metrics.count_reply(Provider.GMAIL, f"5.{n}.{n}")
    metrics.count_reply(Provider.GMAIL, "5.1.1")
    metrics.count_reply(Provider.GMAIL, None)

    # Then
    labels = {
        sample.labels["enhanced_code"]
        for family in metrics.smtp_replies.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }
    assert {"5.1.1", "other"} <= labels <= metrics.SHOWN_ENHANCED | {"other"}


def test_each_result_counts_once_under_its_state_and_provider():
    # Given
    labels = {"result": "deferred", "provider": "qq"}
    before = metrics.registry.get_sample_value("corranto_delivery_results_total", labels) or 0.0

    # When
    metrics.count_result(DeliveryState.DEFERRED, Provider.QQ)

    # Then
    assert metrics.registry.get_sample_value("corranto_delivery_results_total", labels) == before + 1
