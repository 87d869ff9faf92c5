"""Titanic (ZeroMQ RFC 9) as the guide has it: three workers in one process, which keep requests that clients fetch later.

    titanic.py serve ENDPOINT                  the three workers, and the one who asks the services; keeps all in memory
    titanic.py client ENDPOINT SERVICE COUNT   leaves so many requests, fetches and closes each

All are of Majordomo 0.1.
"""
import queue
import sys
import threading
import uuid
import zmq

KEPT = {}  # by uuid: a request, then its reply
OPEN = queue.Queue()
INTERVAL = 2500  # milliseconds


def connected(kind, endpoint):
    socket = zmq.Context.instance().socket(kind)
    socket.linger = 0
    socket.connect(endpoint)
    return socket


def ask(endpoint, service, *body):
    """Asks once, in a connection of its own."""
    with connected(zmq.REQ, endpoint) as socket:
        socket.send_multipart([b"MDPC01", service, *body])
        if not socket.poll(60_000):
            raise TimeoutError(service)
        header, answered, *reply = socket.recv_multipart()
        assert (header, answered) == (b"MDPC01", service), (header, answered)
        return reply


def leave(service, *body):
    name = uuid.uuid4().hex.encode()
    KEPT[name] = None
    OPEN.put((name, service, body))
    return [b"200", name]


def fetch(name):
    if name not in KEPT:
        return [b"400"]
    return [b"300"] if KEPT[name] is None else [b"200", *KEPT[name]]


def close(name):
    KEPT.pop(name, None)
    return [b"200"]


def work(endpoint, service, answer):
    with connected(zmq.DEALER, endpoint) as socket:
        socket.send_multipart([b"", b"MDPW01", b"\x01", service])
        while True:
            if not socket.poll(INTERVAL):
                socket.send_multipart([b"", b"MDPW01", b"\x04"])
                continue
            empty, header, command, *rest = socket.recv_multipart()
            assert (empty, header) == (b"", b"MDPW01"), (empty, header)
            assert command != b"\x05", f"the worker of {service} is not wanted"
            if command == b"\x02":
                client, empty, *body = rest
                client.decode("ascii")  # the guide's programs print it and take it for text
                socket.send_multipart([b"", b"MDPW01", b"\x03", client, b"", *answer(*body)])


def serve(endpoint):
    workers = [(b"titanic.request", leave), (b"titanic.reply", fetch), (b"titanic.close", close)]
    for service, answer in workers:
        threading.Thread(target=work, args=(endpoint, service, answer), daemon=True).start()
    while True:
        name, service, body = OPEN.get()
        assert ask(endpoint, b"mmi.service", service) == [b"200"], f"{service} cannot be reached"
        KEPT[name] = ask(endpoint, service, *body)


def client(endpoint, service, count):
    for number in range(int(count)):
        body = [b"request", str(number).encode()]
        status, name = ask(endpoint, b"titanic.request", service.encode(), *body)
        assert (status, len(name)) == (b"200", 32), (status, name)
        reply = [b"300"]
        while reply == [b"300"]:
            reply = ask(endpoint, b"titanic.reply", name)
        assert reply == [b"200", *(frame.upper() for frame in body)], reply
        assert ask(endpoint, b"titanic.close", name) == [b"200"]
        assert ask(endpoint, b"titanic.reply", name) == [b"400"], "it was closed"
    print(f"{count} answers")


role, *arguments = sys.argv[1:]
{"serve": serve, "client": client}[role](*arguments)
