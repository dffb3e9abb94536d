"""sts GetCallerIdentity, on the same port, in AWS's query protocol."""

import boto3
from botocore.config import Config

from harness import ENDPOINT, equal, finish, refused

once = Config(retries={"total_max_attempts": 1})


def sts(**more):
    return boto3.client("sts", endpoint_url=ENDPOINT, config=once, **more)


who = sts().get_caller_identity()
equal("the account", who["Account"], "000000000000")
equal("who that is", who["Arn"], "arn:aws:iam::000000000000:root")
refused("an unknown key", "InvalidClientTokenId", "security token",
        lambda: sts(aws_access_key_id="AKIAUNKNOWN", aws_secret_access_key="s")
        .get_caller_identity())
own = boto3.session.Session().get_credentials()
refused("a wrong secret", "SignatureDoesNotMatch", "does not match",
        lambda: sts(aws_access_key_id=own.access_key, aws_secret_access_key="wrong")
        .get_caller_identity())
refused("an action that is not there yet", "InvalidAction", "GetAccessKeyInfo",
        lambda: sts().get_access_key_info(AccessKeyId="A" * 20))
refused("a service that is not there", "InvalidAction", "elasticloadbalancing",
        lambda: boto3.client("elbv2", endpoint_url=ENDPOINT, config=once).describe_load_balancers())
finish()
