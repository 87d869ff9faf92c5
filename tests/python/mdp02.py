"""Majordomo 0.2 (ZeroMQ RFC 18), by the letter, with partial replies.

    mdp02.py worker ENDPOINT SERVICE          sends each frame of a request back as a partial reply, then "done"
    mdp02.py client ENDPOINT SERVICE COUNT    asks so many times, one after the other
"""
import sys
import zmq

SOCKET = zmq.Context.instance().socket(zmq.DEALER)


def worker(service):
    SOCKET.send_multipart([b"MDPW02", b"\x01", service])
    while True:
        if not SOCKET.poll(2500):
            SOCKET.send_multipart([b"MDPW02", b"\x05"])
            continue
        header, command, *rest = SOCKET.recv_multipart()
        assert header == b"MDPW02", header
        if command == b"\x02":
            client, empty, *body = rest
            assert empty == b""
            for frame in body:
                SOCKET.send_multipart([b"MDPW02", b"\x03", client, b"", frame])
            SOCKET.send_multipart([b"MDPW02", b"\x04", client, b"", b"done"])
        elif command == b"\x06":
            sys.exit("told to go")
        else:
            assert command == b"\x05", command


def client(service, count):
    for number in range(count):
        body = [b"part", str(number).encode()]
        SOCKET.send_multipart([b"MDPC02", b"\x01", service, *body])
        for command, expected in [(b"\x02", body[0]), (b"\x02", body[1]), (b"\x03", b"done")]:
            if not SOCKET.poll(60_000):
                sys.exit(f"no answer to request {number}")
            reply = SOCKET.recv_multipart()
            assert reply == [b"MDPC02", command, service, expected], reply
    print(f"{count} answers")


role, endpoint, service, *count = sys.argv[1:]
SOCKET.linger = 0
SOCKET.connect(endpoint)
{"worker": worker, "client": client}[role](service.encode(), *map(int, count))
