"""Apache Kafka's Java programs: a class or a source file in a JVM of its own, and many runs of its console tools in one (`Tools.java`)."""

import shutil
import struct
import subprocess
from pathlib import Path

from support import ROOT

# Most of these JVMs live for a second: what makes them start quickly matters more than what makes them run quickly.
QUICK_JVM = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]


def command(main):
    """How `main`, a class or a source file, is run with Apache Kafka's jars."""
    assert shutil.which("java"), "needs a JDK (17 or later) as `java`"
    script = str(ROOT / "scripts" / "kafka")
    jars = subprocess.run([script, "jars"], check=True, capture_output=True, text=True, timeout=300).stdout.strip()
    return ["java", *QUICK_JVM, "-cp", f"{jars}/*", str(main)]


class Tools:
    """Console tools, each run as a new process would be, but for the process."""

    def __init__(self):
        source = Path(__file__).parent / "Tools.java"
        self.jvm = subprocess.Popen(command(source), stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, main, *arguments, code=0):
        """Runs the `main` of a class; gives the finished run, as of a process."""
        words = [main, *map(str, arguments)]
        self.jvm.stdin.write(struct.pack(">i", len(words)))
        for word in words:
            self.jvm.stdin.write(struct.pack(">i", len(word.encode())) + word.encode())
        self.jvm.stdin.flush()
        (ended,) = struct.unpack(">i", self._read(4))
        out, err = (self._read(*struct.unpack(">i", self._read(4))).decode("utf-8", "replace") for _ in range(2))
        assert ended == code, f"{main} {arguments} ended with {ended}\n{out}\n{err}"
        return subprocess.CompletedProcess(words, ended, out, err)

    def _read(self, count):
        read = self.jvm.stdout.read(count)
        assert len(read) == count, f"the JVM of the console tools ended with {self.jvm.wait(60)}"
        return read

    def end(self):
        self.jvm.stdin.close()
        try:
            self.jvm.wait(60)
        finally:
            self.jvm.kill()
