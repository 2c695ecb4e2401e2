"""A model server that nobody here wrote: llama.cpp's own, by its Python package, with a tiny model, as a process of its own.

    python model_server.py MODEL PORT KEY [--embeddings]

Sources: https://github.com/ggml-org/llama.cpp/tree/master/tools/server and https://github.com/xorbitsai/xllamacpp
"""

import re
import signal
import sys

import httpx
import tiny_llama
from foreign_server import ForeignServer
from support import free_port


class ModelServer(ForeignServer):
    """One server, which has one model and does one thing with it: chats, or embeddings."""

    name = "the model server"

    def __init__(self, folder, key, embeddings=False):
        self.key, port = key, free_port()
        model = tiny_llama.write(folder / "tiny.gguf")
        super().__init__(folder, port, [sys.executable, __file__, model, str(port), key, *["--embeddings"] * embeddings])
        self.wait_until_ready()

    def post(self, path, body):
        """Asks the server itself, without a gateway."""
        answer = httpx.post(self.url + path, json=body, headers={"authorization": f"Bearer {self.key}"}, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def counted(self):
        """Tokens that it has read and written since it started, by its own account."""
        answer = httpx.get(self.url + "/metrics", headers={"authorization": f"Bearer {self.key}"}, timeout=60)
        found = dict(re.findall(r"^llamacpp:(\w+) (\d+)$", answer.text, re.MULTILINE))
        return int(found["prompt_tokens_total"]), int(found["tokens_predicted_total"])


def serve(model, port, key, embeddings):
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.model_alias = model, {"tiny"}
    params.hostnames, params.port, params.api_keys = ["127.0.0.1"], int(port), [key]
    params.n_ctx = tiny_llama.CONTEXT
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.endpoint_metrics, params.ui, params.warmup = True, False, False
    # What is read from a cache does not count as read.
    params.cache_prompt, params.cache_ram_mib = False, 0
    if embeddings:
        params.embedding, params.pooling_type = True, xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = xllamacpp.Server(params)
    print("serves at", server.listening_address, flush=True)
    signal.pause()


if __name__ == "__main__":
    serve(*sys.argv[1:4], embeddings="--embeddings" in sys.argv)
