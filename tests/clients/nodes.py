"""A node is drained, taken back, and deregistered; join tokens are made, listed and revoked."""

import re
import time

from harness import OWN_TARGET, claim, client, equal, finish, raw, raw_refused, refused

ecs = client()
node = ecs.list_container_instances()["containerInstanceArns"][0]
ecs.register_task_definition(
    family="noded", containerDefinitions=[{"name": "c", "image": "i", "memory": 8}])


def show():
    return ecs.describe_container_instances(
        containerInstances=[node])["containerInstances"][0]


def state(word, *more):
    return ecs.update_container_instances_state(
        containerInstances=[node, *more], status=word)


before = show()["version"]
both = state("DRAINING", "0" * 32)
equal("a node is set DRAINING", both["containerInstances"][0]["status"], "DRAINING")
equal("one that is not there is a failure", [f["reason"] for f in both["failures"]], ["MISSING"])
claim("its version moved", before < show()["version"], (before, show()["version"]))
equal("listed as DRAINING", ecs.list_container_instances(status="DRAINING")
      ["containerInstanceArns"], [node])
equal("and not as ACTIVE", ecs.list_container_instances(status="ACTIVE")
      ["containerInstanceArns"], [])
over = ecs.run_task(taskDefinition="noded")
equal("a draining node takes no task", (over["tasks"], len(over["failures"])), ([], 1))
equal("and is named", over["failures"][0]["arn"], node)
state("ACTIVE")
placed = ecs.run_task(taskDefinition="noded")["tasks"]
equal("set ACTIVE it takes one", len(placed), 1)
refused("a status that is none", "InvalidParameterException", "ACTIVE, DRAINING",
        lambda: state("REGISTERING"))

task = placed[0]["taskArn"]
refused("deregistering with tasks", "InvalidParameterException", "Found running tasks",
        lambda: ecs.deregister_container_instance(containerInstance=node))
refused("deregistering what is not there", "InvalidParameterException", "not found",
        lambda: ecs.deregister_container_instance(containerInstance="0" * 32))
refused("deleting a cluster with a node", "ClusterContainsContainerInstancesException", "cannot",
        lambda: ecs.delete_cluster(cluster="default"))
gone = ecs.deregister_container_instance(containerInstance=node, force=True)["containerInstance"]
equal("by force it is INACTIVE", gone["status"], "INACTIVE")
shown = ecs.describe_tasks(tasks=[task])["tasks"][0]
equal("and its task counts as stopped", shown["lastStatus"], "STOPPED")
equal("it is no longer listed", ecs.list_container_instances()["containerInstanceArns"], [])
refused("nothing is placed without nodes", "InvalidParameterException",
        "No Container Instances were found in your cluster.",
        lambda: ecs.run_task(taskDefinition="noded"))


def own(operation, **body):
    status, answer, _ = raw(operation, body, target=OWN_TARGET, service="loadline")
    claim(f"{operation} is answered", status == 200, answer)
    return answer


made = own("CreateJoinToken", expiresInSeconds=60, uses=3)
claim("a token has its form",
      re.fullmatch(r"loadline1\.[0-9a-f]{16}\.[0-9a-f]{64}\.[0-9a-f]{64}", made["token"]), made)
equal("for the cluster", (made["cluster"], made["uses"]), ("default", 3))
claim("it expires", 50 < made["expiresAt"] - time.time() < 70, made)
mine = lambda: [t for t in own("ListJoinTokens")["tokens"] if t["tokenId"] == made["tokenId"]]
equal("it is listed without its secret", set(mine()[0]),
      {"tokenId", "cluster", "expiresAt", "usesLeft", "revoked"})
equal("not revoked", mine()[0]["revoked"], False)
equal("revoking answers nothing", own("RevokeJoinToken", tokenId=made["tokenId"]), {})
equal("revoked", mine()[0]["revoked"], True)
own("RevokeJoinToken", tokenId=made["tokenId"])
for text, body, part in [
    ("a token for ever", {"expiresInSeconds": 10**9}, "expiresInSeconds"),
    ("a token of no use", {"uses": 0}, "uses"),
    ("a token for elsewhere", {"cluster": "a/b"}, "cluster"),
    ("an unknown field", {"colour": 1}, "colour"),
]:
    raw_refused(text, "InvalidParameterException", part, "CreateJoinToken", body,
                target=OWN_TARGET)
raw_refused("logs of what is not there", "InvalidParameterException", "task was not found",
            "ReadTaskLogs", {"task": "0" * 32}, target=OWN_TARGET)
raw_refused("too long a wait", "InvalidParameterException", "waitMs",
            "ReadTaskLogs", {"task": task, "waitMs": 20_001}, target=OWN_TARGET)
raw_refused("logs of another container", "InvalidParameterException", "containerName",
            "ReadTaskLogs", {"task": task, "containerName": "x"}, target=OWN_TARGET)
raw_refused("logs from a node that is away", "ClientException", "not connected",
            "ReadTaskLogs", {"task": task}, target=OWN_TARGET)
finish()
