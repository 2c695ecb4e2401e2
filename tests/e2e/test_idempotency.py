"""A key used twice is one request: one call, one row, one answer; whoever repeats it, wherever, whatever died."""

import asyncio
import json
import os
import resource
import signal
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from kafka_tools import produce, produce_all, read
from ledger import ledger_of
from support import OTHER_KEY, SEARCH_KEY, endpoint, eventually, text_of_stream, user


def endpoints():
    return [
        endpoint("chat", ["main alpha fake-large"]),
        endpoint("other", ["main alpha fake-large"]),
        endpoint("gated", ["main alpha fault-gate"]),
        endpoint("failing", ["main alpha fault-500"]),
    ]


@pytest.fixture(scope="module")
def running(gateway):
    return gateway(endpoints())


@pytest.fixture(scope="module")
def replicas(gateway):
    return gateway(endpoints(), separate=True, ingress=2)


def ask(running, key, text="hello", door=0, model="chat", **more):
    client = running.openai(door=door)
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=user(text), extra_headers={"Idempotency-Key": key}, **more
    )
    return raw.parse(), raw.headers


def is_repeat(headers):
    return headers.get("x-tollgate-idempotent-replay") == "true"


def rows_of(running, first, last):
    """How many rows the requests `first` have, once the later request `last` has its row."""
    ledger = ledger_of(running)
    ledger.row(last)
    return ledger.query(f"SELECT count(*) AS n FROM usage WHERE request_id = '{first}'")[0]["n"]


def test_a_repeat_gets_the_first_answer_and_is_not_billed(running, fake_provider):
    key = uuid.uuid4().hex
    first, first_headers = ask(running, key)
    again, headers = ask(running, key)
    assert not is_repeat(first_headers) and is_repeat(headers)
    assert again == first and headers["x-request-id"] == first_headers["x-request-id"]
    assert len(fake_provider.calls) == 1
    _, other = ask(running, uuid.uuid4().hex)
    assert rows_of(running, headers["x-request-id"], other["x-request-id"]) == 1
    total = ledger_of(running).query("SELECT count(*) AS n, count(DISTINCT request_id) AS d FROM usage")[0]
    assert total == {"n": 2, "d": 2}


def test_a_key_belongs_to_its_team_and_body(running, fake_provider):
    key = uuid.uuid4().hex
    ask(running, key, "one")
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        ask(running, key, "two")
    assert refused.value.code == "idempotency_key_reused"
    body = {"model": "chat", "messages": user("two")}
    with running.http(OTHER_KEY) as others:
        assert others.post("/v1/chat/completions", json=body, headers={"idempotency-key": key}).status_code == 200
    assert len(fake_provider.calls) == 2


def test_a_key_belongs_to_api_and_model_too_where_the_body_does_not_tell(running, fake_provider):
    contents = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    message = {"model": "chat", "max_tokens": 9, "messages": user("hi")}
    for body, first, second in (
        (contents, "/v1beta/models/chat:generateContent", "/v1beta/models/other:generateContent"),
        (message, "/v1/messages", "/v1/messages/count_tokens"),
        (message, "/v1/chat/completions", "/v1/messages"),
    ):
        key = {"idempotency-key": uuid.uuid4().hex}
        with running.http() as http:
            answers = [http.post(path, json=body, headers=key) for path in (first, first, second)]
        assert [answer.status_code for answer in answers] == [200, 200, 422], second
        assert [is_repeat(answer.headers) for answer in answers[:2]] == [False, True]
    assert len(fake_provider.calls) == 3


def test_a_request_that_is_refused_leaves_its_key_free(running, fake_provider):
    key = uuid.uuid4().hex
    refused = running.chat({"model": "nothing", "messages": user("hi")}, idempotency_key=key)
    assert refused.json()["error"]["code"] == "model_not_found"
    _, headers = ask(running, key)
    assert not is_repeat(headers)


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_that_could_be_mistaken_is_refused(running, fake_provider, key):
    refused = running.chat({"model": "chat", "messages": user("hi")}, idempotency_key=key)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "Idempotency-Key")


def test_a_failure_is_repeated_too(running, fake_provider):
    key = uuid.uuid4().hex
    body = {"model": "failing", "messages": user("hi")}
    first = running.chat(body, idempotency_key=key)
    calls = len(fake_provider.calls)
    again = running.chat(body, idempotency_key=key)
    assert again.status_code == first.status_code >= 500 and again.json() == first.json()
    assert again.headers["x-should-retry"] == "false" and is_repeat(again.headers)
    assert len(fake_provider.calls) == calls


@pytest.mark.parametrize("repeat_streams", [True, False])
def test_a_stream_is_repeated_whole(running, fake_provider, repeat_streams):
    """The body says whether it is a stream, so both are asked for by the same body."""
    key = uuid.uuid4().hex
    client = running.openai()
    more = {"messages": user("one two three"), "extra_headers": {"Idempotency-Key": key}, "stream": True}
    with client.chat.completions.create(model="chat", **more) as stream:
        assert text_of_stream(stream) == "echo: one two three"
        first = stream.response.headers["x-request-id"]
    if repeat_streams:
        with client.chat.completions.create(model="chat", **more) as stream:
            chunks = list(stream)
        assert text_of_stream(chunks) == "echo: one two three" and chunks[-1].choices[0].finish_reason == "stop"
        assert stream.response.headers["x-request-id"] == first and is_repeat(stream.response.headers)
    else:
        whole = running.chat({"model": "chat", "messages": user("one two three")}, idempotency_key=key)
        assert whole.status_code == 422
    assert len(fake_provider.calls) == 1


def crowd(running, key, doors, count=20):
    """Asks many times at once, and lets the provider answer once one call has come; every answer with its headers."""
    answers = []

    def one(n):
        answers.append(ask(running, key, model="gated", door=n % doors))

    threads = [threading.Thread(target=one, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    return threads, answers


def test_many_at_once_are_one_request(replicas, fake_provider):
    key = uuid.uuid4().hex
    threads, answers = crowd(replicas, key, doors=2)
    eventually(lambda: fake_provider.calls, "the provider is called")
    fake_provider.open_gate("fault-gate")
    for thread in threads:
        thread.join(120)
    assert len(answers) == 20
    assert len({headers["x-request-id"] for _, headers in answers}) == 1
    assert {answer.choices[0].message.content for answer, _ in answers} == {"echo: hello"}
    assert sorted(is_repeat(headers) for _, headers in answers) == [False] + [True] * 19
    assert len(fake_provider.calls) == 1


def test_a_repeat_at_the_other_replica_after_a_kill(replicas, fake_provider):
    key = uuid.uuid4().hex
    first, first_headers = ask(replicas, key, door=0)
    killed = replicas.process("ingress-0")
    killed.signal(signal.SIGKILL)
    killed.child.wait()
    again, headers = ask(replicas, key, door=1)
    killed.start()
    eventually(killed.is_ready, "the killed replica is back", 60)
    restarted, restarted_headers = ask(replicas, key, door=0)
    assert again == first == restarted
    assert {h["x-request-id"] for h in (headers, restarted_headers)} == {first_headers["x-request-id"]}
    assert len(fake_provider.calls) == 1


@pytest.fixture(scope="module")
def crashing(gateway):
    """Its ingress ends at the points that a test names."""
    return gateway(endpoints(), separate=True)


def crash_at(running, *crashes):
    """Has ingress end at each point in turn while it does what belongs to it, and has it back after the last."""
    (door,) = running.doors
    clean = door.env
    door.signal(signal.SIGTERM)
    assert door.wait() == 0
    for point, begin in crashes:
        door.env = {**clean, "TOLLGATE_FAULT": f"{point}:1"}
        door.start()
        eventually(door.is_ready, "ingress is armed", 60)
        begin()
        assert door.child.wait(60) == -signal.SIGABRT, door.tail()
    door.env = clean
    door.start()
    eventually(door.is_ready, "ingress is back", 60)


def claim_of(running, key):
    records = [json.loads(r.value()) for r in read(running, [running.topic("idempotency")])]
    return next(record["request_id"] for record in records if record["key"] == key)


class CutOff:
    """A request whose ingress ends at a point, and its repeats; its text is its own, so that its calls can be told from others."""

    def __init__(self, running, point, model):
        self.running, self.point, self.model = running, point, model
        self.key, self.text = uuid.uuid4().hex, uuid.uuid4().hex

    def ask(self):
        return ask(self.running, self.key, self.text, model=self.model)

    def crash(self):
        with pytest.raises(openai.APIConnectionError):
            self.ask()

    def calls(self, provider):
        return [call for call in provider.calls if self.text in call["body"]]

    def publications(self):
        records = read(self.running, [self.running.topic("approved.interactive")])
        return [record for record in records if self.text.encode() in record.value()]


def test_what_a_crash_left_behind_is_found_by_the_repeat(crashing, fake_provider):
    """A claim without a request, which the repeat publishes; and requests whose publication is not noted, of which one has ended and
    one is at work when it is repeated: no second call is made, and its answer comes. All three wait side by side, because a claim is
    stale only after half a minute."""
    claimed = CutOff(crashing, "idempotency.claimed", "chat")
    ended = CutOff(crashing, "idempotency.published", "chat")
    at_work = CutOff(crashing, "idempotency.published", "gated")
    left = [claimed, ended, at_work]
    crash_at(crashing, *((one.point, one.crash) for one in left))
    eventually(lambda: ended.calls(fake_provider) and at_work.calls(fake_provider), "the provider is called")
    assert not claimed.publications() and not claimed.calls(fake_provider)
    before = len(at_work.publications())
    with ThreadPoolExecutor() as pool:
        repeats = [pool.submit(one.ask) for one in left]
        eventually(lambda: len(at_work.publications()) > before, "the repeat takes the key over", 60)
        fake_provider.open_gate("fault-gate")
        answers = [repeat.result() for repeat in repeats]
    assert is_repeat(answers[0][1])
    for one, (answer, headers) in zip(left, answers):
        assert answer.choices[0].message.content == f"echo: {one.text}"
        assert headers["x-request-id"] == claim_of(crashing, one.key)
        again, headers = one.ask()
        assert again == answer and is_repeat(headers)
        assert len(one.calls(fake_provider)) == 1


def test_a_job_whose_publication_a_crash_left_unnoted_is_done_once(crashing, fake_provider):
    event_id, ids = uuid.uuid4().hex, [uuid.uuid4().hex for _ in range(2)]
    crash_at(crashing, ("idempotency.published", lambda: job(crashing, ids[0], event_id)))
    job(crashing, ids[1], event_id)
    lines = answers_of(crashing, ids)
    assert lines[ids[0]]["response"] == lines[ids[1]]["response"]
    assert len(fake_provider.calls) == 1


def answers_of(running, custom_ids, team="search"):
    def found():
        lines = [json.loads(r.value()) for r in read(running, [running.topic(f"out.{team}")])]
        mine = {line["custom_id"]: line for line in lines if line["custom_id"] in custom_ids}
        return mine if len(mine) == len(custom_ids) else None

    return eventually(found, f"answers to {custom_ids}", 60)


def line_of(custom_id, text="named", model="chat"):
    body = {"model": model, "messages": user(text)}
    return {"custom_id": custom_id, "url": "/v1/chat/completions", "body": body, "metadata": {"is": custom_id}}


def job(running, custom_id, key, text="named", model="chat", team="search"):
    headers = {"ce_id": key} if key else None
    produce(running, running.topic(f"in.{team}"), line_of(custom_id, text, model), headers=headers)


def test_a_job_is_known_by_its_ce_id(running, fake_provider):
    event_id = uuid.uuid4().hex
    ids = [uuid.uuid4().hex for _ in range(4)]
    job(running, ids[0], event_id)
    first = answers_of(running, ids[:1])[ids[0]]
    job(running, ids[1], event_id)
    job(running, ids[2], event_id, "another body")
    job(running, ids[3], None)
    lines = answers_of(running, ids)
    assert lines[ids[1]]["response"] == first["response"] and lines[ids[1]]["metadata"] == {"is": ids[1]}
    assert lines[ids[2]]["error"]["code"] == "idempotency_key_reused"
    assert lines[ids[3]]["response"]["request_id"] != first["response"]["request_id"]
    assert len(fake_provider.calls) == 2, "a custom id is no key"


CALLERS_MAX = 1_000  # REPEATS_MAX
FILES = 4096


def may_open(pid, files):
    """Lets a process have so many files open at a time."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (files, hard))


async def exchange(port, request):
    """The answer to a request on a connection of its own: (status, headers, document)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    head, body = (await reader.read()).split(b"\r\n\r\n", 1)
    writer.close()
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(status.split()[1]), {name.lower(): value for name, value in headers.items()}, json.loads(body)


async def one_and_its_repeats(running, fake_provider, beyond):
    """So many more repeats than may wait: the answers that came before the provider's, and those that came with it."""
    body = json.dumps({"model": "gated", "messages": user("hello")}).encode()
    lines = ["POST /v1/chat/completions HTTP/1.1", "host: localhost", f"authorization: Bearer {SEARCH_KEY}"]
    lines += [f"idempotency-key: {uuid.uuid4().hex}", "content-type: application/json", f"content-length: {len(body)}"]
    request = "\r\n".join([*lines, "connection: close", "", ""]).encode() + body
    (door,) = running.doors
    first = asyncio.create_task(exchange(door.port, request))
    while not fake_provider.calls:
        await asyncio.sleep(0.05)
    waiting, refused = {asyncio.create_task(exchange(door.port, request)) for _ in range(CALLERS_MAX + beyond)}, set()
    while len(refused) < beyond:
        over, waiting = await asyncio.wait(waiting, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        assert over, f"only {len(refused)} of {beyond} repeats are refused"
        refused |= over
    fake_provider.open_gate("fault-gate")
    return [task.result() for task in refused], await asyncio.gather(first, *waiting)


@pytest.mark.only_embedded(reason="a bound of ingress itself; which broker is beside it makes no difference")
def test_repeats_beyond_the_bound_are_told_to_come_back(running, fake_provider):
    (door,) = running.doors
    # Both ends of each connection are counted, and many machines allow no more than 1,024.
    may_open(os.getpid(), FILES)
    may_open(door.child.pid, FILES)
    refused, answers = asyncio.run(one_and_its_repeats(running, fake_provider, beyond=5))
    told = {(status, headers["retry-after"], document["error"]["code"]) for status, headers, document in refused}
    assert len(refused) == 5 and told == {(503, "1", "overloaded")}
    assert len(answers) == 1 + CALLERS_MAX
    assert {document["choices"][0]["message"]["content"] for _, _, document in answers} == {"echo: hello"}
    assert len({headers["x-request-id"] for _, headers, _ in answers}) == 1
    assert sum(is_repeat(headers) for _, headers, _ in answers) == CALLERS_MAX
    assert len(fake_provider.calls) == 1


REPEATS_MAX = 100  # JOB_REPEATS_MAX


def test_repeats_of_one_team_hold_up_no_other(own_gateway, fake_provider):
    """Jobs that wait for one that is at work are bounded; beyond the bound the answer names the one they repeat."""
    teams = [
        {"name": name, "endpoints": ["chat", "gated"], "kafka": {"requests": f"in.{name}", "replies": f"out.{name}"}}
        for name in ("search", "other")
    ]
    running = own_gateway(endpoints(), teams=teams)
    event_id, first, beyond = uuid.uuid4().hex, uuid.uuid4().hex, 7
    job(running, first, event_id, model="gated")
    eventually(lambda: fake_provider.calls, "the provider is called")
    repeats = [uuid.uuid4().hex for _ in range(REPEATS_MAX + beyond)]
    # One partition, one key: what is refused are the last ones.
    records = [(json.dumps(line_of(name, model="gated")).encode(), b"k", {"ce_id": event_id}) for name in repeats]
    produce_all(running, running.topic("in.search"), records)

    def refused():
        lines = [json.loads(r.value()) for r in read(running, [running.topic("out.search")])]
        return lines if len(lines) == beyond else None

    lines = eventually(refused, "the repeats beyond the bound are answered", 60)
    assert {line["error"]["code"] for line in lines} == {"still_running"}
    mine = uuid.uuid4().hex
    job(running, mine, None, team="other")
    assert answers_of(running, [mine], "other")[mine]["response"]["status_code"] == 200
    fake_provider.open_gate("fault-gate")
    waiting = {first, *repeats} - {line["custom_id"] for line in lines}
    answers = answers_of(running, waiting)
    (request_id,) = {line["response"]["request_id"] for line in answers.values()}
    assert all(request_id in line["error"]["message"] for line in lines)
    assert len(fake_provider.calls) == 2


def test_a_large_job_waits_for_storage_and_leaves_no_claim_behind(own_gateway, fake_provider):
    """With a key and without one: while storage is away it is not refused, and once it is back it is answered, once."""
    running = own_gateway(endpoints())
    text, event_id, ids = "x" * 400_000, uuid.uuid4().hex, [uuid.uuid4().hex for _ in range(3)]
    in_the_way = running.data_dir / "blobs"
    in_the_way.touch()
    job(running, ids[0], event_id, text)
    job(running, ids[1], None, text)
    job(running, ids[2], None, "small")
    assert answers_of(running, ids[2:])[ids[2]]["response"]["status_code"] == 200
    eventually(lambda: "a job's body cannot be stored" in running.log(), "it says so", 60)
    in_the_way.unlink()
    again = uuid.uuid4().hex
    job(running, again, event_id, text)
    lines = answers_of(running, [*ids, again])
    assert {line["error"] is None for line in lines.values()} == {True}
    assert lines[again]["id"] == lines[ids[0]]["id"] != lines[ids[1]]["id"]
    assert len(fake_provider.calls) == 3
