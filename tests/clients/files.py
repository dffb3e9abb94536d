"""Environment files of tasks, on a real node, from a store that checks every signature by botocore.

The second argument is the port to serve on, or "none" for a controller that knows no store.
"""

import datetime
import http.server
import json
import os
import sys
import threading
import urllib.parse

import boto3
import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from harness import ENDPOINT, claim, client, equal, finish

KEY = Credentials("STORE", "store-secret")
REGION = "eu-west-1"

objects = {}
asked = []


class SignedAsThen(botocore.auth.S3SigV4Auth):
    """Signs as of the request's own time."""

    def __init__(self, then):
        super().__init__(KEY, "s3", REGION)
        self.then = then

    def expected(self, method, url, headers):
        request = AWSRequest(method=method, url=url, headers=headers)
        request.context["timestamp"] = self.then
        canonical = self.canonical_request(request)
        return self.signature(self.string_to_sign(request, canonical), request)


class Store(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, code):
        self.answer(status, f"<Error><Code>{code}</Code></Error>".encode())

    def is_signed(self):
        then = self.headers["x-amz-date"]
        age = abs(datetime.datetime.now(datetime.timezone.utc) - datetime.datetime.strptime(
            then, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc))
        names = ("host", "x-amz-content-sha256", "x-amz-date")
        signed = SignedAsThen(then).expected(
            "GET", f"http://{self.headers['host']}{self.path}",
            {name: self.headers[name] for name in names})
        scope = f"Credential={KEY.access_key}/{then[:8]}/{REGION}/s3/aws4_request"
        given = self.headers["authorization"]
        return (age < datetime.timedelta(minutes=15) and scope in given
                and f"SignedHeaders={';'.join(names)}" in given
                and given.endswith(f"Signature={signed}"))

    def do_GET(self):
        path = urllib.parse.unquote(self.path)
        asked.append(path)
        if not self.is_signed():
            return self.refuse(403, "SignatureDoesNotMatch")
        found = objects.get(path)
        if found is None:
            return self.refuse(404, "NoSuchKey")
        if callable(found):
            return found(self)
        return self.answer(200, found)


once = Config(retries={"total_max_attempts": 1})
ecs, iam = client(), boto3.client("iam", endpoint_url=ENDPOINT, config=once)
role = iam.create_role(RoleName="execution", AssumeRolePolicyDocument=json.dumps({
    "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": {"Service": "ecs-tasks.amazonaws.com"}}]}))["Role"]["Arn"]


def files(*keys):
    return [{"value": f"arn:aws:s3:::bucket/{key}", "type": "s3"} for key in keys]


def run(*keys, overrides=None, container=None, **more):
    """Runs a task that prints its environment; gives the task once it has stopped, and its lines."""
    made = ecs.register_task_definition(
        family="files", networkMode="none", **more or {"executionRoleArn": role},
        containerDefinitions=[{
            "name": "c", "image": os.environ.get("LOADLINE_IMAGE", "busybox:latest"), "memory": 32,
            "command": ["env"], "environmentFiles": files(*keys), **(container or {})}])
    run.definition = made["taskDefinition"]
    task = ecs.run_task(taskDefinition="files", **overrides or {})["tasks"][0]
    ecs.get_waiter("tasks_stopped").wait(
        tasks=[task["taskArn"]], WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    stopped = ecs.describe_tasks(tasks=[task["taskArn"]])["tasks"][0]
    return stopped, said(task["taskArn"])


def said(task):
    from harness import OWN_TARGET, raw
    _, answer, _ = raw("ReadTaskLogs", {"task": task, "containerName": "c"}, target=OWN_TARGET)
    lines = (event["message"] for event in answer.get("events", []))
    return dict(line.split("=", 1) for line in lines if "=" in line)


def fails(text, part, *keys, **more):
    stopped, _ = run(*keys, **more)
    reason = stopped.get("stoppedReason", "")
    holds = stopped.get("stopCode") == "TaskFailedToStart" and reason.startswith(
        "ResourceInitializationError: failed to download env files: ") and part in reason
    claim(f"{text} stops its task with the reason", holds, stopped)


allowed = {"Version": "2012-10-17", "Statement": [{
    "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/app/*"}]}
if sys.argv[2] == "none":
    iam.put_role_policy(RoleName="execution", PolicyName="p", PolicyDocument=json.dumps(allowed))
    fails("no store", "started with --s3-endpoint", "app/one.env")
    finish()

server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Store)
threading.Thread(target=server.serve_forever, daemon=True).start()
objects["/bucket/app/one.env"] = b"#A=comment\r\nA=hush-1\nBOTH=\"first\"\nOWN=file\nno variable\n"
objects["/bucket/app/two \xe4.env"] = b"BOTH=second\nTWO=x=y\nPATH=/bin:/from/file\n"
objects["/bucket/other/x.env"] = b"X=1\n"

fails("no right to read", "is not authorized to perform: s3:GetObject on resource: "
      "arn:aws:s3:::bucket/app/one.env", "app/one.env")
fails("no execution role", "the task's execution role is not there", "app/one.env", tags=[])
equal("who may not read asks for nothing", asked, [])
iam.put_role_policy(RoleName="execution", PolicyName="p", PolicyDocument=json.dumps(allowed))

own = {"environment": [{"name": "OWN", "value": "definition"}]}
stopped, told = run("app/one.env", "app/two \xe4.env", container=own)
equal("its exit code", stopped["containers"][0].get("exitCode"), 0)
equal("a variable of a file", told.get("A"), "hush-1")
equal("the first file counts, and quotes stay", told.get("BOTH"), '"first"')
equal("environment counts before files", told.get("OWN"), "definition")
equal("all behind the first equals sign", told.get("TWO"), "x=y")
equal("a file counts before the image", told.get("PATH"), "/bin:/from/file")
equal("the definition shows its files", run.definition["containerDefinitions"][0]
      ["environmentFiles"], files("app/one.env", "app/two \xe4.env"))
claim("nodes need to know of it", "ecs.capability.env-files.s3" in [
    attribute["name"] for attribute in run.definition["requiresAttributes"]])
equal("each object is read once", sorted(asked),
      ["/bucket/app/one.env", "/bucket/app/two \xe4.env"])
over = {"overrides": {"containerOverrides": [
    {"name": "c", "environmentFiles": files("app/two \xe4.env"),
     "environment": [{"name": "TWO", "value": "override"}]}]}}
stopped, told = run("app/one.env", overrides=over)
equal("an override's file is in place of the definition's, under its own variables",
      (told.get("A"), told.get("BOTH"), told.get("TWO")), (None, "second", "override"))
equal("the task shows it", stopped["overrides"]["containerOverrides"][0].get("environmentFiles"),
      files("app/two \xe4.env"))

fails("a file outside of the policy", "arn:aws:s3:::bucket/other/x.env", "other/x.env")
fails("a file that is not there", "answered 404 Not Found (NoSuchKey)", "app/nobody.env")
objects["/bucket/app/large.env"] = b"A=" + b"x" * (256 * 1024)
fails("a file that is too large", "larger than 262144 bytes", "app/large.env")
objects["/bucket/app/bytes.env"] = b"A=\xff"
fails("a file that is no text", "no UTF-8 text", "app/bytes.env")
before = len(asked)
objects["/bucket/app/moved.env"] = lambda store: store.answer(
    307, b"", Location=f"http://127.0.0.1:{sys.argv[2]}/bucket/app/one.env")
fails("a redirect", "which is not followed", "app/moved.env")
equal("and is not followed", asked[before:], ["/bucket/app/moved.env"])
before = len(asked)
busy = iter([503, 500])


def later(store):
    status = next(busy, None)
    return store.refuse(status, "SlowDown") if status else store.answer(200, b"A=late\n")


objects["/bucket/app/busy.env"] = later
equal("a store that is busy is asked again", run("app/busy.env")[1].get("A"), "late")
finish()
