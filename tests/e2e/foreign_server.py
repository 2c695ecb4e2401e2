"""Servers of others, as processes: what the model servers, mocks and proxies that stand behind a gateway have in common."""

import signal
import subprocess

import httpx
from support import eventually


class ForeignServer:
    """One that listens at `port` of this machine and says at `health` whether it serves. Who makes it waits until it is ready."""

    name, health, path = "", "/health", ""

    def __init__(self, folder, port, command, **popen):
        self.port, self.log_file = port, folder / "server.log"
        with self.log_file.open("wb") as log:
            self.child = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, **popen)

    @property
    def root(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self):
        """Where its API begins."""
        return self.root + self.path

    def wait_until_ready(self, seconds=60):
        try:
            eventually(self.is_ready, f"{self.name} is ready", seconds)
        except BaseException:
            self.kill()
            raise

    def is_ready(self):
        assert self.child.poll() is None, f"{self.name} ended\n{self.log_file.read_text(errors='replace')[-4000:]}"
        try:
            return httpx.get(self.root + self.health, timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self):
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()
