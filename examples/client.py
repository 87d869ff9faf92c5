"""Calls a service from Python, in plain Majordomo 0.2 (ZeroMQ RFC 18): `pip install pyzmq`, then start a node."""
import sys
import zmq

service, text = sys.argv[1] if len(sys.argv) > 1 else "afficher", sys.argv[2] if len(sys.argv) > 2 else "bonjour"
socket = zmq.Context().socket(zmq.DEALER)
socket.connect("tcp://127.0.0.1:5555")
socket.send_multipart([b"MDPC02", b"\x01", service.encode(), text.encode()])
if not socket.poll(5000):
    sys.exit("no reply: Majordomo has no message for a failure, so the node's log tells why")
_, _, _, *body = socket.recv_multipart()
print(b"\n".join(body).decode())
