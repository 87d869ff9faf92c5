"""Majordomo 0.1 (ZeroMQ RFC 7) as the guide's Python programs speak it: REQ clients that retry, workers on DEALER.

    mdp01.py worker ENDPOINT SERVICE [SECONDS]    answers each request with its frames in capitals, after so much work
    mdp01.py client ENDPOINT SERVICE COUNT        asks so many times, one after the other; first whether the service is there
    mdp01.py burst ENDPOINT SERVICE COUNT         asks so many times before it reads the first answer
"""
import sys
import time
import zmq

READY, REQUEST, REPLY, HEARTBEAT, DISCONNECT = b"\x01", b"\x02", b"\x03", b"\x04", b"\x05"
INTERVAL = 2.5  # seconds, between heartbeats
LIVENESS = 3  # intervals without a word after which the broker counts as gone


def dealer(endpoint):
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.linger = 0
    socket.connect(endpoint)
    return socket


def register(endpoint, service):
    socket = dealer(endpoint)
    socket.send_multipart([b"", b"MDPW01", READY, service])
    return socket


def worker(endpoint, service, seconds=0):
    socket = register(endpoint, service)
    alive, next_heartbeat = LIVENESS, time.monotonic() + INTERVAL
    while True:
        is_over = False
        if socket.poll(INTERVAL * 1000):
            alive = LIVENESS
            empty, header, command, *rest = socket.recv_multipart()
            assert (empty, header) == (b"", b"MDPW01"), (empty, header)
            if command == REQUEST:
                client, empty, *body = rest
                assert empty == b""
                time.sleep(seconds)  # as the guide's, it sends no heartbeat meanwhile
                socket.send_multipart([b"", b"MDPW01", REPLY, client, b"", *(frame.upper() for frame in body)])
            else:
                assert command in (HEARTBEAT, DISCONNECT), command
                is_over = command == DISCONNECT
        else:
            alive -= 1
            is_over = alive == 0
        if is_over:
            socket.close()
            socket, alive = register(endpoint, service), LIVENESS
        if time.monotonic() > next_heartbeat:
            socket.send_multipart([b"", b"MDPW01", HEARTBEAT])
            next_heartbeat = time.monotonic() + INTERVAL


def ask(endpoint, service, body):
    for _attempt in range(3):
        with zmq.Context.instance().socket(zmq.REQ) as socket:
            socket.linger = 0
            socket.connect(endpoint)
            socket.send_multipart([b"MDPC01", service, *body])
            if socket.poll(INTERVAL * 1000):
                header, answered, *reply = socket.recv_multipart()
                assert (header, answered) == (b"MDPC01", service), (header, answered)
                return reply
    sys.exit(f"no answer to {body}")


def client(endpoint, service, count):
    assert ask(endpoint, b"mmi.service", [service]) == [b"200"]
    for number in range(count):
        body = [b"request", str(number).encode()]
        reply = ask(endpoint, service, body)
        assert [frame.upper() for frame in reply] == [frame.upper() for frame in body], reply
    print(f"{count} answers")


def burst(endpoint, service, count):
    socket = dealer(endpoint)
    for number in range(count):
        socket.send_multipart([b"", b"MDPC01", service, str(number).encode()])
    expected = {str(number).encode() for number in range(count)}
    while expected:
        if not socket.poll(60_000):
            sys.exit(f"{len(expected)} requests without an answer")
        empty, header, answered, body = socket.recv_multipart()
        assert (empty, header, answered) == (b"", b"MDPC01", service), (empty, header, answered)
        expected.remove(body)
    print(f"{count} answers")


role, endpoint, service, *count = sys.argv[1:]
{"worker": worker, "client": client, "burst": burst}[role](endpoint, service.encode(), *map(int, count))
