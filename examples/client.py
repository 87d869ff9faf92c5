"""Calls a service in plain Majordomo 0.2 (ZeroMQ RFC 18). Needs `pip install pyzmq`.

client.py [SERVICE [TEXT [ENDPOINT]]]
"""
import sys
import zmq

service, text, endpoint = (sys.argv[1:] + ["afficher", "hello", "tcp://127.0.0.1:5555"][len(sys.argv) - 1 :])[:3]
socket = zmq.Context().socket(zmq.DEALER)
socket.connect(endpoint)
socket.send_multipart([b"MDPC02", b"\x01", service.encode(), text.encode()])
if not socket.poll(5000):
    sys.exit(f"no reply from {endpoint} within 5 s: no node listens there, or the request failed (see the node's log)")
_header, _final, _service, *body = socket.recv_multipart()
print(b"\n".join(body).decode())
