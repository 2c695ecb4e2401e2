"""A fake Azure AI Content Safety: `text:analyze` of a resource, in the shapes of its reference, which Microsoft's own client reads.

Sources: https://learn.microsoft.com/rest/api/contentsafety/text-operations/analyze-text and
https://learn.microsoft.com/azure/ai-services/content-safety/concepts/response-codes. The server, its memory and its control are those of
`fake_provider.py`. Base URL: `http://127.0.0.1:PORT/p/NAME`; a noted call has its `path` below that. A call must show the key and name the
version; its body may hold what Microsoft's model of it holds. A severity is the gravest that a word of the text has (`WORDS`), 0 without one.
Faults are set by NAME, or chosen by it, `fault-KIND`:

    429, 500, … any status    an error document of that status, with retry-after if it is 429
    hang                      no answer at all
    malformed                 JSON that breaks off
    no-severity               categories without severities, which the client's model allows
    no-category               an analysis of no category
"""

import json
import re

import fake_provider
from azure.ai.contentsafety.models import AnalyzeTextOptions, AnalyzeTextOutputType, TextCategory

KEY = "canary-content-safety-51d07f"
VERSION = "2024-09-01"
TEXT_MAX_CHARS = 10_000
WORDS = {"bomb": ("Violence", 4), "knife": ("Violence", 2), "slur": ("Hate", 6), "harm myself": ("SelfHarm", 4)}
CODES = {400: "InvalidRequestBody", 429: "TooManyRequests", 500: "InternalError", 503: "ServerBusy"}


def error(status, message):
    """What stands in front of the service has the status for a code."""
    code = str(status) if status in (401, 404, 429) else CODES.get(status, "InternalError")
    return {"error": {"code": code, "message": message, "details": []}}


def wrong(request):
    """What is wrong with a body, by the client's model of it; none: nothing."""
    known = set(AnalyzeTextOptions(text="", categories=[], blocklist_names=[], halt_on_blocklist_hit=False, output_type="").as_dict())
    if unknown := set(request) - known:
        return f"the field {min(unknown)} is unknown"
    if not isinstance(request.get("text"), str) or not request["text"]:
        return "the field text is required"
    if len(request["text"]) > TEXT_MAX_CHARS:
        return f"the text has more than {TEXT_MAX_CHARS} characters"
    if request.get("outputType", "FourSeverityLevels") not in [kind.value for kind in AnalyzeTextOutputType]:
        return "the field outputType is none of its values"
    return None


def analysis(text):
    found = {category.value: 0 for category in TextCategory}
    for word, (category, severity) in WORDS.items():
        if word in text:
            found[category] = max(found[category], severity)
    categories = [{"category": category, "severity": severity} for category, severity in found.items()]
    return {"blocklistsMatch": [], "categoriesAnalysis": categories}


class Handler(fake_provider.Handler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        found = re.fullmatch(r"/p/([\w-]+)(/.*)", self.path)
        name, path = found.groups() if found else ("", self.path)
        call = self.provider.note("content-safety", name, name, dict(self.headers.items()), body.decode())
        call["path"] = path
        fault = (self.provider.take_fault(call) or {}).get("fault", "")
        if call["headers"].get("ocp-apim-subscription-key") != KEY:
            return self.refuse(401, "the key is wrong, or the endpoint")
        if path != f"/contentsafety/text:analyze?api-version={VERSION}":
            return self.refuse(404, "there is no such resource")
        if fault.isdigit():
            return self.refuse(int(fault), f"this is a fault: {fault}")
        if fault == "hang":
            self.wait(call, gate=False)
            return self.drop()
        request = json.loads(body)
        if why := wrong(request):
            return self.refuse(400, why)
        answer = analysis(request["text"])
        if fault == "malformed":
            return self.send_body(200, "application/json", json.dumps(answer)[:-9].encode())
        if fault == "no-severity":
            answer["categoriesAnalysis"] = [{"category": each["category"]} for each in answer["categoriesAnalysis"]]
        if fault == "no-category":
            answer["categoriesAnalysis"] = []
        self.send_json(200, answer, {"apim-request-id": "req_content_safety"})

    def refuse(self, status, message):
        headers = {"x-ms-error-code": CODES.get(status, str(status)), **({"retry-after": "1"} if status == 429 else {})}
        self.send_json(status, error(status, message), headers)
