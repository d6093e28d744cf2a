"""A WebSocket backend: says which port it has, greets with the identity that reached it, and echoes."""

from websockets.sync.server import serve


def answer(connection):
    headers = connection.request.headers
    connection.send(f"{headers['x-user']} {headers['x-upstream-key']} {connection.request.path}")
    for message in connection:
        connection.send(message)


with serve(answer, "127.0.0.1", 0) as server:
    print(server.socket.getsockname()[1], flush=True)
    server.serve_forever()
