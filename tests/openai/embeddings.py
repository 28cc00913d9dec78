#!/usr/bin/env python3
"""Tests examples/go-embeddings-server with OpenAI's own client.

    embeddings.py SERVER MODEL EXPECTED LOG

EXPECTED is a JSON file of texts with what the library itself makes of them, and LOG a file for what
the server writes.
"""
import base64
import json
import signal
import socket
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import openai

SERVER, MODEL, EXPECTED, LOG = sys.argv[1:]
WAIT = 120
# Seconds of work for the model, in 2 MB.
LONG = ["a " * 500] * 2048


class Server:
    """The server in a process of its own, and a client of it."""

    def __init__(self, *flags):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.log = open(LOG, "w")
        address = "127.0.0.1:%d" % self.port
        self.process = subprocess.Popen([SERVER, "-addr", address, *flags, MODEL], stderr=self.log)
        self.client = openai.OpenAI(base_url="http://%s/v1" % address, api_key="none", max_retries=0, timeout=WAIT)
        wait_for("the server", lambda: self.listens() or self.process.poll() is not None)

    def listens(self):
        try:
            self.connect().close()
            return True
        except ConnectionRefusedError:
            return False

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        status = self.process.wait(WAIT)
        self.log.close()
        assert status == 0, status

    def embed(self, texts, **more):
        return self.client.embeddings.create(input=texts, model="tiny", **more)

    def refuses(self, error, texts, **more):
        try:
            self.embed(texts, **more)
        except error as e:
            assert set(e.body) == {"message", "type", "param", "code"}, e.body
            return e
        raise AssertionError("%r was answered" % str(texts)[:80])


def wait_for(what, happened):
    end = time.monotonic() + WAIT
    while not happened():
        assert time.monotonic() < end, "%s did not come" % what
        time.sleep(0.02)


def bits(vectors):
    return [struct.pack("<%df" % len(vector), *vector) for vector in vectors]


def vectors(answer):
    return [row.embedding for row in answer.data]


def test_vectors_are_those_of_the_library(server, expected):
    texts = expected["texts"]
    for more, dense in (({}, expected["dense"]), ({"dimensions": 5}, expected["dense5"])):
        as_floats = server.embed(texts, encoding_format="float", **more)
        as_base64 = server.embed(texts, encoding_format="base64", **more)
        by_default = server.embed(texts, user="somebody", **more)  # base64, which the client decodes
        assert bits(vectors(as_floats)) == bits(dense)
        assert [base64.b64decode(row) for row in vectors(as_base64)] == bits(dense)
        assert bits(vectors(by_default)) == bits(dense)
        for answer in (as_floats, as_base64, by_default):
            assert [row.index for row in answer.data] == list(range(len(texts)))
            assert {row.object for row in answer.data} == {"embedding"}
            assert (answer.object, answer.model) == ("list", "tiny")
            assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(expected["tokens"])
    one = server.embed(texts[0])
    assert len(one.data) == 1 and one.usage.prompt_tokens == expected["tokens"][0]
    assert near(one.data[0].embedding, expected["dense"][0])


def near(a, b):
    return len(a) == len(b) and max(abs(x - y) for x, y in zip(a, b)) < 2e-6


def test_mistakes_are_told(server, _):
    for texts, more, says, param, code in (
        ([1, 2, 3], {}, "tokens", None, None),
        ([[1, 2], [3]], {}, "tokens", None, None),
        (["a", None], {}, "string", None, None),
        (None, {}, "string", None, None),
        ([], {}, "1 to 2048", None, None),
        (["a"] * 2049, {}, "2049", None, None),
        ("a", {"encoding_format": "bits"}, "bits", None, None),
        ("a", {"dimensions": 17}, "17", None, "BGE_ERROR_INVALID_ARGUMENT"),
        ("a", {"dimensions": -1}, "-1", None, None),
        (["a", "a " * 600], {}, "512", "input[1]", "BGE_ERROR_TEXT_TOO_LONG"),
    ):
        error = server.refuses(openai.BadRequestError, texts, **more)
        assert says in error.body["message"], error
        assert (error.type, error.param, error.code) == ("invalid_request_error", param, code), error
    too_large = server.refuses(openai.APIStatusError, "a" * (8 << 20))
    assert too_large.status_code == 413 and too_large.type == "invalid_request_error", too_large


def test_64_clients_at_once(server, expected):
    def ask(i):
        text = i % len(expected["texts"])
        return near(server.embed(expected["texts"][text]).data[0].embedding, expected["dense"][text])

    with ThreadPoolExecutor(64) as pool:
        assert all(pool.map(ask, range(256)))


def test_a_client_that_leaves_stops_its_call(server, _):
    try:
        server.client.with_options(timeout=1).embeddings.create(input=LONG, model="tiny")
        raise AssertionError("the call was not long enough")
    except openai.APITimeoutError:
        pass
    wait_for("the end of the call", lambda: "499: bge: " in open(LOG).read())


def test_a_call_ends_in_time(server, _):
    error = server.refuses(openai.InternalServerError, LONG)
    assert (error.status_code, error.type, error.code) == (504, "server_error", "BGE_ERROR_TIMEOUT"), error
    # Nor does it wait for a body for ever.
    with server.connect() as slow:
        slow.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\n{")
        assert slow.recv(12) == b"HTTP/1.1 408"


def test_what_was_asked_before_the_end_is_answered(server, _):
    body = b'{"input": "Pria itu berdiri."}'
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: here\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    with server.connect() as asking:
        asking.sendall(head % len(body))
        # The server reads the body, and so has taken the request.
        assert asking.recv(1000).startswith(b"HTTP/1.1 100 ")
        server.process.send_signal(signal.SIGTERM)
        wait_for("the end of listening", lambda: not server.listens())
        asking.sendall(body)
        assert asking.recv(12) == b"HTTP/1.1 200"
    assert server.process.wait(WAIT) == 0


def main():
    with open(EXPECTED) as file:
        expected = json.load(file)
    with Server() as server:
        test_vectors_are_those_of_the_library(server, expected)
        test_mistakes_are_told(server, expected)
        test_64_clients_at_once(server, expected)
        test_a_client_that_leaves_stops_its_call(server, expected)
    with Server("-timeout", "1s") as server:
        test_a_call_ends_in_time(server, expected)
    with Server() as server:
        test_what_was_asked_before_the_end_is_answered(server, expected)
    print("all passed")


if __name__ == "__main__":
    main()
