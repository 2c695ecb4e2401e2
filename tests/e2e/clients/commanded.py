"""A broker that a command starts and that can be stopped, killed and started again on its port and data."""

import shlex
import shutil
import socket
import subprocess

from support import eventually, free_port


class Commanded:
    """A broker that runs in the foreground of a command with `{port}` and `{dir}` in it, and ends on SIGTERM."""

    def __init__(self, command, folder):
        self.folder = folder
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.command = [part.format(port=self.port, dir=folder / "data") for part in shlex.split(command)]
        self.process = None

    def start(self):
        with (self.folder / "broker.log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        eventually(self._listens, "a broker that listens")

    def stop(self):
        self.process.terminate()
        code = self.process.wait(60)
        assert code == 0, f"the broker ended with {code}:\n{self._tail()}"

    def kill(self):
        self.process.kill()
        self.process.wait(60)

    def clean(self):
        """Ends it and deletes its data; a broker that ended by itself is a failure."""
        ended = self.process.poll()
        tail = self._tail()
        self.kill()
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        assert ended is None, f"the broker had ended with {ended}:\n{tail}"

    def _listens(self):
        assert self.process.poll() is None, f"the broker ended with {self.process.returncode}:\n{self._tail()}"
        return _accepts(self.port)

    def _tail(self):
        return (self.folder / "broker.log").read_text(errors="replace")[-4000:]


def _accepts(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
