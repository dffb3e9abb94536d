"""Who may what: users, roles, policies and temporary credentials, by boto3, against ECS and IAM."""

import datetime
import json

import boto3
import botocore.auth
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
import urllib.error
import urllib.request

from harness import ENDPOINT, OWN_TARGET, claim, equal, finish, raw, raw_refused, refused

once = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
ACCOUNT = "000000000000"
ECS = f"arn:aws:ecs:us-east-1:{ACCOUNT}"


def as_root(service):
    return boto3.client(service, endpoint_url=ENDPOINT, config=once)


def as_who(service, key):
    """A client of a user's key, or of temporary credentials."""
    return boto3.client(
        service, endpoint_url=ENDPOINT, config=once, aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"], aws_session_token=key.get("SessionToken"))


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action, resource="*", **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource} | more


def trust(**principal):
    return policy({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal})


iam, ecs, sts = as_root("iam"), as_root("ecs"), as_root("sts")
for name in ("blue", "red"):
    ecs.create_cluster(clusterName=name)

user = iam.create_user(
    UserName="ann", Path="/people/", Tags=[{"Key": "team", "Value": "a"}])["User"]
equal("a user's ARN", user["Arn"], f"arn:aws:iam::{ACCOUNT}:user/people/ann")
claim("a user's id", user["UserId"].startswith("AIDA"), user)
key = iam.create_access_key(UserName="ann")["AccessKey"]
claim("a key's form", key["AccessKeyId"].startswith("AKIA") and len(key["SecretAccessKey"]) == 40)
ann = as_who("ecs", key)
equal("who ann is", as_who("sts", key).get_caller_identity()["Arn"], user["Arn"])
WHO = f"User: {user['Arn']} is not authorized to perform: "
refused("a user without a policy", "AccessDeniedException",
        WHO + "ecs:ListClusters on resource: * because no identity-based policy allows the "
        "ecs:ListClusters action", ann.list_clusters)
refused("and in IAM's own words", "AccessDenied", WHO + "iam:ListUsers on resource: *",
        as_who("iam", key).list_users)

iam.put_user_policy(UserName="ann", PolicyName="p", PolicyDocument=policy(
    allow(["ecs:List*", "ecs:DescribeClusters"]),
    allow("ecs:*", f"{ECS}:cluster/blue"),
    allow("iam:GetUser", f"arn:aws:iam::{ACCOUNT}:user/people/${{aws:username}}"),
    {"Effect": "Deny", "Action": "ecs:DeleteCluster", "Resource": "*"}))
equal("what her policy allows", len(ann.list_clusters()["clusterArns"]), 3)
equal("herself, without naming herself",
      as_who("iam", key).get_user()["User"]["UserName"], "ann")
ann.update_cluster(cluster="blue", settings=[])
refused("the same on another cluster", "AccessDeniedException",
        f"ecs:UpdateCluster on resource: {ECS}:cluster/red because no identity-based policy",
        lambda: ann.update_cluster(cluster="red", settings=[]))
refused("what is denied", "AccessDeniedException",
        "with an explicit deny in an identity-based policy",
        lambda: ann.delete_cluster(cluster="blue"))
equal("nothing changed", {c["status"] for c in ecs.describe_clusters(
    clusters=["blue", "red"])["clusters"]}, {"ACTIVE"})

keys = ReadOnlyCredentials(key["AccessKeyId"], key["SecretAccessKey"], None)
raw_refused("a user may not make join tokens", "AccessDeniedException",
            "loadline:CreateJoinToken", "CreateJoinToken", {}, target=OWN_TARGET,
            credentials=keys)
raw_refused("a user's wrong secret", "InvalidSignatureException", "does not match",
            "ListClusters", {}, credentials=ReadOnlyCredentials(key["AccessKeyId"], "x", None))

# Conditions: only in one cluster, whatever the task definition.
definition = dict(family="who", containerDefinitions=[
    {"name": "c", "image": "i", "memory": 64, "command": ["true"]}])
refused("registering without the right", "AccessDeniedException",
        f"ecs:RegisterTaskDefinition on resource: {ECS}:task-definition/who:*",
        lambda: ann.register_task_definition(**definition))
ecs.register_task_definition(**definition)
iam.put_user_policy(UserName="ann", PolicyName="run", PolicyDocument=policy(
    allow("ecs:RunTask", f"{ECS}:task-definition/who:*",
          Condition={"ArnEquals": {"ecs:cluster": f"{ECS}:cluster/default"}})))
refused("RunTask in another cluster", "AccessDeniedException",
        f"ecs:RunTask on resource: {ECS}:task-definition/who:1",
        lambda: ann.run_task(cluster="blue", taskDefinition="who"))
ran = ann.run_task(taskDefinition="who")
equal("RunTask where the condition holds", len(ran["tasks"]), 1)
refused("tags need a right of their own", "AccessDeniedException", "ecs:TagResource",
        lambda: ann.run_task(taskDefinition="who", tags=[{"key": "a", "value": "b"}]))
refused("a task without the right", "AccessDeniedException", "ecs:StopTask",
        lambda: ann.stop_task(task=ran["tasks"][0]["taskArn"]))
ecs.stop_task(task=ran["tasks"][0]["taskArn"])

# Roles.
role = iam.create_role(RoleName="deploy", AssumeRolePolicyDocument=trust(
    AWS=f"arn:aws:iam::{ACCOUNT}:root"), Description="rolls out")["Role"]
equal("a role's trust policy comes back", role["AssumeRolePolicyDocument"]["Statement"][0]
      ["Principal"], {"AWS": f"arn:aws:iam::{ACCOUNT}:root"})
assume = dict(RoleArn=role["Arn"], RoleSessionName="ann-1", DurationSeconds=900)
refused("a role that her policies don't let her assume", "AccessDenied", "sts:AssumeRole",
        lambda: as_who("sts", key).assume_role(**assume))
iam.put_user_policy(UserName="ann", PolicyName="assume",
                    PolicyDocument=policy(allow("sts:AssumeRole", role["Arn"])))
made = as_who("sts", key).assume_role(**assume)
session = made["Credentials"]
arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/deploy/ann-1"
equal("who she is then", made["AssumedRoleUser"]["Arn"], arn)
equal("and by its credentials", as_who("sts", session).get_caller_identity()["Arn"], arn)
claim("its time", datetime.timedelta(minutes=14) < session["Expiration"]
      - datetime.datetime.now(datetime.timezone.utc) <= datetime.timedelta(minutes=15))
refused("a role without a policy", "AccessDeniedException",
        f"User: {arn} is not authorized to perform: ecs:ListClusters",
        as_who("ecs", session).list_clusters)
arn = iam.create_policy(PolicyName="lists", PolicyDocument=policy(allow("ecs:List*")))
arn = arn["Policy"]["Arn"]
iam.attach_role_policy(RoleName="deploy", PolicyArn=arn)
equal("rights count at once", len(as_who("ecs", session).list_clusters()["clusterArns"]), 3)
narrow = as_who("sts", key).assume_role(**assume, Policy=policy(allow("ecs:ListServices")))
refused("a session policy narrows", "AccessDeniedException", "ecs:ListClusters",
        as_who("ecs", narrow["Credentials"]).list_clusters)
version = iam.create_policy_version(PolicyArn=arn, PolicyDocument=policy(
    allow("ecs:ListServices")), SetAsDefault=True)["PolicyVersion"]
equal("a version", version["VersionId"], "v2")
refused("another version counts", "AccessDeniedException", "ecs:ListClusters",
        as_who("ecs", session).list_clusters)
refused("a token changed", "UnrecognizedClientException", "security token",
        as_who("ecs", session | {"SessionToken": session["SessionToken"][:-8] + "AAAAAAA="})
        .list_clusters)
refused("a token left out", "UnrecognizedClientException", "security token",
        as_who("ecs", session | {"SessionToken": None}).list_clusters)
refused("a role that is not there", "AccessDenied", "sts:AssumeRole",
        lambda: sts.assume_role(RoleArn=role["Arn"] + "x", RoleSessionName="xy"))
refused("a session that is too long", "ValidationError", "MaxSessionDuration",
        lambda: sts.assume_role(RoleArn=role["Arn"], RoleSessionName="xy", DurationSeconds=3601))

# PassRole.
iam.create_role(RoleName="app", AssumeRolePolicyDocument=trust(Service="ecs-tasks.amazonaws.com"))
app = f"arn:aws:iam::{ACCOUNT}:role/app"
iam.put_user_policy(UserName="ann", PolicyName="run", PolicyDocument=policy(
    allow(["ecs:RunTask", "ecs:RegisterTaskDefinition"])))
refused("a role that she may not pass", "AccessDeniedException",
        f"iam:PassRole on resource: {app}",
        lambda: ann.register_task_definition(**definition, taskRoleArn=app))
ecs.register_task_definition(**definition, taskRoleArn="app", executionRoleArn=app)
shown = ecs.describe_task_definition(taskDefinition="who")["taskDefinition"]
equal("roles are shown", (shown["taskRoleArn"], shown["executionRoleArn"]), (app, app))
refused("running what has the role", "AccessDeniedException", f"iam:PassRole on resource: {app}",
        lambda: ann.run_task(taskDefinition="who"))
iam.put_user_policy(UserName="ann", PolicyName="pass", PolicyDocument=policy(
    allow("iam:PassRole", app, Condition={
        "StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}})))
ran = ann.run_task(taskDefinition="who")
equal("with the right to pass it", len(ran["tasks"]), 1)
ecs.stop_task(task=ran["tasks"][0]["taskArn"])
refused("a role that does not trust tasks", "ClientException", "ECS was unable to assume the role",
        lambda: ecs.run_task(taskDefinition="who", overrides={"taskRoleArn": role["Arn"]}))
refused("a role that is not there", "ClientException", "ECS was unable to assume the role",
        lambda: ecs.run_task(taskDefinition="who", overrides={"taskRoleArn": app + "x"}))
refused("a role of another account", "ClientException", "no role of this account",
        lambda: ecs.register_task_definition(
            **definition, taskRoleArn="arn:aws:iam::123456789012:role/app"))

# Presigned, and each request once.
def presigned(expires, change=lambda url: url):
    request = AWSRequest("GET", ENDPOINT + "/?Action=GetCallerIdentity&Version=2011-06-15")
    credentials = boto3.session.Session().get_credentials().get_frozen_credentials()
    SigV4QueryAuth(credentials, "sts", "us-east-1", expires=expires).add_auth(request)
    try:
        with urllib.request.urlopen(change(request.url), timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


status, text = presigned(60)
claim("a presigned request", status == 200 and f"<Arn>arn:aws:iam::{ACCOUNT}:root</Arn>" in text)
status, text = presigned(60, lambda url: url.replace("Expires=60", "Expires=600"))
claim("changed after signing -> SignatureDoesNotMatch",
      status == 403 and "SignatureDoesNotMatch" in text, text)
real = botocore.auth.get_current_datetime
botocore.auth.get_current_datetime = lambda *a, **k: real(*a, **k) - datetime.timedelta(minutes=5)
status, text = presigned(60)
botocore.auth.get_current_datetime = real
claim("expired -> SignatureDoesNotMatch", status == 403 and "Signature expired" in text, text)

# The other SDKs sign the id of each call (boto3 does not): then a copy is told from a retry.
def captured(called):
    request = AWSRequest("POST", ENDPOINT + "/", data=b"{}", headers={
        "Content-Type": "application/x-amz-json-1.1", "amz-sdk-invocation-id": called,
        "X-Amz-Target": "AmazonEC2ContainerServiceV20141113.ListClusters"})
    credentials = boto3.session.Session().get_credentials().get_frozen_credentials()
    SigV4Auth(credentials, "ecs", "us-east-1").add_auth(request)
    return request.prepare()


def send(prepared):
    sent = urllib.request.Request(prepared.url, data=prepared.body, method="POST",
                                  headers=dict(prepared.headers.items()))
    try:
        with urllib.request.urlopen(sent, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


copy = captured("call-1")
equal("a call that is named", send(copy)[0], 200)
status, text = send(copy)
claim("the same sent again -> InvalidSignatureException",
      status == 400 and "InvalidSignatureException" in text and "used before" in text, text)
equal("the next call", send(captured("call-2"))[0], 200)

# Keys end; names, bounds and conflicts in IAM's words.
iam.update_access_key(UserName="ann", AccessKeyId=key["AccessKeyId"], Status="Inactive")
refused("a key that is inactive", "UnrecognizedClientException", "security token",
        ann.list_clusters)
iam.update_access_key(UserName="ann", AccessKeyId=key["AccessKeyId"], Status="Active")
equal("and active again", len(ann.list_clusters()["clusterArns"]), 3)
for text, code, part, call in [
    ("a user twice", "EntityAlreadyExists", "ANN", lambda: iam.create_user(UserName="ANN")),
    ("a user that is not there", "NoSuchEntity", "bob", lambda: iam.get_user(UserName="bob")),
    ("a third key", "LimitExceeded", "AccessKeysPerUser",
     lambda: [iam.create_access_key(UserName="ann") for _ in range(2)]),
    ("a user with keys", "DeleteConflict", "must delete", lambda: iam.delete_user(UserName="ann")),
    ("a policy in use", "DeleteConflict", "detach", lambda: iam.delete_policy(PolicyArn=arn)),
    ("a policy that is no JSON", "MalformedPolicyDocument", "Syntax errors", lambda: iam.
     put_user_policy(UserName="ann", PolicyName="x", PolicyDocument="{")),
    ("an operator that is not supported", "MalformedPolicyDocument", "BinaryEquals", lambda: iam.
     put_user_policy(UserName="ann", PolicyName="x", PolicyDocument=policy(allow(
         "a:b", Condition={"BinaryEquals": {"k": "v"}})))),
    ("a bad name", "ValidationError", "userName", lambda: iam.create_user(UserName="a b")),
    ("an action that is not there", "InvalidAction", "CreateAccountAlias",
     lambda: iam.create_account_alias(AccountAlias="g")),
    ("a boundary that is not there", "NoSuchEntity", "policy arn:aws:iam::aws:policy/x",
     lambda: iam.create_user(UserName="c", PermissionsBoundary="arn:aws:iam::aws:policy/x")),
]:
    refused(text, code, part, call)
says = iam.simulate_principal_policy(PolicySourceArn=user["Arn"], ResourceArns=["*"], ActionNames=[
    "ecs:ListClusters", "ecs:DeleteCluster", "ecs:CreateService"])["EvaluationResults"]
equal("simulated", [one["EvalDecision"] for one in says],
      ["allowed", "explicitDeny", "implicitDeny"])
equal("roles in pages", [r["RoleName"] for page in iam.get_paginator("list_roles").paginate(
    PaginationConfig={"PageSize": 1}) for r in page["Roles"]], ["app", "deploy"])
execution = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
iam.attach_role_policy(RoleName="app", PolicyArn=execution)
equal("AWS's own policy", iam.list_attached_role_policies(RoleName="app")["AttachedPolicies"],
      [{"PolicyName": "AmazonECSTaskExecutionRolePolicy", "PolicyArn": execution}])
linked = iam.create_service_linked_role(AWSServiceName="ecs.amazonaws.com")["Role"]
equal("a service-linked role", linked["RoleName"], "AWSServiceRoleForECS")

# A role of the same name is another role.
iam.detach_role_policy(RoleName="deploy", PolicyArn=arn)
iam.delete_role(RoleName="deploy")
iam.create_role(RoleName="deploy", AssumeRolePolicyDocument=trust(AWS=ACCOUNT))
iam.put_role_policy(RoleName="deploy", PolicyName="p", PolicyDocument=policy(allow("*")))
refused("credentials of a role that was deleted", "AccessDeniedException", "ecs:ListClusters",
        as_who("ecs", session).list_clusters)
finish()
