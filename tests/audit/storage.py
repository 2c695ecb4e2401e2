"""Object storage that can be taken away: moto's S3 behind a proxy that refuses."""

import contextlib
import logging
import socket
import threading

import boto3
from moto.server import ThreadedMotoServer
from support import free_port

KEYS = {"aws_access_key_id": "audit", "aws_secret_access_key": "audit-secret"}
BUCKET = "tollgate"
PIECE_BYTES = 65536


class Proxy:
    """A TCP proxy. While it is away, connections are cut and new ones closed at once."""

    def __init__(self, target):
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", free_port()), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.away = False
        self.open = set()
        threading.Thread(target=self.accept, daemon=True).start()

    def take_away(self):
        self.away = True
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def give_back(self):
        self.away = False

    def accept(self):
        while True:
            with contextlib.suppress(OSError):
                caller, _ = self.listener.accept()
                if self.away:
                    caller.close()
                    continue
                server = socket.create_connection(self.target)
                self.open |= {caller, server}
                for pair in ((caller, server), (server, caller)):
                    threading.Thread(target=self.copy, args=pair, daemon=True).start()

    def copy(self, source, sink):
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                sink.sendall(piece)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self.open.discard(source)
        source.close()


class Storage:
    """A bucket, and the section of the configuration that names it."""

    def __init__(self):
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
        self.server.start()
        host, port = self.server.get_host_and_port()
        self.client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1", **KEYS)
        self.client.create_bucket(Bucket=BUCKET)
        self.proxy = Proxy((host, port))
        options = {
            **KEYS,
            "aws_region": "us-east-1",
            "aws_endpoint": f"http://127.0.0.1:{self.proxy.port}",
            "aws_allow_http": "true",
        }
        self.section = {"url": f"s3://{BUCKET}/audit", "options": options}

    def stop(self):
        self.server.stop()
