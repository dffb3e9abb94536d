"""A node agent that knows nothing of Loadline but agent.proto.

    foreign_agent.py HOST:PORT TOKEN FOLDER_OF_PROTO

It joins with the token, registers 1 vCPU and 1 GiB, opens a session, takes one task through
RUNNING, waits until it is told to stop it, reports STOPPED with exit code 143, and leaves. Each
step is a line on standard output. It runs nothing.
"""

import hashlib
import importlib
import pathlib
import queue
import socket
import ssl
import sys
import tempfile
import threading
import uuid

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_tools import protoc

NAME = "controller.loadline.internal"
PATIENCE_S = 60


def say(text):
    print(text, flush=True)


def compile_proto(folder):
    """The generated modules, made from the .proto alone."""
    out = tempfile.mkdtemp(prefix="foreign-agent-")
    path = pathlib.Path(folder) / "loadline/agent/v1/agent.proto"
    words = ["protoc", f"-I{folder}", f"--python_out={out}", f"--grpc_python_out={out}", str(path)]
    assert protoc.main(words) == 0, "the .proto does not compile"
    sys.path.insert(0, out)
    messages = importlib.import_module("loadline.agent.v1.agent_pb2")
    services = importlib.import_module("loadline.agent.v1.agent_pb2_grpc")
    return messages, services


def presented_chain(host, port):
    """What the server shows, unverified: the check follows, before anything is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection((host, port), timeout=PATIENCE_S) as raw:
        with context.wrap_socket(raw, server_hostname=NAME) as tls:
            assert tls.version() == "TLSv1.3", tls.version()
            if hasattr(tls, "get_unverified_chain"):
                return [bytes(der) for der in tls.get_unverified_chain()]
            # Before Python 3.13 the chain is there, but not yet public.
            chain = tls._sslobj.get_unverified_chain()
            return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in chain]


def trusted_authority(chain, ca_hash):
    """The CA of the chain if it is the token's and signed the server; else nobody."""
    authority = chain[-1]
    if hashlib.sha256(authority).hexdigest() != ca_hash:
        return None
    server = x509.load_der_x509_certificate(chain[0])
    server.verify_directly_issued_by(x509.load_der_x509_certificate(authority))
    return authority


def pem(der):
    certificate = x509.load_der_x509_certificate(der)
    return certificate.public_bytes(serialization.Encoding.PEM)


def channel(address, authority, key=None, certificate=None):
    key_pem = None
    if key is not None:
        key_pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    chain_pem = pem(certificate) if certificate is not None else None
    credentials = grpc.ssl_channel_credentials(pem(authority), key_pem, chain_pem)
    return grpc.secure_channel(
        address, credentials, options=(("grpc.ssl_target_name_override", NAME),)
    )


class Session:
    """One open stream: what is put into `outgoing` is sent, `messages` is what is heard."""

    def __init__(self, pb, stub):
        self.pb = pb
        self.outgoing = queue.Queue(maxsize=64)
        self.ended = threading.Event()
        self.messages = stub.Session(iter(self.outgoing.get, None))

    def send(self, **kind):
        self.outgoing.put(self.pb.AgentMessage(**kind), timeout=PATIENCE_S)

    def beat(self, interval_ms):
        sequence = 0
        while not self.ended.wait(interval_ms / 1000):
            sequence += 1
            self.send(heartbeat=self.pb.Heartbeat(sequence=sequence))

    def hear(self, kind):
        """The next message of this kind; answers to heartbeats and log questions pass by."""
        for message in self.messages:
            heard = message.WhichOneof("kind")
            if heard == kind:
                return getattr(message, kind)
            assert heard in ("heartbeat_ack", "report_acks"), f"{heard} instead of {kind}"
        raise AssertionError(f"the session ended before {kind}")

    def apply(self, kind):
        change = self.hear(kind)
        self.send(applied=self.pb.Applied(generation=change.generation))
        return change

    def report(self, report):
        self.send(reports=self.pb.Reports(reports=[report]))
        while True:
            for ack in self.hear("report_acks").acks:
                if ack.task_arn == report.task_arn and report.version <= ack.version:
                    return

    def close(self):
        self.ended.set()
        self.outgoing.put(None)


def report(pb, task, version, status, container, exit_code=None, **more):
    containers = [
        pb.ContainerReport(name=spec.name, status=container, exit_code=exit_code)
        for spec in task.containers
    ]
    return pb.TaskReport(
        task_arn=task.arn, version=version, status=status, containers=containers, **more
    )


def enrol(pb, rpc, address, authority, token):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ignored")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    csr = request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    with channel(address, authority) as unnamed:
        stub = rpc.EnrolmentStub(unnamed)
        answer = stub.Enrol(pb.EnrolRequest(token=token, csr_der=csr), timeout=PATIENCE_S)
        try:
            rpc.NodeStub(unnamed).Register(pb.RegisterRequest(), timeout=PATIENCE_S)
            raise AssertionError("registered without a certificate")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAUTHENTICATED, error
    assert answer.ca_certificate_der == authority
    return key, answer


def work(pb, session):
    session.send(hello=pb.Hello(protocol_version=1, agent_run_id=uuid.uuid4().hex))
    welcome = session.hear("welcome")
    beats = threading.Thread(
        target=session.beat, args=(welcome.heartbeat_interval_ms,), daemon=True
    )
    beats.start()
    snapshot = session.apply("snapshot")
    assert snapshot.last and not snapshot.assignments, snapshot
    say("ready")

    change = session.apply("change")
    [assignment] = change.assignments
    assert assignment.desired_status == pb.DESIRED_STATUS_RUNNING
    task = assignment.task
    say(f"assigned {task.arn}")
    running = report(
        pb, task, 1, pb.TASK_STATUS_RUNNING, pb.CONTAINER_STATUS_RUNNING, started_at_ms=1
    )
    session.report(running)
    say("running")

    change = session.apply("change")
    [assignment] = change.assignments
    assert assignment.desired_status == pb.DESIRED_STATUS_STOPPED
    stopped = report(
        pb,
        task,
        2,
        pb.TASK_STATUS_STOPPED,
        pb.CONTAINER_STATUS_STOPPED,
        exit_code=143,
        stop_code=pb.STOP_CODE_USER_INITIATED,
        stopped_at_ms=2,
    )
    session.report(stopped)
    say("stopped")
    change = session.apply("change")
    assert list(change.forget_task_arns) == [task.arn], change
    say("forgotten")
    session.close()


def main(address, token, folder):
    pb, rpc = compile_proto(folder)
    host, port = address.rsplit(":", 1)
    _, _, _, ca_hash = token.split(".")
    chain = presented_chain(host, int(port))
    assert trusted_authority(chain, "0" * 64) is None, "another controller was trusted"
    authority = trusted_authority(chain, ca_hash)
    assert authority is not None, "the controller is not the token's"
    say("trusted")

    key, enrolled = enrol(pb, rpc, address, authority, token)
    say(f"enrolled {enrolled.container_instance_arn}")
    with channel(address, authority, key, enrolled.certificate_der) as mine:
        names = ProtoReflectionDescriptorDatabase(mine).get_services()
        assert "loadline.agent.v1.Node" in names, names
        stub = rpc.NodeStub(mine)
        registered = stub.Register(
            pb.RegisterRequest(
                protocol_version=1,
                agent_version="foreign",
                resources=pb.Resources(cpu_units=1024, memory_mib=1024),
                attributes=[pb.Attribute(name="foreign.language", value="python")],
            ),
            timeout=PATIENCE_S,
        )
        assert registered.container_instance_arn == enrolled.container_instance_arn
        say("registered")
        work(pb, Session(pb, stub))


if __name__ == "__main__":
    main(*sys.argv[1:])
