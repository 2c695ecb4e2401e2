"""Object storage that can be taken away."""

import uuid

import boto3
from ledger import s3_options
from moto.server import ThreadedMotoServer
from support import free_port


class Bucket:
    """A bucket of a server of its own that can be stopped; what it holds stays."""

    def __init__(self):
        self.port = free_port()
        address = f"http://127.0.0.1:{self.port}"
        self.bring_back()
        keys = {"aws_access_key_id": "e2e", "aws_secret_access_key": "e2e-secret", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket="away")
        self.config = {"url": f"s3://away/{uuid.uuid4().hex}", "options": s3_options(address)}

    def take_away(self):
        self.server.stop()

    def bring_back(self):
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self.server.start()
