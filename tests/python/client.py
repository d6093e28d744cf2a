"""Drives one conversation from CreateSandbox to DeleteSandbox through the gate, as an application would.

Usage: client.py ADDRESS API_KEY_FILE CONVERSATION, with the generated stubs on PYTHONPATH.
Prints one JSON object with what it saw; exits with 1, saying why, when an answer is not what it must be.
"""

import json
import sys
import uuid

import grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2
from sandgate.orchestrator.v1 import sandbox_pb2, sandbox_pb2_grpc
from sandgate.sandbox.v1 import file_pb2, file_pb2_grpc, process_pb2, process_pb2_grpc
from sandgate.storage.v1 import workspace_pb2, workspace_pb2_grpc


def check(condition: bool, what: str) -> None:
    """Ends the program when an answer is not what it must be."""
    if not condition:
        sys.exit(f"client.py: {what}")


def details(error: grpc.RpcError) -> list:
    """The google.rpc details of an error."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return list(status_pb2.Status.FromString(value).details)
    return []


def violated_fields(error: grpc.RpcError) -> list:
    """The fields that a BadRequest names."""
    fields = []
    for detail in details(error):
        bad_request = error_details_pb2.BadRequest()
        if detail.Unpack(bad_request):
            fields += [violation.field for violation in bad_request.field_violations]
    return fields


class Conversation:
    """One conversation, with the calls that this program makes in it."""

    def __init__(self, address: str, key: str, name: str) -> None:
        self.name = name
        self.channel = grpc.insecure_channel(address)
        self.key = (("authorization", f"Bearer {key}"),)
        self.sandboxes = sandbox_pb2_grpc.SandboxServiceStub(self.channel)
        self.processes = process_pb2_grpc.ProcessServiceStub(self.channel)
        self.files = file_pb2_grpc.FileServiceStub(self.channel)
        self.workspaces = workspace_pb2_grpc.WorkspaceServiceStub(self.channel)
        self.sandbox_id = ""

    def inside(self) -> tuple:
        """The metadata of a call to the sandbox itself."""
        return self.key + (("x-sandbox-id", self.sandbox_id),)

    def create(self, **fields) -> sandbox_pb2.CreateSandboxResponse:
        request = sandbox_pb2.CreateSandboxRequest(
            conversation=self.name,
            wait=sandbox_pb2.WAIT_READY,
            **({"request_id": str(uuid.uuid4())} | fields),
        )
        answer = self.sandboxes.CreateSandbox(request, metadata=self.key, timeout=60)
        self.sandbox_id = answer.sandbox.sandbox_id
        return answer

    def run(self, *argv: str, **fields) -> tuple:
        """Runs a command to its end: exit code, standard output, standard error."""
        request = process_pb2.RunProcessRequest(argv=argv, **fields)
        out, err, code = b"", b"", None
        for message in self.processes.RunProcess(request, metadata=self.inside(), timeout=60):
            event = message.event
            match event.WhichOneof("event"):
                case "stdout":
                    out += event.stdout.data
                case "stderr":
                    err += event.stderr.data
                case "ended":
                    code = event.ended.exit_code if event.ended.WhichOneof("how") == "exit_code" else None
        return code, out, err

    def write(self, path: bytes, content: bytes) -> None:
        """Writes a file of the running sandbox."""

        def parts():
            yield file_pb2.WriteFileRequest(header=file_pb2.WriteFileHeader(path=path, make_parents=True))
            for start in range(0, len(content), 1 << 18):
                yield file_pb2.WriteFileRequest(data=content[start : start + (1 << 18)])

        self.files.WriteFile(parts(), metadata=self.inside(), timeout=60)

    def read(self, path: bytes) -> bytes:
        """Reads a file of the running sandbox."""
        answers = self.files.ReadFile(file_pb2.ReadFileRequest(path=path), metadata=self.inside(), timeout=60)
        return b"".join(answer.data for answer in answers)

    def stored(self, path: bytes) -> bytes:
        """Reads a file from storage; no sandbox is asked."""
        request = workspace_pb2.ReadFileRequest(
            workspace=workspace_pb2.WorkspaceName(conversation=self.name), path=path
        )
        return b"".join(part.data for part in self.workspaces.ReadFile(request, metadata=self.key, timeout=60))


def refused(call, code: grpc.StatusCode, what: str) -> grpc.RpcError:
    """Expects a call to be refused with a code."""
    try:
        call()
    except grpc.RpcError as error:
        check(error.code() == code, f"{what}: got {error.code()} ({error.details()}), want {code}")
        return error
    sys.exit(f"client.py: {what}: was not refused")


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit("usage: client.py ADDRESS API_KEY_FILE CONVERSATION")
    address, key_file, name = sys.argv[1:]
    with open(key_file, encoding="utf-8") as file:
        key = file.read().strip()
    talk = Conversation(address, key, name)

    stranger = Conversation(address, "sgk_nobody", name)
    refused(stranger.create, grpc.StatusCode.UNAUTHENTICATED, "a made-up key")
    error = refused(lambda: talk.create(template="no-such-template"), grpc.StatusCode.INVALID_ARGUMENT, "a template")
    check(violated_fields(error) == ["template"], f"the template's refusal names {violated_fields(error)}")
    error = refused(
        lambda: talk.create(ttl=duration_pb2.Duration(seconds=-1)), grpc.StatusCode.INVALID_ARGUMENT, "a negative ttl"
    )
    check(violated_fields(error) == ["ttl"], f"the ttl's refusal names {violated_fields(error)}")

    request_id = str(uuid.uuid4())
    first = talk.create(request_id=request_id)
    check(first.created, f"the conversation {name} has a sandbox already; name another, since this one's is deleted")
    check(first.sandbox.phase == sandbox_pb2.PHASE_READY, f"it is {first.sandbox.phase}, not ready")
    again = talk.create(request_id=request_id)
    check(again.created and again.sandbox.sandbox_id == first.sandbox.sandbox_id, "a replay has another answer")
    second = talk.create()
    check(not second.created and second.sandbox.sandbox_id == first.sandbox.sandbox_id, "there are two sandboxes")

    code, out, err = talk.run("/bin/sh", "-c", "echo to-out; echo to-err >&2; exit 7")
    check((code, out, err) == (7, b"to-out\n", b"to-err\n"), f"ran to {(code, out, err)}")
    code, out, _ = talk.run("cat", stdin=b"from the client")
    check((code, out) == (0, b"from the client"), f"stdin came back as {(code, out)}")
    content = bytes(range(256)) * 8192
    talk.write(b"data/blob.bin", content)
    check(talk.read(b"data/blob.bin") == content, "a written file reads differently")
    code, out, _ = talk.run("/bin/sh", "-c", "wc -c < /workspace/data/blob.bin")
    check((code, out.strip()) == (0, str(len(content)).encode()), f"inside it has {out!r} bytes")

    suspended = talk.sandboxes.SuspendSandbox(
        sandbox_pb2.SuspendSandboxRequest(sandbox_id=talk.sandbox_id), metadata=talk.key, timeout=60
    ).sandbox
    check(suspended.phase == sandbox_pb2.PHASE_SUSPENDED, f"it is {suspended.phase}, not suspended")
    check(talk.stored(b"data/blob.bin") == content, "a stored file reads differently")
    resumed = talk.sandboxes.ResumeSandbox(
        sandbox_pb2.ResumeSandboxRequest(sandbox_id=talk.sandbox_id, wait=sandbox_pb2.WAIT_READY),
        metadata=talk.key,
        timeout=60,
    ).sandbox
    check(resumed.sandbox_id == first.sandbox.sandbox_id, "resume changed the id")
    check(resumed.instance.generation > first.sandbox.instance.generation, "resume kept the generation")
    check(talk.read(b"data/blob.bin") == content, "a file did not survive suspend and resume")

    deleted = talk.sandboxes.DeleteSandbox(
        sandbox_pb2.DeleteSandboxRequest(sandbox_id=talk.sandbox_id), metadata=talk.key, timeout=60
    ).sandbox
    check(deleted.phase == sandbox_pb2.PHASE_DELETED, f"it is {deleted.phase}, not deleted")
    check(bool(deleted.workspace_version), "delete answered no version")
    refused(lambda: talk.run("true"), grpc.StatusCode.NOT_FOUND, "a process in a deleted sandbox")
    talk.sandboxes.DeleteSandbox(
        sandbox_pb2.DeleteSandboxRequest(sandbox_id=talk.sandbox_id), metadata=talk.key, timeout=60
    )
    check(talk.stored(b"data/blob.bin") == content, "files are gone with the sandbox")
    print(json.dumps({"sandbox_id": first.sandbox.sandbox_id, "workspace_version": deleted.workspace_version}))


if __name__ == "__main__":
    main()
