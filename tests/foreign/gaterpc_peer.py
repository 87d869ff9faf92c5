"""A worker and a client of the PyPI package gaterpc, which calls methods by Majordomo 0.1.

    gaterpc_peer.py worker ENDPOINT SERVICE FOLDER          serves the method `shout`; logs go to the folder
    gaterpc_peer.py client ENDPOINT SERVICE FOLDER COUNT    calls it so many times

Its workers register as "SERVICE:DESCRIPTION:LIMIT", and only its own broker takes that apart: here it is the name.
"""
import asyncio
import pathlib
import sys
from gaterpc.core import Service, SimpleClient, Worker
from gaterpc.global_settings import Settings
from gaterpc.utils import SyncManager, interface

SyncManager.shutdown()  # a process for features that are not used here, which would outlive a kill


class Shouting(Worker):
    @interface
    async def shout(self, text):
        return text.upper()


async def worker(endpoint, service):
    serving = Service(service, "shouts").create_worker(Shouting, endpoint)
    serving.run()
    await asyncio.Event().wait()


async def client(endpoint, service, count):
    asking = SimpleClient(endpoint)
    for number in range(int(count)):
        reply = getattr(asking, f"{service}:shouts:{Settings.MESSAGE_MAX}").shout(f"request {number}")
        assert reply == {"result": f"REQUEST {number}", "exception": None}, reply
    print(f"{count} answers")


async def main(role, endpoint, service, folder, *count):
    Settings.setup(BASE_PATH=pathlib.Path(folder))  # its log wants an event loop
    await {"worker": worker, "client": client}[role](endpoint, service, *count)


asyncio.run(main(*sys.argv[1:]))
