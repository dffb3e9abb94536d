"""What the client tests share: a small table of claims, and requests signed by botocore itself.

The endpoint comes from the first argument; keys and region come from the environment, as any AWS
tool reads them. Every script ends with exit code 0 only if each of its claims held.
"""

import json
import os
import sys
import urllib.error
import urllib.request

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT = sys.argv[1]
TARGET = "AmazonEC2ContainerServiceV20141113."
OWN_TARGET = "Loadline_20261126."

# What containers are made of. Hollow nodes take any name.
IMAGE = os.environ.get("CLIENT_IMAGE", "probe:latest")

_failed = []
_held = 0


def claim(text, holds, seen=None):
    """Notes whether a claim holds; `seen` is shown where it does not."""
    global _held
    if holds:
        _held += 1
        print(f"ok      {text}")
    else:
        _failed.append(text)
        print(f"FAILED  {text}: saw {seen!r}")


def equal(text, seen, expected):
    """Claims that two values are equal."""
    claim(text, seen == expected, {"seen": seen, "expected": expected})


def refused(text, code, part, call):
    """Claims that a call is refused with AWS's `code` and a message that contains `part`."""
    try:
        answer = call()
    except ClientError as error:
        got, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
        claim(f"{text} -> {code}", got == code and part in message, f"{got}: {message}")
        return
    claim(f"{text} -> {code}", False, answer)


def finish():
    """Ends the script."""
    print(f"{_held} claims held, {len(_failed)} failed")
    sys.exit(1 if _failed else 0)


def client(**more):
    """An ECS client with nothing but the endpoint changed."""
    return boto3.client("ecs", endpoint_url=ENDPOINT, **more)


def patient_client(**more):
    """The same without botocore's own check of parameters and without retries."""
    config = Config(parameter_validation=False, retries={"total_max_attempts": 1})
    return client(config=config, **more)


def raw(operation, body, target=TARGET, change=None, credentials=None, service="ecs"):
    """Signs and sends a body as it is; `change` may alter the signed request before it goes out.

    Gives the HTTP status, the answer as JSON, and the headers.
    """
    session = boto3.session.Session()
    credentials = credentials or session.get_credentials().get_frozen_credentials()
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = AWSRequest(
        method="POST",
        url=ENDPOINT + "/",
        data=data,
        headers={
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": target + operation,
        },
    )
    SigV4Auth(credentials, service, session.region_name).add_auth(request)
    prepared = request.prepare()
    headers = dict(prepared.headers.items())
    url = prepared.url
    if change:
        url, headers, data = change(url, headers, data)
    sent = urllib.request.Request(url, data=data, headers=headers, method="POST")
    try:
        with urllib.request.urlopen(sent, timeout=60) as answer:
            return answer.status, json.load(answer), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), error.headers


def raw_refused(text, code, part, *args, status=400, **more):
    """Claims that a raw request is refused."""
    got_status, answer, headers = raw(*args, **more)
    kind = answer.get("__type")
    message = answer.get("message", "")
    holds = (got_status, kind) == (status, code) and part in message
    holds = holds and headers.get("x-amzn-errortype") == code
    claim(f"{text} -> {code}", holds, f"{got_status} {kind}: {message}")
