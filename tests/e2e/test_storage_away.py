"""Object storage goes away while large requests are under way: nothing that was accepted or paid for is lost."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from kafka_tools import produce
from object_storage import Bucket
from support import answered, endpoint, eventually, user
from test_kafka_door import Door, job
from test_waiting import parked

# Over 256 KiB, so that it is stored beside the log, as is the answer that repeats it.
LARGE = "ada@example.com " + "lorem ipsum " * 26_000
MASKED = LARGE.replace("ada@example.com", "[EMAIL_ADDRESS_1]")


@pytest.fixture(scope="module")
def bucket():
    return Bucket()


@pytest.fixture(scope="module")
def running(gateway, bucket):
    return gateway(
        [
            endpoint("gated", ["main alpha fault-gate"]),
            endpoint("masked", ["main alpha fault-gate"], guardrails={"output": {"pii": {"action": "mask"}}}),
            endpoint("throttled", ["main alpha away-throttled"]),
        ],
        storage=bucket.config,
    )


def id_of(line):
    return line["id"].removeprefix("batch_req_")


def kept(running, request_id):
    """The text of a request's answer, once it can be fetched."""
    with running.http() as http:
        path = f"/v1/requests/{request_id}"
        document = eventually(lambda: (got := http.get(path)).status_code == 200 and got.json(), "it can be fetched", 60)
    return document["response"]["body"]["choices"][0]["message"]["content"]


@pytest.mark.parametrize(("model", "text"), [("gated", LARGE), ("masked", MASKED)])
def test_a_large_answer_reaches_its_caller(running, bucket, fake_provider, model, text):
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(running.chat, {"model": model, "messages": user(LARGE)})
        eventually(lambda: fake_provider.calls, "the provider is called")
        bucket.take_away()
        try:
            fake_provider.open_gate("fault-gate")
            response = asked.result()
            assert answered(response) == f"echo: {text}"
        finally:
            bucket.bring_back()
    assert kept(running, response.headers["x-request-id"]) == f"echo: {text}"


def test_a_large_answer_of_a_job_is_pointed_at(running, bucket, fake_provider):
    door, one = Door(running), job(LARGE, model="gated")
    produce(running, door.jobs, one)
    eventually(lambda: fake_provider.calls, "the provider is called")
    bucket.take_away()
    try:
        fake_provider.open_gate("fault-gate")
        line = door.answers_to([one["custom_id"]])[one["custom_id"]]
    finally:
        bucket.bring_back()
    request_id = id_of(line)
    assert line["response"]["body"] == {"request_id": request_id, "url": f"/v1/requests/{request_id}"}
    assert kept(running, request_id) == f"echo: {LARGE}"


def test_a_job_whose_body_cannot_be_read_waits(running, bucket, fake_provider):
    fake_provider.fault("429", model="away-throttled", times=1, retry_after=12)
    door, one = Door(running), job(LARGE, model="throttled")
    produce(running, door.jobs, one)
    eventually(lambda: parked(running, one), "it is parked with its body in storage")
    before = len(parked(running, one))
    bucket.take_away()
    try:
        eventually(lambda: len(parked(running, one)) > before + 1, "it waits again, for its body", 180)
        assert len(fake_provider.calls) == 1
    finally:
        bucket.bring_back()
    line = door.answers_to([one["custom_id"]], 120)[one["custom_id"]]
    assert line["error"] is None and kept(running, id_of(line)) == f"echo: {LARGE}"
