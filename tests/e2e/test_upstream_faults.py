"""What a provider can do wrong: what the caller's SDK raises, what the row says of the attempt, and that no credential is in either.

Each fault has an endpoint of its own, so that no circuit opens, with one destination, so that nobody helps; who helps is in
`test_router.py` and `test_routing.py`. Which faults there are is told in `fake_provider.py` and `fake_faults.py`. Rows are compared at
the end, all at once, because they take a second to come.
"""

import json
import socket
from dataclasses import dataclass

import openai
import pytest
from fake_faults import HUGE_BYTES
from fake_provider import FakeProvider
from kafka_tools import everything
from ledger import ledger_of
from support import CANARIES, PROVIDER_KEYS, endpoint, eventually, text_of_stream, user

BACKLOG_MAX = 64  # more connections than a listener that asks for none has room for
ODD_TEXT = "é€😀 x"
EXCEPTIONS = {
    400: openai.BadRequestError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
}


@dataclass
class Comes:
    """What comes of a fault: in the attempt of the row (status and error code), and to the caller."""

    attempt: tuple
    status: int = 200
    code: str | None = None
    text: str = ""


def broken(attempt, code="provider_error", status=502):
    """An error before the caller has seen anything."""
    return Comes(attempt, status, code)


def cut(code, *, attempt):
    """An error in a stream whose first content has been seen."""
    return Comes((200, attempt), 200, code, "echo: h")


def both(comes):
    return {False: comes, True: comes}


MALFORMED, CUT_OFF = broken((200, "malformed_response")), broken((200, "stream_cut_off"))
GONE, NEVER_THERE = broken((None, "connection_broken")), broken((None, "connection_failed"))
# Status: what the caller gets, and the error code of the attempt, which is what the provider's document says.
STATUSES = {
    400: (400, "provider_rejected", "invalid_request_error"),
    401: (502, "provider_error", "authentication_error"),
    402: (502, "provider_error", "api_error"),
    403: (502, "provider_error", "api_error"),
    404: (404, "provider_rejected", "not_found_error"),
    408: (504, "provider_timeout", "api_error"),
    409: (409, "provider_rejected", "api_error"),
    413: (413, "provider_rejected", "api_error"),
    418: (418, "provider_rejected", "api_error"),
    422: (422, "provider_rejected", "api_error"),
    429: (429, "rate_limit_exceeded", "rate_limit_error"),
    451: (451, "provider_rejected", "api_error"),
    500: (502, "provider_error", "api_error"),
    501: (502, "provider_error", "api_error"),
    502: (502, "provider_error", "api_error"),
    503: (503, "overloaded", "api_error"),
    504: (504, "provider_timeout", "api_error"),
    520: (502, "provider_error", "api_error"),
    529: (503, "overloaded", "overloaded_error"),
}
# Fault: what comes of it in a whole answer (False) and in a stream (True).
FAULTS = {
    **{str(given): both(broken((given, own), code, status)) for given, (status, code, own) in STATUSES.items()},
    "quoted": both(broken((401, "authentication_error"))),
    "quoted-400": both(broken((400, "invalid_request_error"), "provider_rejected", 400)),
    "html": both(broken((502, "server_error"))),
    "html-200": {False: MALFORMED, True: CUT_OFF},
    "malformed": both(MALFORMED),
    "empty": {False: MALFORMED, True: CUT_OFF},
    "gzip": {False: MALFORMED, True: CUT_OFF},
    "whole": {True: CUT_OFF},
    "octets": both(Comes((200, None), text="echo: hello")),
    "bytes": both(Comes((200, None), text="echo: " + ODD_TEXT)),
    "no-utf8": {False: MALFORMED, True: Comes((200, None), text="echo: \ufffdello")},
    "twice": {False: MALFORMED, True: Comes((200, None), text="echo: hello")},
    "huge": {False: Comes((200, None), text="x" * HUGE_BYTES), True: MALFORMED},
    "endless": both(MALFORMED),
    "reset": both(GONE),
    "reset-headers": both(GONE),
    "truncate": {True: cut("provider_error", attempt="connection_broken")},
    "no-end": {True: cut("provider_error", attempt="stream_cut_off")},
    "stream-error": {True: cut("provider_error", attempt="overloaded_error")},
    "hang": both(broken((None, "timeout"), "provider_timeout", 504)),
    "hang-half": {
        False: broken((200, "timeout"), "provider_timeout", 504),
        True: cut("provider_timeout", attempt="timeout"),
    },
    "hang-stream": {True: cut("provider_timeout", attempt="timeout")},
}
CASES = [(fault, stream) for fault, comes in FAULTS.items() for stream in comes]
# Before an answer that is no stream only the total time-out applies.
TIMEOUTS = {
    ("hang", False): {"total": "2s"},
    ("hang", True): {"first_byte": "500ms"},
    ("hang-half", False): {"total": "2s"},
    ("hang-half", True): {"between_chunks": "500ms"},
    ("hang-stream", True): {"between_chunks": "500ms"},
}
UNREACHABLE = ["refused", "deaf"]
REDIRECTS = [301, 302, 307, 308]


@pytest.fixture(scope="module")
def deaf():
    """The port of a listener with no room for another connection: whoever connects waits for an answer to his first packet."""
    listener, callers = socket.socket(), []
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)

    def is_full():
        try:
            callers.append(socket.create_connection(listener.getsockname(), timeout=1))
        except TimeoutError:
            return True
        return False

    assert any(is_full() for _ in range(BACKLOG_MAX)), "a listener that accepts nobody has room for all"
    yield listener.getsockname()[1]
    for each in [*callers, listener]:
        each.close()


@pytest.fixture(scope="module")
def elsewhere():
    """Another host."""
    other = FakeProvider().start()
    yield other
    other.stop()


def name_of(fault, stream):
    return f"{fault}-{'stream' if stream else 'whole'}"


@pytest.fixture(scope="module")
def running(gateway, deaf):
    def faulty(fault, stream):
        timeout = TIMEOUTS.get((fault, stream))
        return endpoint(name_of(fault, stream), [f"main alpha fault-{fault}"], **({"timeout": timeout} if timeout else {}))

    key = "${E2E_ALPHA_KEY}"
    return gateway(
        [
            *[faulty(fault, stream) for fault, stream in CASES],
            endpoint("refused", ["main dead any"]),
            endpoint("deaf", ["main deaf any"], timeout={"connect": "300ms"}),
            *[endpoint(f"moved-{status}", [f"main alpha moved-{status}"]) for status in REDIRECTS],
        ],
        providers={"deaf": {"kind": "openai", "base_url": f"http://127.0.0.1:{deaf}/v1", "api_key": key}},
    )


@pytest.fixture
def client(running, fake_provider):
    return running.openai()


@pytest.fixture(scope="module")
def attempts():
    """What is to be in the rows: a request's id → status and error code of its only attempt."""
    return {}


def ask(client, model, stream, text="hello"):
    """The request's id, the text that came, and the exception, if one did."""
    chunks = []
    try:
        raw = client.chat.completions.with_raw_response.create(model=model, messages=user(text), stream=stream)
    except openai.APIStatusError as error:
        return error.response.headers["x-request-id"], "", error
    request_id = raw.headers["x-request-id"]
    answer = raw.parse()
    if not stream:
        return request_id, answer.choices[0].message.content, None
    try:
        for chunk in answer:
            chunks.append(chunk)
    except openai.APIError as error:
        return request_id, text_of_stream(chunks), error
    return request_id, text_of_stream(chunks), None


def check(comes, error):
    """An error is what it should be, and says nothing that it should not."""
    if comes.code is None:
        assert error is None
        return
    assert error.code == comes.code and error.body["message"]
    leaks = [canary for canary in CANARIES if canary in f"{error.message} {error.body}"]
    assert not leaks
    if comes.status == 200:
        assert type(error) is openai.APIError, "an event in the stream"
        return
    expected = EXCEPTIONS.get(comes.status, openai.InternalServerError if comes.status >= 500 else openai.APIStatusError)
    assert (type(error), error.status_code) == (expected, comes.status)
    headers = error.response.headers
    assert not [canary for canary in CANARIES if canary in str(headers)]
    assert ("retry-after" in headers) == (comes.status in (429, 503))
    is_told = comes.code == "provider_rejected"
    assert headers.get("x-should-retry") == (None if is_told else "false")
    # A provider's own words are for the caller where the request is at fault.
    assert ("this is a fault" in error.response.text) == is_told


@pytest.mark.parametrize(("fault", "stream"), CASES)
def test_a_fault(client, fake_provider, attempts, fault, stream):
    comes = FAULTS[fault][stream]
    request_id, text, error = ask(client, name_of(fault, stream), stream, ODD_TEXT if fault == "bytes" else "hello")
    assert text == comes.text
    check(comes, error)
    assert len(fake_provider.calls) == 1, "nothing is tried again where it is of no use"
    attempts[request_id] = comes.attempt


def test_a_stream_that_breaks_ends_with_the_error_and_is_not_done(running, fake_provider):
    response = running.chat({"model": name_of("truncate", True), "messages": user("hello"), "stream": True})
    events = [line[len("data: ") :] for line in response.text.splitlines() if line.startswith("data: ")]
    assert response.status_code == 200 and json.loads(events[-1])["error"]["code"] == "provider_error"
    assert "[DONE]" not in response.text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", UNREACHABLE)
def test_a_provider_that_cannot_be_connected_to(client, attempts, model, stream):
    request_id, _, error = ask(client, model, stream)
    check(NEVER_THERE, error)
    attempts[request_id] = NEVER_THERE.attempt


@pytest.mark.parametrize("status", REDIRECTS)
def test_a_redirect_is_not_followed(client, fake_provider, elsewhere, attempts, status):
    """A credential goes to no other host, whoever says so."""
    fake_provider.fault(status, model=f"moved-{status}", location=elsewhere.url("elsewhere") + "/chat/completions")
    request_id, _, error = ask(client, f"moved-{status}", stream=False)
    check(broken((status, "api_error")), error)
    (call,) = fake_provider.calls
    assert call["key"] == PROVIDER_KEYS["E2E_ALPHA_KEY"] and elsewhere.calls == []
    attempts[request_id] = (status, "api_error")


def test_the_rows_tell_what_the_provider_did(running, attempts):
    listed = ", ".join(f"'{request_id}'" for request_id in attempts)
    # As texts, because a list has one type.
    each = "unnest([[a.status_code::VARCHAR, a.error_code] for a in routing_information.attempts])"
    sql = f"SELECT request_id, {each} AS attempt FROM usage WHERE request_id IN ({listed})"
    rows = eventually(lambda: len(rows := ledger_of(running).query(sql)) >= len(attempts) and rows, "all rows", 60)
    told = {row["request_id"]: tuple(row["attempt"]) for row in rows}
    wanted = {request_id: (status and str(status), code) for request_id, (status, code) in attempts.items()}
    assert told == wanted and len(rows) == len(wanted), "one attempt each"


def test_no_credential_is_in_a_topic_or_a_log(running, attempts):
    seen = everything(running) + running.log().encode()
    assert all(request_id.encode() in seen for request_id in attempts), "the topics were read"
    assert not [canary for canary in CANARIES if canary.encode() in seen]
