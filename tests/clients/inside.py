"""What an AWS program finds in a container of a task. Runs inside one, says what it saw as JSON,
and then waits to be stopped.

CONTROLLER is where the API is; everything else comes from what the node gives the container.
"""

import json
import os
import time
import urllib.error
import urllib.request

import boto3
from botocore.exceptions import ClientError

ENDPOINT = os.environ["CONTROLLER"]
METADATA = os.environ["ECS_CONTAINER_METADATA_URI_V4"]


def get(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def clusters():
    """What the role may do, once its policy says so."""
    try:
        return boto3.client("ecs", endpoint_url=ENDPOINT).list_clusters()["clusterArns"]
    except ClientError as error:
        return error.response["Error"]["Code"]


def protect():
    """What ECS's agent does for a task of a service that is in the middle of something."""
    url = os.environ["ECS_AGENT_URI"] + "/task-protection/v1/state"
    body = json.dumps({"ProtectionEnabled": True, "ExpiresInMinutes": 30}).encode()
    put = urllib.request.Request(url, data=body, method="PUT")
    try:
        with urllib.request.urlopen(put, timeout=30) as answer:
            return [json.load(answer), get(url)]
    except urllib.error.HTTPError as error:
        return [json.load(error)]


credentials = boto3.session.Session().get_credentials()
task = get(METADATA + "/task")
print(json.dumps({
    "identity": boto3.client("sts", endpoint_url=ENDPOINT).get_caller_identity()["Arn"],
    "clusters": clusters(),
    "method": credentials.method,
    "key": credentials.access_key,
    "task": task["TaskARN"],
    "family": task["Family"],
    "container": get(METADATA),
    "tagged": get(METADATA + "/taskWithTags"),
    "stats": get(METADATA + "/stats"),
    "protection": protect(),
    "metadata_url": METADATA,
    "credentials_url": os.environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    or "http://169.254.170.2" + os.environ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"],
}), flush=True)
time.sleep(3600)
