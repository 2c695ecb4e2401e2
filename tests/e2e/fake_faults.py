"""Faults of the fake provider in the bytes of an answer: each writes one on its own, in place of an ordinary one.

`FAULTS` is fault → function of the handler (`fake_provider.Handler`), the kind, the request and the noted call:

    quoted          401, with the credential in the message
    quoted-400      the same with 400, which is passed on in the provider's words
    empty           200, and no body
    gzip            a compressed answer, though nobody asked for one
    octets          an answer whose content type says that it is none
    whole           a document, also where a stream was asked for
    twice           two answers in one
    no-utf8         a text with the first byte of a character and not its second
    bytes           an answer in pieces of one byte, characters beyond ASCII as they are
    huge            HUGE_BYTES of text, in a stream in one event
    endless         a line that does not end
    hang-half       half a body, or half an event after the first content, and no more
    reset-headers   a connection that is reset in the answer's head
"""

import gzip
import json

import fake_wire as wire

HUGE_BYTES = 10_000_000
ENDLESS_BYTES = 64 << 20  # nobody should read as far as this
SAID = "hello"  # what a caller says who wants its text changed
CUT_UTF8 = b"\xc3"


def is_stream(request):
    return request.get("stream") is True


def unescaped(event):
    """An event's text with its characters as they are."""
    if not event.startswith("data: {"):
        return event
    return "data: " + json.dumps(json.loads(event[len("data: ") :]), ensure_ascii=False) + "\n\n"


def answer(kind, request):
    """Content type and bytes of a whole answer, or of all of a stream."""
    if is_stream(request):
        return "text/event-stream", "".join(unescaped(event) for event in wire.events(kind, request)).encode()
    return "application/json", json.dumps(wire.whole(kind, request), ensure_ascii=False).encode()


def with_text(kind, request, text):
    """The same with other bytes for `SAID`; of a stream, whose text is cut, for the first piece of it."""
    content_type, body = answer(kind, request)
    said = f'"{wire.pieces("echo: " + SAID)[0]}"' if is_stream(request) else f'"echo: {SAID}"'
    assert body.count(said.encode()) == 1, f"send `{SAID}` to see this fault"
    return content_type, body.replace(said.encode(), b'"' + text + b'"')


def quoted(handler, kind, _request, call, status=401):
    handler.send_json(status, wire.error(kind, status, f"this is a fault: incorrect API key provided: {call['key']}"))


def quoted_400(*asked):
    quoted(*asked, status=400)


def empty(handler, kind, request, _call):
    handler.send_body(200, answer(kind, request)[0], b"")


def gzipped(handler, kind, request, _call):
    content_type, body = answer(kind, request)
    handler.send_body(200, content_type, gzip.compress(body), {"content-encoding": "gzip"})


def octets(handler, kind, request, _call):
    handler.send_body(200, "application/octet-stream", answer(kind, request)[1])


def whole(handler, kind, request, _call):
    handler.send_body(200, *answer(kind, {**request, "stream": False}))


def twice(handler, kind, request, _call):
    content_type, body = answer(kind, request)
    handler.send_body(200, content_type, body + body)


def no_utf8(handler, kind, request, _call):
    handler.send_body(200, *with_text(kind, request, b"echo: " + CUT_UTF8))


def byte_by_byte(handler, kind, request, _call):
    content_type, body = answer(kind, request)
    handler.begin_chunks(kind, content_type)
    for at in range(len(body)):
        handler.wfile.write(b"1\r\n" + body[at : at + 1] + b"\r\n")
    handler.end_chunks()


def huge(handler, kind, request, _call):
    handler.send_body(200, *with_text(kind, request, b"x" * HUGE_BYTES))


def endless(handler, kind, request, _call):
    handler.begin_chunks(kind, answer(kind, request)[0])
    handler.chunk('data: {"id":"')
    # It ends when the caller hangs up.
    for _ in range(ENDLESS_BYTES >> 16):
        handler.chunk("x" * (1 << 16))
    handler.end_chunks()


def hang_half(handler, kind, request, call):
    content_type, body = answer(kind, request)
    text = "".join(unescaped(event) for event in wire.events(kind, request)[:3]) if is_stream(request) else ""
    handler.begin_chunks(kind, content_type)
    handler.chunk(text[:-20] if text else body[: len(body) // 2].decode())
    handler.wait(call, gate=False)
    handler.drop()


def reset_headers(handler, _kind, _request, _call):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-ty")
    handler.drop(reset=True)


FAULTS = {
    "quoted": quoted,
    "quoted-400": quoted_400,
    "empty": empty,
    "gzip": gzipped,
    "octets": octets,
    "whole": whole,
    "twice": twice,
    "no-utf8": no_utf8,
    "bytes": byte_by_byte,
    "huge": huge,
    "endless": endless,
    "hang-half": hang_half,
    "reset-headers": reset_headers,
}
