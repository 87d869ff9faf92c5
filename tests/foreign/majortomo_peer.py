"""A worker and a client of the PyPI package majortomo.

    majortomo_peer.py worker ENDPOINT SERVICE    sends each frame of a request back as a partial reply, then "done"
    majortomo_peer.py client ENDPOINT SERVICE    asks once, and says how that ended
"""
import sys
from majortomo.client import Client
from majortomo.error import Timeout
from majortomo.worker import Worker


def worker(endpoint, service):
    with Worker(endpoint, service) as serving:
        while True:
            asker, body = serving.wait_for_request()
            serving.send_reply_from_iterable(asker, ([frame] for frame in body), final=[b"done"])


def client(endpoint, service):
    with Client(endpoint) as asking:
        asking.send(service, b"request")
        try:
            print(asking.recv_all_as_list(timeout=1))
        except Timeout:
            print("no answer")


role, endpoint, service = sys.argv[1:]
{"worker": worker, "client": client}[role](endpoint, service)
