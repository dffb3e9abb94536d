"""CloudWatch Logs by boto3, and who may write where."""

import json
import time

import boto3
from botocore.config import Config

from harness import ENDPOINT, claim, client as ecs_client, equal, finish, refused

once = Config(retries={"total_max_attempts": 1}, parameter_validation=False,
              inject_host_prefix=False)
ACCOUNT = "000000000000"


def client(service, key=None):
    more = {} if key is None else {
        "aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
    return boto3.client(service, endpoint_url=ENDPOINT, config=once, **more)


logs, iam = client("logs"), client("iam")
now = int(time.time() * 1000)
logs.create_log_group(logGroupName="/app/web", tags={"team": "a"})
logs.create_log_group(logGroupName="/app/job")
for stream in ("one", "two"):
    logs.create_log_stream(logGroupName="/app/web", logStreamName=stream)
group = logs.describe_log_groups(logGroupNamePrefix="/app/w")["logGroups"]
equal("a group", [(g["logGroupName"], g["arn"]) for g in group],
      [("/app/web", f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:/app/web:*")])
equal("groups in pages", [g["logGroupName"] for page in logs.get_paginator("describe_log_groups")
      .paginate(PaginationConfig={"PageSize": 1}) for g in page["logGroups"]],
      ["/app/job", "/app/web"])


def event(at, message):
    return {"timestamp": now + at, "message": message}


def put(stream, *events):
    return logs.put_log_events(logGroupName="/app/web", logStreamName=stream,
                               logEvents=list(events))


put("one", event(0, "start"), event(10, "ERROR disk"), event(20, "fine"))
put("two", event(5, "ERROR net"), event(15, "ERROR net retry"))
got = logs.get_log_events(logGroupName="/app/web", logStreamName="one", startFromHead=True)
equal("events from the head", [(e["timestamp"] - now, e["message"]) for e in got["events"]],
      [(0, "start"), (10, "ERROR disk"), (20, "fine")])
again = logs.get_log_events(logGroupName="/app/web", logStreamName="one",
                            nextToken=got["nextForwardToken"])
equal("at the end a token leads to itself",
      (again["events"], again["nextForwardToken"]), ([], got["nextForwardToken"]))
put("one", event(30, "more"))
equal("and then to what came", [e["message"] for e in logs.get_log_events(
    logGroupName="/app/web", logStreamName="one", nextToken=got["nextForwardToken"])["events"]],
    ["more"])
tail = logs.get_log_events(logGroupName="/app/web", logStreamName="one", limit=2)
equal("the newest", [e["message"] for e in tail["events"]], ["fine", "more"])
equal("and before them", [e["message"] for e in logs.get_log_events(
    logGroupName="/app/web", logStreamName="one", limit=2,
    nextToken=tail["nextBackwardToken"])["events"]], ["start", "ERROR disk"])
equal("between two times", [e["message"] for e in logs.get_log_events(
    logGroupName="/app/web", logStreamName="one", startTime=now + 10, endTime=now + 20,
    startFromHead=True)["events"]], ["ERROR disk"])


def search(**more):
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName="/app/web", **more)
    return [e["message"] for page in pages for e in page["events"]]


equal("all streams in the order of time", search(),
      ["start", "ERROR net", "ERROR disk", "ERROR net retry", "fine", "more"])
equal("by a term, in pages", search(filterPattern="ERROR", PaginationConfig={"PageSize": 1}),
      ["ERROR net", "ERROR disk", "ERROR net retry"])
equal("but not with another", search(filterPattern="ERROR -retry"), ["ERROR net", "ERROR disk"])
equal("by streams", search(logStreamNames=["two"]), ["ERROR net", "ERROR net retry"])
equal("by a prefix of them", search(logStreamNamePrefix="on", filterPattern="?start ?more"),
      ["start", "more"])
streams = logs.describe_log_streams(logGroupName="/app/web", orderBy="LastEventTime",
                                    descending=True)["logStreams"]
equal("streams by their newest event",
      [(s["logStreamName"], s["lastEventTimestamp"] - now) for s in streams],
      [("one", 30), ("two", 15)])
old = put("one", event(-15 * 86_400_000, "old"))
equal("what is too old is told", old["rejectedLogEventsInfo"], {"tooOldLogEventEndIndex": 1})
new = put("one", event(40, "now"), event(3 * 3_600_000, "soon"))
equal("what is too new is told", new["rejectedLogEventsInfo"], {"tooNewLogEventStartIndex": 1})
logs.put_retention_policy(logGroupName="/app/web", retentionInDays=7)
shown = logs.describe_log_groups(logGroupNamePrefix="/app/web")["logGroups"][0]
claim("retention and size", shown["retentionInDays"] == 7 and 0 < shown["storedBytes"], shown)
arn = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:/app/web"
logs.tag_resource(resourceArn=arn, tags={"cost": "b"})
logs.untag_resource(resourceArn=arn, tagKeys=["team"])
equal("tags", logs.list_tags_for_resource(resourceArn=arn)["tags"], {"cost": "b"})

N, I = "ResourceNotFoundException", "InvalidParameterException"
for text, code, part, call in [
    ("a group twice", "ResourceAlreadyExistsException", "already exists",
     lambda: logs.create_log_group(logGroupName="/app/web")),
    ("a group that is not there", N, "log group does not exist",
     lambda: logs.create_log_stream(logGroupName="nobody", logStreamName="s")),
    ("a stream that is not there", N, "log stream does not exist",
     lambda: logs.get_log_events(logGroupName="/app/web", logStreamName="nobody")),
    ("events out of order", I, "chronological", lambda: put("one", event(1, "b"), event(0, "a"))),
    ("no events", I, "logEvents", lambda: put("one")),
    ("an empty message", I, "message", lambda: put("one", event(0, ""))),
    ("a batch that is too large", I, "Upload too large",
     lambda: put("one", *[event(n, "x" * 250_000) for n in range(5)])),
    ("a JSON pattern", I, "JSON patterns are not supported",
     lambda: search(filterPattern="{ $.level = \"x\" }")),
    ("a retention of two days", I, "retentionInDays",
     lambda: logs.put_retention_policy(logGroupName="/app/web", retentionInDays=2)),
    ("a key of one's own", "ClientException", "kmsKeyId is not supported",
     lambda: logs.create_log_group(logGroupName="k", kmsKeyId="k")),
    ("a live tail", "InvalidOperationException", "poll FilterLogEvents instead",
     lambda: logs.start_live_tail(logGroupIdentifiers=[arn])),
]:
    refused(text, code, part, call)
claim("a batch of nearly 1 MiB", "nextSequenceToken" in put(
    "two", *[event(n, "\u00e4" * 50_000) for n in range(10)]))

iam.create_user(UserName="writer")
key = iam.create_access_key(UserName="writer")["AccessKey"]
iam.put_user_policy(UserName="writer", PolicyName="p", PolicyDocument=json.dumps({
    "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": [
        "logs:CreateLogStream", "logs:PutLogEvents"], "Resource": arn + ":*"}]}))
writer = client("logs", key)
writer.create_log_stream(logGroupName="/app/web", logStreamName="own")
writer.put_log_events(logGroupName="/app/web", logStreamName="own", logEvents=[event(50, "hi")])
A = "AccessDeniedException"
refused("another group", A, "logs:CreateLogStream on resource: arn:aws:logs",
        lambda: writer.create_log_stream(logGroupName="/app/job", logStreamName="own"))
refused("reading", A, "logs:GetLogEvents",
        lambda: writer.get_log_events(logGroupName="/app/web", logStreamName="own"))

# One group is kept from a reader, by whatever name it is asked for.
iam.create_user(UserName="reader")
key = iam.create_access_key(UserName="reader")["AccessKey"]
iam.put_user_policy(UserName="reader", PolicyName="p", PolicyDocument=json.dumps({
    "Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "logs:*", "Resource": "arn:aws:logs:*:*:*"},
        {"Effect": "Deny", "Action": "logs:*", "Resource": arn + ":*"}]}))
reader = client("logs", key)
equal("a reader of all groups lists them", len(reader.describe_log_groups()["logGroups"]), 2)
for name in ("/app/web", arn, arn + ":*"):
    refused(f"the group as {name}", A, "logs:FilterLogEvents",
            lambda: reader.filter_log_events(logGroupIdentifier=name))
for name in (arn.replace("us-east-1", "eu-west-1"), arn.replace(ACCOUNT, "123456789012")):
    refused(f"the group as {name}", I, "is not the ARN of a log group of this account",
            lambda: reader.filter_log_events(logGroupIdentifier=name))
last = "18446744073709551615"
equal("behind the last place there is nothing", logs.get_log_events(
    logGroupName="/app/web", logStreamName="one", nextToken=f"f/{last}/{last}")["events"], [])
equal("in a search neither", logs.filter_log_events(
    logGroupName="/app/web", nextToken=f"f/{last}/{last}")["events"], [])

# The driver of a task definition.
ecs = ecs_client()


def register(**configuration):
    return lambda: ecs.register_task_definition(family="logging", containerDefinitions=[
        {"name": "c", "image": "i", "memory": 64, "logConfiguration": configuration}])


options = {"awslogs-group": "/app/job", "awslogs-region": "us-east-1",
           "awslogs-stream-prefix": "p", "awslogs-create-group": "true"}
made = register(logDriver="awslogs", options=options)()["taskDefinition"]
equal("the driver is shown", made["containerDefinitions"][0]["logConfiguration"],
      {"logDriver": "awslogs", "options": options})
for text, part, call in [
    ("another driver", "logDriver fluentd is not supported", register(logDriver="fluentd")),
    ("no group", "awslogs-group is required", register(logDriver="awslogs", options={})),
    ("another region", "awslogs-region", register(logDriver="awslogs", options=options | {
        "awslogs-region": "eu-west-1"})),
    ("an option that is not served", "awslogs-datetime-format", register(
        logDriver="awslogs", options=options | {"awslogs-datetime-format": "%Y"})),
]:
    refused(text, "ClientException", part, call)

logs.delete_log_stream(logGroupName="/app/web", logStreamName="own")
logs.delete_log_group(logGroupName="/app/web")
equal("deleted", [g["logGroupName"] for g in logs.describe_log_groups()["logGroups"]], ["/app/job"])
refused("and gone", N, "log group", lambda: search())
finish()
