"""A small but real agent: it reads a data set from its workspace, asks an HTTP backend and a gRPC backend
through the gate, and writes results. Beside the standard library it needs grpcio and the generated stubs,
which the test puts into `/workspace/lib`.

What it writes is a function of the input and of what the backends answer, so that it can be checked byte by byte.
"""

import csv
import json
import os
import sys
import urllib.request

sys.path.insert(0, "/workspace/lib")

import grpc  # noqa: E402
from scores.v1 import scores_pb2, scores_pb2_grpc  # noqa: E402


def definition(word: str) -> dict:
    """Asks the HTTP backend. A caller that lies about who it is must not be believed."""
    request = urllib.request.Request(
        os.environ["SANDGATE_URL_WORDS"] + "/define?word=" + word,
        headers={"x-tenant": "somebody-else", "authorization": "Bearer made-up"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def main() -> None:
    with open("/workspace/input/words.csv", newline="", encoding="utf-8") as file:
        words = [row["word"] for row in csv.DictReader(file)]
    channel = grpc.insecure_channel(os.environ["SANDGATE_URL"].removeprefix("http://"))
    scores = scores_pb2_grpc.ScoreServiceStub(channel)
    os.makedirs("/workspace/output", exist_ok=True)
    with open("/workspace/output/results.jsonl", "w", encoding="utf-8") as out:
        for word in words:
            scored = scores.Score(scores_pb2.ScoreRequest(word=word), timeout=30)
            row = {
                "word": word,
                "definition": definition(word),
                "score": scored.score,
                "identity": dict(scored.identity),
            }
            out.write(json.dumps(row, sort_keys=True) + "\n")
    requests = (scores_pb2.TotalsRequest(word=word) for word in words)
    totals = [answer.total for answer in scores.Totals(requests, timeout=60)]
    with open("/workspace/output/totals.json", "w", encoding="utf-8") as out:
        json.dump(totals, out)
    print(f"{len(words)} words done")


if __name__ == "__main__":
    main()
