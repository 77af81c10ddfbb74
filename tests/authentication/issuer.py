"""Who signs JWTs, and who serves its keys over HTTP."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms

AUDIENCE = "https://zero.example.com"
ISSUER = "https://issuer.example.com/"
SECRET = "a secret of thirty-two bytes: yes"


@cache
def _private_key(algorithm: str, number: int) -> Any:
    match algorithm:
        case "RS256":
            return rsa.generate_private_key(65537, 2048)
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return SECRET


def private_key(algorithm: str, number: int = 0) -> Any:
    """A key of its own for each algorithm and number."""
    return _private_key(algorithm, number)


def pem(algorithm: str, number: int = 0) -> str:
    key = private_key(algorithm, number).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def jwk(algorithm: str, number: int = 0, *, private: bool = False, **fields: Any) -> dict[str, Any]:
    key = private_key(algorithm, number)
    if algorithm == "HS256":
        encoded = base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("=")
        return {"kty": "oct", "k": encoded, **fields}
    of_algorithm: Any = get_default_algorithms()[algorithm]
    return {**of_algorithm.to_jwk(key if private else key.public_key(), as_dict=True), **fields}


def claims(**changes: Any) -> dict[str, Any]:
    """Claims that are accepted, with `changes`; None takes one away."""
    now = int(time.time())
    all_claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "cache", "exp": now + 600, "nbf": now, "iat": now} | changes
    return {name: value for name, value in all_claims.items() if value is not None}


def signed(algorithm: str = "RS256", number: int = 0, *, kid: str | None = None, **changes: Any) -> str:
    """A JWT."""
    headers = None if kid is None else {"kid": kid}
    return jwt.encode(claims(**changes), private_key(algorithm, number), algorithm, headers=headers)


def assembled(header: Any, payload: Any, signature: bytes = b"") -> str:
    """A JWT in which everything is as it is given."""

    def part(value: Any) -> str:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    return f"{part(header)}.{part(payload)}.{part(signature)}"


def with_public_key_as_secret() -> str:
    """Signed with HMAC by what everybody knows: the text of the public key."""
    signing_input = assembled({"alg": "HS256"}, claims()).rpartition(".")[0]
    signature = hmac.digest(pem("RS256").encode(), signing_input.encode(), hashlib.sha256)
    return f"{signing_input}.{assembled(signature, b'').partition('.')[0]}"


def with_changed_payload() -> str:
    header, _, signature = signed().split(".")
    return f"{header}.{signed(sub='other').split('.')[1]}.{signature}"


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class KeyServer:
    """A JWKS URL on this machine: what it answers is set by a test, which also counts what it was asked."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/jwks.json"
        self.answer = Answer()
        self.count = 0
        self.may_answer = threading.Event()
        self.may_answer.set()

    def publish(self, *keys: dict[str, Any]) -> None:
        self.answer = Answer(body=json.dumps({"keys": keys}).encode())


@contextmanager
def key_server() -> Iterator[KeyServer]:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        served.count += 1
        served.may_answer.wait(30)
        answer = served.answer
        handler.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(answer.body)

    class Handler(BaseHTTPRequestHandler):
        do_GET: Callable[[BaseHTTPRequestHandler], None] = reply

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served = KeyServer(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield served
        finally:
            served.may_answer.set()
            server.shutdown()
            thread.join()
