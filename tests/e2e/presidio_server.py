"""Presidio's analyzer as a server, which is what the judge `presidio` asks: its own engine, which needs no model (`tests/pii`), as a process.

    python presidio_server.py PORT

Its package has no server; the one in its image is a page of Flask around the same classes, and answers what this one does: to a list of texts a
list of findings for each, and to whatever it cannot do an `error` with 400 or 500. It speaks English and Spanish, to each with other recognisers.

Sources: https://microsoft.github.io/presidio/api-docs/api-docs.html#tag/Analyzer and
https://github.com/data-privacy-stack/presidio/blob/main/presidio-analyzer/app.py
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from foreign_server import ForeignServer
from support import ROOT, answer_json, free_port

LANGUAGES, REGIONS = ["en", "es"], ["US"]


class Presidio(ForeignServer):
    """It begins to start at once, and whoever needs it waits until it is ready."""

    name = "Presidio's analyzer"

    def __init__(self, folder):
        port = free_port()
        super().__init__(folder, port, [sys.executable, __file__, str(port)])


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        answer_json(self, 200 if self.path == "/health" else 404, {})

    def do_POST(self):
        asked = self.rfile.read(int(self.headers["content-length"]))
        if self.path != "/analyze":
            return answer_json(self, 404, {})
        try:
            answer = self.server.analyze(json.loads(asked))
        except Exception as error:
            return answer_json(self, 400 if isinstance(error, TypeError) else 500, {"error": str(error)})
        answer_json(self, 200, answer)


class Server(ThreadingHTTPServer):
    def __init__(self, port, engine):
        from presidio_analyzer import BatchAnalyzerEngine

        self.engine, self.batch = engine, BatchAnalyzerEngine(engine)
        # Its image has one worker, too.
        self.turn = threading.Lock()
        super().__init__(("127.0.0.1", port), Handler)

    def analyze(self, asked):
        """What an answer holds, of a request's document."""
        from presidio_analyzer import AnalyzerRequest

        fields = vars(AnalyzerRequest(asked))
        text, language = fields.pop("text"), fields.pop("language")
        if not text or not language:
            raise ValueError(f"No {'language' if text else 'text'} provided")
        texts = text if isinstance(text, list) else [text]
        with self.turn:
            # Raises, if it does not know the language.
            self.engine.get_supported_entities(language)
            found = self.batch.analyze_iterator(texts, language, batch_size=len(texts), **fields)
        findings = [[told(finding) for finding in each] for each in found]
        return findings if isinstance(text, list) else findings[0]


def told(finding):
    """All but who found it, and how."""
    names = ("entity_type", "start", "end", "score")
    return {**{name: getattr(finding, name) for name in names}, "analysis_explanation": None}


def serve(port):
    sys.path.append(str(ROOT / "tests" / "pii"))
    from presidio_engine import analyzer

    Server(port, analyzer(REGIONS, LANGUAGES)).serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
