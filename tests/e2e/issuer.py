"""A small OpenID Connect issuer: a discovery document, a key set that can be rotated, and tokens, right or forged."""

import base64
import hashlib
import hmac
import http.server
import json
import threading
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from support import free_port


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value):
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class Issuer:
    def __init__(self, audience="tollgate"):
        self.audience = audience
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.keys = {}
        self.asked = []
        self.server = None
        self.rotate("first")

    def rotate(self, kid, keep=False):
        """A new key; the earlier ones are withdrawn unless they are kept."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.keys = {**(self.keys if keep else {}), kid: key}
        self.kid = kid
        return key

    def start(self):
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.asked.append(self.path)
                documents = {"/.well-known/openid-configuration": issuer.discovery, "/jwks": issuer.jwks}
                document = documents.get(self.path)
                body = json.dumps(document() if document else {}).encode()
                self.send_response(200 if document else 404)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            allow_reuse_address = True

        self.server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def stop(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def discovery(self):
        return {"issuer": self.url, "jwks_uri": self.url + "/jwks"}

    def jwks(self):
        def public(kid, key):
            numbers = key.public_key().public_numbers()
            return {"kty": "RSA", "use": "sig", "kid": kid, "n": number(numbers.n), "e": number(numbers.e)}

        return {"keys": [public(kid, key) for kid, key in self.keys.items()]}

    def claims(self, **more):
        now = int(time.time())
        return {
            "iss": self.url,
            "aud": self.audience,
            "sub": "ada",
            "groups": ["search"],
            "exp": now + 600,
            "nbf": now - 5,
            **more,
        }

    def token(self, alg="RS256", kid=None, key=None, **claims):
        """A token; a claim that is None is left out."""
        kid = kid or self.kid
        header = {"alg": alg, "typ": "JWT", "kid": kid}
        body = {name: value for name, value in self.claims(**claims).items() if value is not None}
        message = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(body).encode())}"
        return f"{message}.{b64(self.sign(alg, key or self.keys[kid], message.encode()))}"

    @staticmethod
    def sign(alg, key, message):
        if alg == "none":
            return b""
        if alg == "HS256":
            public = key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            return hmac.new(public, message, hashlib.sha256).digest()
        return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
