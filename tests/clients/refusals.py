"""What must be refused is refused with AWS's code, names the field, and changes nothing."""

import datetime

import botocore.auth
from botocore.credentials import ReadOnlyCredentials

from harness import (
    IMAGE, OWN_TARGET, claim, client, equal, finish, patient_client, raw, raw_refused, refused,
)

ecs = patient_client()
before = client().list_task_definition_families()["families"]


def container(**more):
    return {"name": "c", "image": "i", "memory": 64} | more


def register(*containers, **more):
    return lambda: ecs.register_task_definition(
        family="refused", containerDefinitions=list(containers), **more)


def run(**more):
    return lambda: ecs.run_task(taskDefinition="nobody", **more)


C, I, S = "ClientException", "InvalidParameterException", "SerializationException"
for text, code, part, call in [
    ("no container", C, "empty", register()),
    ("eleven containers", C, "at most 10",
     register(*[container(name=f"c{n}") for n in range(11)])),
    ("two containers of one name", C, "more than once", register(container(), container())),
    ("no essential container", C, "essential", register(container(essential=False))),
    ("no memory at all", C, "memoryReservation", register({"name": "c", "image": "i"})),
    ("less memory than reservation", C, "must not be less",
     register(container(memoryReservation=65))),
    ("more memory than the task", C, "more than the task's", register(container(), memory="32")),
    ("a container of 3 MiB", C, "containerDefinitions[0].memory", register(container(memory=3))),
    ("a negative cpu", C, "containerDefinitions[0].cpu", register(container(cpu=-1))),
    ("more cpu than the task", C, "cpu", register(container(cpu=257), cpu="256")),
    ("a bad task cpu", C, "Invalid 'cpu' setting for task.", register(container(), cpu="many")),
    ("a bad task memory", C, "Invalid 'memory' setting for task.",
     register(container(), memory="3")),
    ("a bad container name", C, "containerDefinitions[0].name", register(container(name="a b"))),
    ("an image with a space", C, "containerDefinitions[0].image", register(container(image="a b"))),
    ("Fargate", C, "FARGATE is not supported", register(
        container(), requiresCompatibilities=["FARGATE"])),
    ("a network mode that is none", I, "networkMode", register(container(), networkMode="x")),
    ("port mappings without a network", C, "containerDefinitions[0].portMappings",
     register(container(portMappings=[{"containerPort": 80}]), networkMode="none")),
    ("a link without bridge", C, "containerDefinitions[0].links can't be used with networkMode host",
     register(container(links=["d"]), container(name="d"), networkMode="host")),
    ("a link to nobody", C, "containerDefinitions[0].links[0]",
     register(container(links=["d:db"]), networkMode="bridge")),
    ("a name server that is no address", C, "containerDefinitions[0].dnsServers[0] is no IP address",
     register(container(dnsServers=["localhost"]), networkMode="bridge")),
    ("a host name with a space", C, "containerDefinitions[0].hostname",
     register(container(hostname="a b"), networkMode="bridge")),
    ("another host without address", C, "containerDefinitions[0].extraHosts[0].ipAddress", register(
        container(extraHosts=[{"hostname": "db", "ipAddress": "x"}]), networkMode="bridge")),
    ("a host port of another number", C, "must match", register(
        container(portMappings=[{"containerPort": 80, "hostPort": 81}]), networkMode="host")),
    ("a port twice", C, "twice", register(
        container(portMappings=[{"containerPort": 80}, {"containerPort": 80}]),
        networkMode="host")),
    ("port 0", C, "containerPort", register(
        container(portMappings=[{"containerPort": 0}]), networkMode="host")),
    ("a role of another partition", C, "taskRoleArn",
     register(container(), taskRoleArn="arn:aws-cn:iam::000000000000:role/r")),
    ("a log driver", C, "logConfiguration.logDriver splunk is not supported",
     register(container(logConfiguration={"logDriver": "splunk"}))),
    ("secrets without a role", C, "executionRoleArn",
     register(container(secrets=[{"name": "A", "valueFrom": "b"}]))),
    ("a secret under a variable's name", C, "unique", register(container(
        environment=[{"name": "A", "value": "x"}], secrets=[{"name": "A", "valueFrom": "b"}]),
        executionRoleArn="r")),
    ("a reserved tag", I, "aws:", register(container(), tags=[{"key": "aws:x", "value": ""}])),
    ("a missing definition", C, "TaskDefinition not found", run()),
    ("count 0", I, "count", run(count=0)),
    ("count 11", I, "count", run(count=11)),
    ("Fargate again", C, "launchType FARGATE is not supported", run(launchType="FARGATE")),
    ("a network without subnets", I, "subnets can not be empty",
     run(networkConfiguration={"awsvpcConfiguration": {"subnets": []}})),
    ("17 subnets", I, "subnets can have at most 16 items",
     run(networkConfiguration={"awsvpcConfiguration": {"subnets": ["s"] * 17}})),
    ("6 security groups", I, "securityGroups can have at most 5 items",
     run(networkConfiguration={"awsvpcConfiguration": {
         "subnets": ["s"], "securityGroups": ["g"] * 6}})),
    ("a public address", I, "Assign public IP is not supported",
     run(networkConfiguration={"awsvpcConfiguration": {
         "subnets": ["s"], "assignPublicIp": "ENABLED"}})),
    ("a file that is no object", C, "environmentFiles[0].value: it must have the form arn:aws:s3",
     register(container(environmentFiles=[{"value": "s3://bucket/f.env", "type": "s3"}]))),
    ("a file with another end", C, "must name an object that ends with .env",
     register(container(environmentFiles=[{"value": "arn:aws:s3:::bucket/f", "type": "s3"}]))),
    ("a file of another kind", C, "environmentFiles[0].type must be s3",
     register(container(environmentFiles=[{"value": "arn:aws:s3:::bucket/f.env", "type": "x"}]))),
    ("a file above its bucket", C, "environmentFiles[0].value: a key must have no",
     register(container(environmentFiles=[
         {"value": "arn:aws:s3:::bucket/../f.env", "type": "s3"}]))),
    ("a file of another partition", C, "its partition must be `aws`",
     register(container(environmentFiles=[
         {"value": "arn:aws-cn:s3:::bucket/f.env", "type": "s3"}]))),
    ("11 files", C, "can have at most 10 environment files, not 11",
     register(container(environmentFiles=[
         {"value": "arn:aws:s3:::bucket/f.env", "type": "s3"}] * 11))),
    ("a file of an override", C, "containerOverrides[0].environmentFiles[0].value: it must have",
     run(overrides={"containerOverrides": [
         {"name": "c", "environmentFiles": [{"value": "f.env", "type": "s3"}]}]})),
    ("no network in a shared one", C, "disableNetworking can't be used with networkMode awsvpc",
     lambda: ecs.register_task_definition(
         family="f", networkMode="awsvpc", containerDefinitions=[{
             "name": "c", "image": IMAGE, "memory": 32, "disableNetworking": True}])),
    ("no network, and ports", C, "disableNetworking can't be used with portMappings or links",
     lambda: ecs.register_task_definition(family="f", containerDefinitions=[{
         "name": "c", "image": IMAGE, "memory": 32, "disableNetworking": True,
         "portMappings": [{"containerPort": 80}]}])),
    ("a capacity provider", C, "capacityProviderStrategy is not supported yet",
     run(capacityProviderStrategy=[{"capacityProvider": "x"}])),
    ("a reserved group", I, "group", run(group="service:x")),
    ("a bad placement strategy", I, "placementStrategy[0].field",
     run(placementStrategy=[{"type": "binpack", "field": "disk"}])),
    ("an override without a name", I, "overrides.containerOverrides[0].name",
     run(overrides={"containerOverrides": [{"cpu": 1}]})),
    ("a cluster that is not there", "ClusterNotFoundException", "Cluster not found.",
     run(cluster="nobody")),
    ("a foreign ARN", I, "Invalid identifier",
     run(cluster="arn:aws:ecs:mars-1:123456789012:cluster/x")),
    ("a task that is not there", I, "task was not found",
     lambda: ecs.stop_task(task="0" * 32)),
    ("no task named", I, "tasks", lambda: ecs.describe_tasks(tasks=[])),
    ("101 tasks named", I, "tasks", lambda: ecs.describe_tasks(tasks=["x"] * 101)),
    ("maxResults 0", I, "maxResults", lambda: ecs.list_clusters(maxResults=0)),
    ("maxResults 101", I, "maxResults", lambda: ecs.list_clusters(maxResults=101)),
    ("a made-up nextToken", I, "nextToken", lambda: ecs.list_clusters(nextToken="abc")),
    ("describing a missing definition", C, "Unable to describe task definition.",
     lambda: ecs.describe_task_definition(taskDefinition="nobody")),
    ("deregistering without a revision", I, "revision",
     lambda: ecs.deregister_task_definition(taskDefinition="nobody")),
    ("an operation that is not there yet", "UnsupportedFeatureException", "CreateTaskSet",
     lambda: ecs.create_task_set(service="s", cluster="c", taskDefinition="t")),
]:
    refused(text, code, part, call)

raw_refused("an unknown field", I, "colour is not a field of ListClustersRequest",
            "ListClusters", {"colour": 1})
raw_refused("an unknown nested field", I, "containerDefinitions[0].colour",
            "RegisterTaskDefinition",
            {"family": "f", "containerDefinitions": [container(colour=1)]})
raw_refused("a wrong type", S, "containerDefinitions[0].cpu must be an integer, not a string",
            "RegisterTaskDefinition",
            {"family": "f", "containerDefinitions": [container(cpu="1")]})
raw_refused("a missing field", I, "taskDefinition is required", "RunTask", {})
raw_refused("a body that is no JSON", S, "not JSON", "ListClusters", b"{")
raw_refused("a field that is there twice", S, "twice", "ListClusters",
            b'{"maxResults": 1, "maxResults": 2}')
raw_refused("a body that is a list", S, "must be a structure", "ListClusters", [])
raw_refused("a body above its bound", "RequestEntityTooLargeException", "at most", "ListClusters",
            b" " * (1024 * 1024 + 1), status=413)
equal("a body at its bound is read", raw("ListClusters", b" " * (1024 * 1024 - 2) + b"{}")[0], 200)
raw_refused("an unknown target", "UnknownOperationException", "not an operation",
            "ListClusters", {}, target="Elsewhere.")
raw_refused("an own operation that is not there", "UnknownOperationException", "Frobnicate",
            "Frobnicate", {}, target=OWN_TARGET)
equal("an empty body is a request without fields", raw("ListClusters", b"")[0], 200)
equal("deeply nested JSON is an error, not an end",
      raw("ListClusters", b"[" * 100_000)[1]["__type"], S)

keys = ReadOnlyCredentials
raw_refused("an unknown key", "UnrecognizedClientException", "security token",
            "ListClusters", {}, credentials=keys("AKIAUNKNOWN", "s", None))
own = __import__("boto3").session.Session().get_credentials().get_frozen_credentials()
raw_refused("a wrong secret", "InvalidSignatureException", "does not match",
            "ListClusters", {}, credentials=keys(own.access_key, "wrong", None))
raw_refused("a session token", "UnrecognizedClientException", "security token",
            "ListClusters", {}, credentials=keys(own.access_key, own.secret_key, "token"))
raw_refused("a body changed after signing", "InvalidSignatureException", "does not match",
            "DeleteCluster", {"cluster": "safe"},
            change=lambda url, headers, data: (url, headers, data.replace(b"safe", b"main")))
raw_refused("an operation changed after signing", "InvalidSignatureException", "does not match",
            "ListClusters", {}, change=lambda url, headers, data: (
                url, headers | {"X-Amz-Target": headers["X-Amz-Target"].replace("List", "Delete")},
                data))
raw_refused("a query added after signing", "InvalidSignatureException", "does not match",
            "ListClusters", {}, change=lambda url, headers, data: (url + "?a=b", headers, data))
raw_refused("no signature", "MissingAuthenticationTokenException", "Missing",
            "ListClusters", {}, change=lambda url, headers, data: (
                url, {k: v for k, v in headers.items() if k != "Authorization"}, data))
raw_refused("another service's signature", "InvalidSignatureException", "correct service",
            "ListClusters", {}, service="s3")


def at(minutes):
    """Signs by a clock that is wrong by so many minutes."""
    real = botocore.auth.get_current_datetime
    shifted = lambda *a, **k: real(*a, **k) + datetime.timedelta(minutes=minutes)
    botocore.auth.get_current_datetime = shifted
    try:
        return raw("ListClusters", {})
    finally:
        botocore.auth.get_current_datetime = real


for minutes, expected in [(-16, "Signature expired"), (16, "Signature not yet current")]:
    status, answer, _ = at(minutes)
    claim(f"a clock {minutes} minutes off -> InvalidSignatureException",
          answer.get("__type") == "InvalidSignatureException" and expected in answer["message"],
          answer)
for minutes in (-14, 14):
    equal(f"a clock {minutes} minutes off is let in", at(minutes)[0], 200)

status, answer, headers = raw("ListClusters", {})
claim("an answer carries a request id", len(headers.get("x-amzn-requestid", "")) == 36, headers)
equal("an answer's type", headers["content-type"], "application/x-amz-json-1.1")
equal("nothing was registered by what was refused",
      client().list_task_definition_families()["families"], before)
finish()
