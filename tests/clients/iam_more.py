"""Groups, permissions boundaries and instance profiles, by boto3."""

import json

import boto3
from botocore.config import Config

from harness import ENDPOINT, claim, equal, finish, refused

once = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
ACCOUNT = "000000000000"


def as_root(service):
    return boto3.client(service, endpoint_url=ENDPOINT, config=once)


def as_who(service, key):
    return boto3.client(
        service, endpoint_url=ENDPOINT, config=once, aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"])


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action, resource="*"):
    return {"Effect": "Allow", "Action": action, "Resource": resource}


iam = as_root("iam")
iam.create_user(UserName="ann")
key = iam.create_access_key(UserName="ann")["AccessKey"]
ecs = as_who("ecs", key)

# Groups.
group = iam.create_group(GroupName="ops", Path="/teams/")["Group"]
equal("a group's ARN", group["Arn"], f"arn:aws:iam::{ACCOUNT}:group/teams/ops")
claim("its id", group["GroupId"].startswith("AGPA"), group)
refused("the same name again", "EntityAlreadyExists", "Group with name OPS already exists",
        lambda: iam.create_group(GroupName="OPS"))
iam.put_group_policy(GroupName="ops", PolicyName="p",
                     PolicyDocument=policy(allow("ecs:List*")))
refused("before she is in it", "AccessDeniedException", "ecs:ListClusters", ecs.list_clusters)
iam.add_user_to_group(GroupName="ops", UserName="ann")
equal("in it she may", len(ecs.list_clusters()["clusterArns"]), 1)
equal("its users", [u["UserName"] for u in iam.get_group(GroupName="ops")["Users"]], ["ann"])
equal("her groups", [g["GroupName"] for g in iam.list_groups_for_user(UserName="ann")["Groups"]],
      ["ops"])
equal("all groups", [g["GroupName"] for g in iam.list_groups()["Groups"]], ["ops"])
equal("its policies", iam.list_group_policies(GroupName="ops")["PolicyNames"], ["p"])
equal("as they were put", iam.get_group_policy(GroupName="ops", PolicyName="p")
      ["PolicyDocument"]["Statement"][0]["Action"], "ecs:List*")
arn = iam.create_policy(PolicyName="describes", PolicyDocument=policy(
    allow("ecs:Describe*")))["Policy"]["Arn"]
iam.attach_group_policy(GroupName="ops", PolicyArn=arn)
equal("what is attached", [p["PolicyArn"] for p in iam.list_attached_group_policies(
    GroupName="ops")["AttachedPolicies"]], [arn])
equal("counts too", len(ecs.describe_clusters()["clusters"]), 1)
equal("and is told of the policy", [g["GroupName"] for g in iam.list_entities_for_policy(
    PolicyArn=arn)["PolicyGroups"]], ["ops"])
for text, words, call in [
    ("a group with users", "remove users from group", lambda: iam.delete_group(GroupName="ops")),
    ("a policy of a group", "detach policy", lambda: iam.delete_policy(PolicyArn=arn)),
]:
    refused(text, "DeleteConflict", words, call)
iam.remove_user_from_group(GroupName="ops", UserName="ann")
refused("out of it she may not", "AccessDeniedException", "ecs:ListClusters", ecs.list_clusters)
refused("twice", "NoSuchEntity", "user in group",
        lambda: iam.remove_user_from_group(GroupName="ops", UserName="ann"))
iam.detach_group_policy(GroupName="ops", PolicyArn=arn)
iam.delete_group_policy(GroupName="ops", PolicyName="p")
iam.delete_group(GroupName="ops")
refused("it is gone", "NoSuchEntity", "group with name ops",
        lambda: iam.get_group(GroupName="ops"))

# Boundaries.
iam.put_user_policy(UserName="ann", PolicyName="all", PolicyDocument=policy(allow("*")))
iam.put_user_permissions_boundary(UserName="ann", PermissionsBoundary=arn)
equal("a boundary is shown", iam.get_user(UserName="ann")["User"]["PermissionsBoundary"],
      {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": arn})
equal("within it", len(ecs.describe_clusters()["clusters"]), 1)
refused("beyond it", "AccessDeniedException",
        "because no permissions boundary allows the ecs:ListClusters action", ecs.list_clusters)
equal("who is bounded", [u["UserName"] for u in iam.list_entities_for_policy(
    PolicyArn=arn, PolicyUsageFilter="PermissionsBoundary")["PolicyUsers"]], ["ann"])
decisions = iam.simulate_principal_policy(
    PolicySourceArn=f"arn:aws:iam::{ACCOUNT}:user/ann",
    ActionNames=["ecs:DescribeTasks", "ecs:ListTasks"])["EvaluationResults"]
equal("and simulated", [d["EvalDecision"] for d in decisions], ["allowed", "implicitDeny"])
refused("a policy that bounds", "DeleteConflict", "permissions boundary",
        lambda: iam.delete_policy(PolicyArn=arn))
iam.delete_user_permissions_boundary(UserName="ann")
equal("without it", len(ecs.list_clusters()["clusterArns"]), 1)
refused("none to delete", "NoSuchEntity", "boundary",
        lambda: iam.delete_user_permissions_boundary(UserName="ann"))
refused("a boundary that is not there", "NoSuchEntity", "policy",
        lambda: iam.put_user_permissions_boundary(UserName="ann", PermissionsBoundary=arn + "x"))
trust = policy({"Effect": "Allow", "Action": "sts:AssumeRole",
                "Principal": {"Service": "ecs-tasks.amazonaws.com"}})
role = iam.create_role(RoleName="node", AssumeRolePolicyDocument=trust,
                       PermissionsBoundary=arn)["Role"]
equal("a role is made with one", role["PermissionsBoundary"]["PermissionsBoundaryArn"], arn)
# Whoever may only make roles within a boundary may not touch those without.
iam.create_user(UserName="deputy")
iam.put_user_policy(UserName="deputy", PolicyName="p", PolicyDocument=policy({
    **allow(["iam:PutRolePolicy", "iam:DeleteRolePolicy"]),
    "Condition": {"StringEquals": {"iam:PermissionsBoundary": arn}}}))
deputy = as_who("iam", iam.create_access_key(UserName="deputy")["AccessKey"])
deputy.put_role_policy(RoleName="node", PolicyName="p", PolicyDocument=policy(allow("ecs:*")))
deputy.delete_role_policy(RoleName="node", PolicyName="p")
iam.delete_role_permissions_boundary(RoleName="node")
refused("a role without the boundary", "AccessDenied", "iam:PutRolePolicy",
        lambda: deputy.put_role_policy(RoleName="node", PolicyName="p",
                                       PolicyDocument=policy(allow("ecs:*"))))

# Credentials in the place of a key, for a while.
made = as_who("sts", key).get_session_token(DurationSeconds=900)["Credentials"]


def for_a_while(service, made):
    return boto3.client(
        service, endpoint_url=ENDPOINT, config=once, aws_access_key_id=made["AccessKeyId"],
        aws_secret_access_key=made["SecretAccessKey"], aws_session_token=made["SessionToken"])


equal("they make their holder the user", for_a_while("sts", made).get_caller_identity()["Arn"],
      f"arn:aws:iam::{ACCOUNT}:user/ann")
equal("with her rights", len(for_a_while("ecs", made).list_clusters()["clusterArns"]), 1)
refused("but not for IAM", "AccessDenied", "GetSessionToken",
        lambda: for_a_while("iam", made).list_users())
refused("nor for others of their kind", "AccessDenied", "session credentials",
        lambda: for_a_while("sts", made).get_session_token())
refused("too short a time", "ValidationError", "900",
        lambda: as_who("sts", key).get_session_token(DurationSeconds=60))
root = as_root("sts").get_session_token()["Credentials"]
equal("root has them too", for_a_while("sts", root).get_caller_identity()["Arn"],
      f"arn:aws:iam::{ACCOUNT}:root")
iam.update_access_key(UserName="ann", AccessKeyId=key["AccessKeyId"], Status="Inactive")
refused("they end with the key", "InvalidClientTokenId", "invalid",
        lambda: for_a_while("sts", made).get_caller_identity())
iam.update_access_key(UserName="ann", AccessKeyId=key["AccessKeyId"], Status="Active")

# Instance profiles.
profile = iam.create_instance_profile(
    InstanceProfileName="node", Tags=[{"Key": "a", "Value": "b"}])["InstanceProfile"]
equal("a profile's ARN", profile["Arn"], f"arn:aws:iam::{ACCOUNT}:instance-profile/node")
equal("it is empty", (profile["Roles"], profile["Tags"]), ([], [{"Key": "a", "Value": "b"}]))
iam.add_role_to_instance_profile(InstanceProfileName="node", RoleName="node")
equal("with its role", [r["RoleName"] for r in iam.get_instance_profile(
    InstanceProfileName="node")["InstanceProfile"]["Roles"]], ["node"])
equal("by its role", [p["InstanceProfileName"] for p in iam.list_instance_profiles_for_role(
    RoleName="node")["InstanceProfiles"]], ["node"])
equal("all", [p["InstanceProfileName"] for p in iam.list_instance_profiles()
              ["InstanceProfiles"]], ["node"])
refused("a second role", "LimitExceeded", "1", lambda: iam.add_role_to_instance_profile(
    InstanceProfileName="node", RoleName="node"))
refused("deleting its role", "DeleteConflict", "instance profile",
        lambda: iam.delete_role(RoleName="node"))
iam.tag_instance_profile(InstanceProfileName="node", Tags=[{"Key": "c", "Value": "d"}])
iam.untag_instance_profile(InstanceProfileName="node", TagKeys=["a"])
equal("its tags", iam.list_instance_profile_tags(InstanceProfileName="node")["Tags"],
      [{"Key": "c", "Value": "d"}])
iam.remove_role_from_instance_profile(InstanceProfileName="node", RoleName="node")
iam.delete_instance_profile(InstanceProfileName="node")
iam.delete_role(RoleName="node")
refused("it is gone", "NoSuchEntity", "instance profile",
        lambda: iam.get_instance_profile(InstanceProfileName="node"))
finish()
