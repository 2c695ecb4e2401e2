"""A real Valkey or Redis, whichever is installed: what several replicas share."""

import shutil
import signal
import subprocess

from support import free_port


class Redis:
    def __init__(self, folder):
        command = next((name for name in ("valkey-server", "redis-server") if shutil.which(name)), None)
        assert command, "redis-server is not installed; run .ci/run setup, or install Debian's redis-server"
        self.port, self.folder, self.command = free_port(), folder, command
        self.start()

    def start(self):
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", self.folder]
        self.child = subprocess.Popen([self.command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self):
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"
