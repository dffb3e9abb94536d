"""secretsmanager and ssm by boto3, and who may read them."""

import json

import boto3
from botocore.config import Config

from harness import ENDPOINT, claim, equal, finish, refused

once = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
ACCOUNT = "000000000000"


def client(service, key=None):
    more = {} if key is None else {
        "aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
    return boto3.client(service, endpoint_url=ENDPOINT, config=once, **more)


sm, ssm, iam = client("secretsmanager"), client("ssm"), client("iam")

# Secrets.
token = "0" * 32
made = sm.create_secret(Name="app/db", SecretString="one", Description="d",
                        ClientRequestToken=token, Tags=[{"Key": "team", "Value": "a"}])
arn = made["ARN"]
claim("a secret's ARN", arn.startswith(
    f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:app/db-")
    and len(arn.split("-")[-1]) == 6, arn)
equal("the caller's token is the version", made["VersionId"], token)
equal("the same call again", sm.create_secret(
    Name="app/db", SecretString="one", ClientRequestToken=token)["ARN"], arn)
refused("another value", "ResourceExistsException", "already exists",
        lambda: sm.create_secret(Name="app/db", SecretString="two"))
for text, name in [("name", "app/db"), ("ARN", arn), ("ARN without its end", arn[:-7])]:
    equal(f"read by {text}", sm.get_secret_value(SecretId=name)["SecretString"], "one")
put = sm.put_secret_value(SecretId=arn, SecretString="two")
equal("a new version counts", (put["VersionStages"], sm.get_secret_value(
    SecretId="app/db")["SecretString"]), (["AWSCURRENT"], "two"))
equal("the one before", sm.get_secret_value(
    SecretId="app/db", VersionStage="AWSPREVIOUS")["SecretString"], "one")
equal("by its id", sm.get_secret_value(SecretId="app/db", VersionId=token)["SecretString"], "one")
sm.update_secret_version_stage(SecretId=arn, VersionStage="AWSCURRENT", MoveToVersionId=token,
                               RemoveFromVersionId=put["VersionId"])
equal("rolled back", sm.get_secret_value(SecretId="app/db")["SecretString"], "one")
shown = sm.describe_secret(SecretId="app/db")
equal("described", (
    shown["Description"], shown["Tags"], sorted(shown["VersionIdsToStages"].items())), ("d", [{"Key": "team", "Value": "a"}], sorted([
          (token, ["AWSCURRENT"]), (put["VersionId"], ["AWSPREVIOUS"])])))
claim("a description holds no value", "one" not in json.dumps(shown, default=str))
sm.create_secret(Name="bytes", SecretBinary=b"\x00\xff")
equal("bytes", sm.get_secret_value(SecretId="bytes")["SecretBinary"], b"\x00\xff")
sm.create_secret(Name="empty")
refused("one without a value", "ResourceNotFoundException", "AWSCURRENT",
        lambda: sm.get_secret_value(SecretId="empty"))
sm.update_secret(SecretId="empty", SecretString="now", Description="e")
equal("updated", sm.get_secret_value(SecretId="empty")["SecretString"], "now")
equal("listed by name, in pages", [s["Name"] for page in sm.get_paginator("list_secrets").paginate(
    PaginationConfig={"PageSize": 1}) for s in page["SecretList"]], ["app/db", "bytes", "empty"])
equal("filtered", [s["Name"] for s in sm.list_secrets(
    Filters=[{"Key": "tag-key", "Values": ["team"]}])["SecretList"]], ["app/db"])
sm.delete_secret(SecretId="bytes", RecoveryWindowInDays=7)
refused("one that is to end", "InvalidRequestException", "marked for deletion",
        lambda: sm.get_secret_value(SecretId="bytes"))
sm.restore_secret(SecretId="bytes")
equal("restored", sm.get_secret_value(SecretId="bytes")["SecretBinary"], b"\x00\xff")
sm.delete_secret(SecretId="bytes", ForceDeleteWithoutRecovery=True)
again = sm.delete_secret(SecretId="bytes", ForceDeleteWithoutRecovery=True)
equal("a forced end that is asked for again", again["Name"], "bytes")
N = "ResourceNotFoundException"
for text, code, part, call in [
    ("one that ended", N, "can't find", lambda: sm.get_secret_value(SecretId="bytes")),
    ("one of another account", N, "can't find", lambda: sm.get_secret_value(
        SecretId="arn:aws:secretsmanager:us-east-1:123456789012:secret:app/db")),
    ("text and bytes", "InvalidParameterException", "both",
     lambda: sm.create_secret(Name="x", SecretString="a", SecretBinary=b"b")),
    ("a value that is too long", "InvalidParameterException", "65536",
     lambda: sm.create_secret(Name="x", SecretString="a" * 65537)),
    ("a key of one's own", "InvalidParameterException", "KmsKeyId is not supported",
     lambda: sm.create_secret(Name="x", SecretString="a", KmsKeyId="alias/mine")),
    ("a bad name", "InvalidParameterException", "Invalid name",
     lambda: sm.create_secret(Name="a b", SecretString="a")),
    ("rotation", "UnknownOperationException", "RotateSecret",
     lambda: sm.rotate_secret(SecretId=arn)),
]:
    refused(text, code, part, call)

# Parameters.
equal("a parameter", ssm.put_parameter(Name="/app/url", Value="u", Type="String")["Version"], 1)
ssm.put_parameter(Name="/app/db/password", Value="p", Type="SecureString", Description="d",
                  Tags=[{"Key": "team", "Value": "a"}])
ssm.put_parameter(Name="/app/db/hosts", Value="a,b", Type="StringList")
ssm.put_parameter(Name="plain", Value="x", Type="String", AllowedPattern="^[a-z]$")
equal("read", ssm.get_parameter(Name="/app/url")["Parameter"]["Value"], "u")
equal("by ARN", ssm.get_parameter(Name=f"arn:aws:ssm:us-east-1:{ACCOUNT}:parameter/app/url")
      ["Parameter"]["Name"], "/app/url")
claim("a secure one is not opened unasked", ssm.get_parameter(
    Name="/app/db/password")["Parameter"]["Value"] != "p")
equal("and is where asked", ssm.get_parameter(
    Name="/app/db/password", WithDecryption=True)["Parameter"]["Value"], "p")
equal("overwritten", ssm.put_parameter(Name="/app/url", Value="v", Overwrite=True)["Version"], 2)
equal("an older version", ssm.get_parameter(Name="/app/url:1")["Parameter"]["Value"], "u")
equal("its history", [(p["Version"], p["Value"]) for p in ssm.get_parameter_history(
    Name="/app/url")["Parameters"]], [(1, "u"), (2, "v")])
some = ssm.get_parameters(Names=["/app/url", "nobody"])
equal("several", ([p["Value"] for p in some["Parameters"]], some["InvalidParameters"]),
      (["v"], ["nobody"]))
equal("below a path", [p["Name"] for p in ssm.get_parameters_by_path(Path="/app")["Parameters"]],
      ["/app/url"])
equal("and deeper, in pages", [p["Name"] for page in ssm.get_paginator("get_parameters_by_path")
      .paginate(Path="/app", Recursive=True, PaginationConfig={"PageSize": 2})
      for p in page["Parameters"]], ["/app/db/hosts", "/app/db/password", "/app/url"])
equal("described by filter", [p["Name"] for p in ssm.describe_parameters(ParameterFilters=[
    {"Key": "Type", "Values": ["SecureString"]}])["Parameters"]], ["/app/db/password"])
ssm.add_tags_to_resource(ResourceType="Parameter", ResourceId="plain",
                         Tags=[{"Key": "a", "Value": "b"}])
equal("tags", ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId="plain")["TagList"],
      [{"Key": "a", "Value": "b"}])
for text, code, part, call in [
    ("one that is there", "ParameterAlreadyExists", "overwrite",
     lambda: ssm.put_parameter(Name="/app/url", Value="x", Type="String")),
    ("no type", "ValidationException", "type is required",
     lambda: ssm.put_parameter(Name="new", Value="x")),
    ("a value against its pattern", "ParameterPatternMismatchException", "allowedPattern",
     lambda: ssm.put_parameter(Name="plain", Value="XX", Overwrite=True, AllowedPattern="^[a-z]$")),
    ("a value that is too long", "ValidationException", "4096",
     lambda: ssm.put_parameter(Name="long", Value="x" * 4097, Type="String")),
    ("the advanced tier", "ValidationException", "Tier Advanced is not supported",
     lambda: ssm.put_parameter(Name="new", Value="x", Type="String", Tier="Advanced")),
    ("one that is not there", "ParameterNotFound", "nobody",
     lambda: ssm.get_parameter(Name="nobody")),
    ("a version that is not there", "ParameterVersionNotFound", "9",
     lambda: ssm.get_parameter(Name="/app/url:9")),
]:
    refused(text, code, part, call)
ssm.delete_parameter(Name="plain")
equal("deleted", ssm.delete_parameters(Names=["plain", "/app/url"])["InvalidParameters"], ["plain"])

# Who may read them.
iam.create_user(UserName="app")
key = iam.create_access_key(UserName="app")["AccessKey"]
iam.put_user_policy(UserName="app", PolicyName="p", PolicyDocument=json.dumps({
    "Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": arn[:-6] + "*"},
        {"Effect": "Allow", "Action": "ssm:GetParameter*",
         "Resource": f"arn:aws:ssm:us-east-1:{ACCOUNT}:parameter/app/db/*"}]}))
A = "AccessDeniedException"
equal("its own secret", client("secretsmanager", key).get_secret_value(
    SecretId="app/db")["SecretString"], "one")
iam.put_user_policy(UserName="app", PolicyName="batch", PolicyDocument=json.dumps({
    "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": "secretsmanager:BatchGetSecretValue", "Resource": "*"}]}))
several = client("secretsmanager", key).batch_get_secret_value(
    SecretIdList=["app/db", "empty", "nobody"])
equal("of several, its own", [(s["Name"], s["SecretString"]) for s in several["SecretValues"]],
      [("app/db", "one")])
equal("and no other, whether it is there or not",
      [(e["SecretId"], e["ErrorCode"]) for e in several["Errors"]],
      [("empty", A), ("nobody", A)])
by_name = {"Filters": [{"Key": "name", "Values": ["app", "em"]}], "MaxResults": 1}
first = sm.batch_get_secret_value(**by_name)
rest = sm.batch_get_secret_value(**by_name, NextToken=first["NextToken"])
equal("several by a filter, in pages", [s["Name"] for page in (first, rest)
                                        for s in page["SecretValues"]], ["app/db", "empty"])
equal("for root, one that is not there", [e["ErrorCode"] for e in sm.batch_get_secret_value(
    SecretIdList=["nobody"])["Errors"]], [N])
refused("neither ids nor filters", "InvalidParameterException", "SecretIdList",
        lambda: sm.batch_get_secret_value())
refused("another secret", A, "secretsmanager:GetSecretValue on resource: arn:aws:secretsmanager",
        lambda: client("secretsmanager", key).get_secret_value(SecretId="empty"))
refused("one that is not there, in the same words", A, "secretsmanager:GetSecretValue",
        lambda: client("secretsmanager", key).get_secret_value(SecretId="nobody"))
refused("putting a secret", A, "secretsmanager:PutSecretValue",
        lambda: client("secretsmanager", key).put_secret_value(SecretId=arn, SecretString="x"))
equal("its own parameter", client("ssm", key).get_parameter(
    Name="/app/db/password", WithDecryption=True)["Parameter"]["Value"], "p")
refused("another parameter", A, "ssm:GetParameter on resource: arn:aws:ssm",
        lambda: client("ssm", key).get_parameter(Name="/app/url"))
made = sm.get_random_password(PasswordLength=20, ExcludePunctuation=True)["RandomPassword"]
claim("a random password has its length and kinds", len(made) == 20 and made.isalnum(), made)
refused("too long a password", "InvalidParameterException", "PasswordLength",
        lambda: sm.get_random_password(PasswordLength=5000))
equal("a secret has no policy of its own", "ResourcePolicy" in sm.get_resource_policy(
    SecretId=sm.create_secret(Name="unruled", SecretString="x")["ARN"]), False)
finish()
