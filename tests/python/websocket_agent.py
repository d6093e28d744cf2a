"""An agent's WebSocket, opened as anybody would: the base of the route is in its environment."""

import os
import sys

sys.path.insert(0, "lib")

from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

base = os.environ["SANDGATE_URL_LIVE"].replace("http://", "ws://").rstrip("/")
with connect(f"{base}/chat", compression="deflate") as socket:
    print(socket.recv())
    for message in ["hello", "x" * 100_000, b"\x00\xff"]:
        socket.send(message)
        assert socket.recv() == message
try:
    connect(base.replace("/live", "/closed") + "/chat")
except InvalidStatus as refused:
    print(refused.response.status_code)
