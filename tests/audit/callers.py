"""The callers: numbered requests through both doors, and what each caller knows of its request's end.

A caller with an idempotency key does as an SDK's user does: it repeats under the same key until it has an end; some ask
once more for what they have. One without a key asks once; if its connection breaks, the request may have been accepted,
and nobody will tell it. A named job has a `ce_id`; some of them are sent twice. Some requests of each kind are ended by
`DELETE`, by somebody who read their id on the log; some jobs may last for seconds only.
"""

import datetime
import heapq
import json
import random
import threading
import time
import uuid

import httpx
from confluent_kafka import Producer
from support import SEARCH_KEY

from .fleet import FORBIDDEN
from .provider import SAY_WORDS, prompt

KINDS = {"keyed": 30, "keyed stream": 20, "once": 10, "once stream": 10, "job": 20, "named job": 10}
ENDPOINTS = {"plain": 52, "lone": 20, "checked": 18, "blocked": 6, "large": 4}
JOB_ENDPOINTS = {**ENDPOINTS, "throttled": 3}
MODELS = {"blocked": "checked", "large": "plain"}
# More than 256 KiB of them are stored beside the log: of any large request the body, of some the answer too.
LARGE_WORDS = 60_000
CALLERS = 96
# Longer than any pause, shorter than `session.STALLED_SECONDS`: who hears nothing for so long waits for ever.
ASK_SECONDS = 90
GIVE_UP_SECONDS = 300
AGAIN_SECONDS = 0.3
# How often a caller asks once more although it has its answer, and a named job is sent twice.
REPEATED = 0.15
RESENT = 0.3
# How often a request is ended early, and how long after it came to the log, when it may have ended by itself.
DELETED = 0.1
DELETED_AFTER_SECONDS = (0.0, 1.5)
# How often a job without a name has a deadline of its own, and how long after it was sent.
EXPIRING = 0.2
EXPIRES_AFTER_SECONDS = (0.2, 6.0)
DELETE_TURN_SECONDS = 0.02
DELETE_SECONDS = 10
JOB_SECONDS = 120
# The door's own `overloaded`. Of an accepted request whose providers are overloaded it is the end, which counts attempts.
REFUSED = "refused at the door"
# Answers that say: not accepted, or not over. A caller with a key asks again.
AGAIN = {REFUSED, "still_running"}


class Asked:
    """One number: what was asked and what its caller saw."""

    def __init__(self, number, kind, endpoint):
        self.number, self.kind, self.endpoint = number, kind, endpoint
        self.key = uuid.uuid4().hex if kind.startswith(("keyed", "named")) else None
        self.began, self.ended = time.time(), None
        self.seen = []  # (status, request id, error code, text) of each end that the caller was told
        self.again = []  # the same, of each repeat after its end
        self.told = set()  # every request id that any response named
        self.timed_out = []  # (door, since, until) of each answer that did not come
        self.in_vain = []  # (door, since, until, what came) of each try that brought no end
        self.tries, self.broken, self.over, self.gave_up = 0, 0, False, False
        self.sent, self.acknowledged = 0, 0  # records of a job
        self.delete_after, self.deleted = None, []  # what the door said to each DELETE; none: nothing
        self.expires_after = None

    @property
    def is_stream(self):
        return self.kind.endswith("stream")

    @property
    def is_job(self):
        return self.kind.endswith("job")

    @property
    def says(self):
        """The user's text."""
        if self.endpoint == "blocked":
            return prompt(self.number) + FORBIDDEN
        # A large stream would be cut into very many chunks.
        whole = self.endpoint == "large" and not self.is_stream and self.number % 2
        return prompt(self.number, LARGE_WORDS if whole else SAY_WORDS)

    @property
    def answer(self):
        """What it must be answered, if it is answered."""
        return None if self.endpoint == "blocked" else "echo: " + self.says

    def body(self, padding=""):
        messages = [{"role": "user", "content": self.says}]
        if self.endpoint == "large":
            padding = "large " * LARGE_WORDS
        if padding:
            messages.insert(0, {"role": "system", "content": padding})
        model = MODELS.get(self.endpoint, self.endpoint)
        body = {"model": model, "messages": messages, "user": f"n-{self.number}"}
        return {**body, "stream": True} if self.is_stream else body


class Callers:
    def __init__(self, fleet, seed, rate, keys=True):
        self.fleet, self.rate, self.keys = fleet, rate, keys
        self.random = random.Random(seed)
        self.over, self.lock = threading.Event(), threading.Lock()
        self.asked, self.stored = {}, {}
        self.to_delete = []  # (when, request id, number)
        self.padding = ""  # what makes bodies as large as a mode wants them
        self.next_at = time.monotonic()
        self.busy = 0
        self.producer = Producer(
            {
                **fleet.anybody(),
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "log_level": 0,
                "message.timeout.ms": JOB_SECONDS * 1000,
            }
        )
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(CALLERS)]
        self.deleter = threading.Thread(target=self.delete, daemon=True)

    def start(self):
        for thread in [*self.threads, self.deleter]:
            thread.start()

    def stop(self):
        """No new requests; waits until each caller has its end or has given up."""
        self.over.set()

    def running(self):
        return sum(thread.is_alive() for thread in self.threads)

    def run(self):
        with httpx.Client(
            headers={"authorization": f"Bearer {SEARCH_KEY}"},
            timeout=ASK_SECONDS,
            limits=httpx.Limits(keepalive_expiry=5),
        ) as http:
            while asked := self.next():
                if asked.is_job:
                    self.job(asked, self.chance(RESENT) if asked.key else False)
                else:
                    self.call(http, asked)
                asked.over = True

    def next(self):
        """The next number, at the rate asked for; none once it is over."""
        with self.lock:
            if self.over.is_set():
                return None
            wait = self.next_at - time.monotonic()
            # Callers that all wait make up for nothing later: the rate is a bound.
            self.next_at = max(self.next_at, time.monotonic() - 1) + 1 / self.rate
            kind = self.pick(KINDS)
            asked = Asked(len(self.asked), kind, self.pick(JOB_ENDPOINTS if kind.endswith("job") else ENDPOINTS))
            if self.random.random() < DELETED:
                asked.delete_after = self.random.uniform(*DELETED_AFTER_SECONDS)
            if kind == "job" and self.random.random() < EXPIRING:
                asked.expires_after = self.random.uniform(*EXPIRES_AFTER_SECONDS)
            self.asked[asked.number] = asked
        self.over.wait(max(wait, 0))
        return asked

    def pick(self, weights):
        return self.random.choices(list(weights), list(weights.values()))[0]

    def chance(self, probability):
        with self.lock:
            return self.random.random() < probability

    def job(self, asked, twice=False):
        line = {"custom_id": f"n-{asked.number}", "url": "/v1/chat/completions", "body": asked.body(self.padding)}
        value, headers = json.dumps(line), [("ce_id", asked.key.encode())] if asked.key else []
        if asked.expires_after is not None:
            expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=asked.expires_after)
            headers.append(("ce_expirytime", expires.isoformat(timespec="milliseconds").encode()))

        def delivered(error, _record):
            asked.acknowledged += error is None

        for _ in range(1 + twice):
            asked.sent += 1
            self.producer.produce(self.fleet.topic("in.search"), value, headers=headers, on_delivery=delivered)
            self.producer.poll(0)

    def accepted(self, number, request_id):
        """Called when a request comes to the log."""
        asked = self.asked.get(number)
        if asked and asked.delete_after is not None:
            with self.lock:
                heapq.heappush(self.to_delete, (time.monotonic() + asked.delete_after, request_id, number))

    def delete(self):
        """Ends early what is to be ended, at any door."""
        with httpx.Client(headers={"authorization": f"Bearer {SEARCH_KEY}"}, timeout=DELETE_SECONDS) as http:
            while not self.over.wait(DELETE_TURN_SECONDS):
                for request_id, number in self.due():
                    if door := self.door():
                        self.asked[number].deleted.append(deleted(http, door, request_id))

    def due(self):
        out, now = [], time.monotonic()
        with self.lock:
            while self.to_delete and self.to_delete[0][0] <= now:
                out.append(heapq.heappop(self.to_delete)[1:])
        return out

    def fetch_again(self, most):
        """Fetches the ends of some requests that their callers have seen, as one does who comes back later."""
        with httpx.Client(headers={"authorization": f"Bearer {SEARCH_KEY}"}) as http:
            seen = [i for asked in list(self.asked.values()) for _, i, code, _ in asked.seen if code not in AGAIN]
            for request_id in seen[:: len(seen) // most + 1]:
                self.stored[request_id] = stored(http, self.fleet, request_id)

    def flush(self):
        assert self.producer.flush(JOB_SECONDS + 30) == 0, "the producer of jobs still holds some"

    def call(self, http, asked):
        headers = {"idempotency-key": asked.key} if asked.key else {}
        until = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < until:
            door = self.door()
            if door is None:
                time.sleep(AGAIN_SECONDS)
                continue
            asked.tries += 1
            began = time.time()
            end, sent = self.try_once(http, door, asked, headers)
            if end is None or end[2] in AGAIN:
                asked.in_vain.append((door.name, began, time.time(), end and end[2]))
            if end is None and sent:
                if not asked.key:
                    return
                if not self.keys:
                    return self.fetch(http, asked, until)
            if end is not None and end[2] not in AGAIN:
                asked.seen.append(end)
                asked.ended = time.time()
                return self.once_more(http, asked, headers)
            if end is not None and (not asked.key or (end[2] == "still_running" and not self.keys)):
                return  # the caller goes away; if it was accepted, the request's end is on its topics
            time.sleep(AGAIN_SECONDS)
        asked.gave_up = True

    def door(self):
        doors = self.fleet.doors_open()
        with self.lock:
            return self.random.choice(doors) if doors else None

    def try_once(self, http, door, asked, headers):
        """(what the gateway told, whether it may have heard the request)."""
        began = time.time()
        try:
            return self.ask(http, door.url, asked, headers), True
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            return None, False
        except httpx.TimeoutException:
            asked.timed_out.append((door.name, began, time.time()))
            return None, True
        except httpx.TransportError:
            asked.broken += 1
            return None, True

    def once_more(self, http, asked, headers):
        """Some ask again for what they have: they must get the same, from whichever replica."""
        if not self.keys or not asked.key or not self.chance(REPEATED):
            return
        if door := self.door():
            end, _ = self.try_once(http, door, asked, headers)
            if end is not None and end[2] not in AGAIN:
                asked.again.append(end)

    def fetch(self, http, asked, until):
        """Without keys that the gateway knows, a caller whose answer broke off can only ask for it by its id."""
        if not asked.told:
            return
        (request_id,) = asked.told
        while time.monotonic() < until:
            found = stored(http, self.fleet, request_id)
            if found is not None:
                asked.seen.append((*found[:1], request_id, *found[1:]))
                asked.ended = time.time()
                return
            time.sleep(AGAIN_SECONDS)

    def ask(self, http, url, asked, headers):
        """The end that the gateway told: (status, request id, error code, text)."""
        with http.stream("POST", url + "/v1/chat/completions", json=asked.body(self.padding), headers=headers) as response:
            request_id = response.headers.get("x-request-id")
            if request_id:
                asked.told.add(request_id)
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                return streamed(response, request_id)
            document = json.loads(response.read())
        if response.status_code == 200:
            return 200, request_id, None, document["choices"][0]["message"]["content"]
        code = document["error"]["code"]
        if code == "overloaded" and "x-tollgate-attempts" not in response.headers:
            code = REFUSED
        return response.status_code, request_id, code, None


def streamed(response, request_id):
    text, error, done = "", None, False
    for line in response.iter_lines():
        if not line.startswith("data: "):
            continue
        if line == "data: [DONE]":
            done = True
            continue
        event = json.loads(line[len("data: ") :])
        if "error" in event:
            error = event["error"]["code"]
        for choice in event.get("choices") or []:
            text += choice["delta"].get("content") or ""
    if not done and error is None:
        raise httpx.ReadError("the stream ended without an end")
    return (200 if error is None else 599), request_id, error, text


def stored(http, fleet, request_id):
    """The stored end of a request as (status, error code, text), whichever replica answers; or none."""
    for door in fleet.doors_open():
        try:
            response = http.get(f"{door.url}/v1/requests/{request_id}", timeout=10)
        except httpx.TransportError:
            continue
        if response.status_code == 200:
            found = response.json()
            body = (found["response"] or {}).get("body")
            text = body["choices"][0]["message"]["content"] if body else None
            return found["status_code"], (found["error"] or {}).get("code"), text
    return None


def deleted(http, door, request_id):
    """The status of a DELETE; none if nothing was heard, when it may have been taken all the same."""
    try:
        return http.delete(f"{door.url}/v1/requests/{request_id}").status_code
    except httpx.TransportError:
        return None
