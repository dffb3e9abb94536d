"""Revisions are deleted, deployments stopped, instances registered by a call; what AWS has and
Loadline has not is refused with its reason."""

import json
import time

from harness import IMAGE, claim, client, equal, finish, patient_client, raw_refused, refused

WAIT = {"Delay": 1, "MaxAttempts": 120}
ecs = client()


def register(family="op"):
    return ecs.register_task_definition(family=family, containerDefinitions=[
        {"name": "c", "image": IMAGE, "memory": 16, "command": ["sleep", "600"]}],
    )["taskDefinition"]["taskDefinitionArn"]


# Deleting revisions.
first, second = register(), register()
deleted = ecs.delete_task_definitions(taskDefinitions=[first, "op:9"])
equal("an ACTIVE revision and one that is not there are failures",
      [f["arn"].rsplit("/")[-1] for f in deleted["failures"]], ["op:1", "op:9"])
claim("and say why", "still in ACTIVE status" in deleted["failures"][0]["reason"]
      and "does not exist" in deleted["failures"][1]["reason"], deleted["failures"])
ecs.deregister_task_definition(taskDefinition=first)
gone = ecs.delete_task_definitions(taskDefinitions=[first])["taskDefinitions"][0]
equal("an INACTIVE one is DELETE_IN_PROGRESS", gone["status"], "DELETE_IN_PROGRESS")
claim("since when", "deleteRequestedAt" in gone, gone)
for _ in range(60):
    if ecs.list_task_definitions(status="DELETE_IN_PROGRESS")["taskDefinitionArns"] == []:
        break
    time.sleep(0.5)
refused("and then gone", "ClientException", "Unable to describe task definition",
        lambda: ecs.describe_task_definition(taskDefinition=first))
equal("the other is there", ecs.list_task_definitions(familyPrefix="op")["taskDefinitionArns"],
      [second])
bare = patient_client()
refused("eleven at once", "InvalidParameterException", "at most 10",
        lambda: bare.delete_task_definitions(taskDefinitions=["op:1"] * 11))
refused("without a revision", "InvalidParameterException", "names no revision",
        lambda: bare.delete_task_definitions(taskDefinitions=["op"]))

# Stopping a deployment.
ecs.create_service(
    serviceName="op", taskDefinition=second, desiredCount=2,
    deploymentConfiguration={
        "minimumHealthyPercent": 100, "maximumPercent": 200,
        "deploymentCircuitBreaker": {
            "enable": True, "rollback": True, "resetOnHealthyTask": False,
            "thresholdConfiguration": {"type": "COUNT", "value": 7}}})
made = ecs.describe_services(services=["op"])["services"][0]
breaker = made["deploymentConfiguration"]["deploymentCircuitBreaker"]
equal("the breaker is as it was asked for", breaker, {
    "enable": True, "rollback": True, "resetOnHealthyTask": False,
    "thresholdConfiguration": {"type": "COUNT", "value": 7}})
equal("rebalancing is ECS's default", made["availabilityZoneRebalancing"], "ENABLED")
ecs.get_waiter("services_stable").wait(services=["op"], WaiterConfig=WAIT)
newest = lambda: ecs.list_service_deployments(service="op")["serviceDeployments"][0]
whole = lambda arn: ecs.describe_service_deployments(
    serviceDeploymentArns=[arn])["serviceDeployments"][0]
refused("stopping what is over", "ConflictException", "not in progress",
        lambda: ecs.stop_service_deployment(
            serviceDeploymentArn=newest()["serviceDeploymentArn"]))
equal("the breaker's threshold is told", whole(newest()["serviceDeploymentArn"])
      ["deploymentCircuitBreaker"]["threshold"], 7)
# A revision that finds no place: its deployment stays in progress.
big = ecs.register_task_definition(family="op", containerDefinitions=[
    {"name": "c", "image": IMAGE, "memory": 100_000}])["taskDefinition"]["taskDefinitionArn"]
ecs.update_service(service="op", taskDefinition=big)
under_way = newest()["serviceDeploymentArn"]
equal("the deployment under way is named", ecs.describe_services(services=["op"])["services"][0]
      ["currentServiceDeployment"], under_way)
equal("it is stopped", ecs.stop_service_deployment(
    serviceDeploymentArn=under_way, stopType="ROLLBACK")["serviceDeploymentArn"], under_way)
ecs.get_waiter("services_stable").wait(services=["op"], WaiterConfig=WAIT)
for _ in range(60):
    stopped = whole(under_way)
    if stopped["status"] == "ROLLBACK_SUCCESSFUL":
        break
    time.sleep(0.5)
equal("and rolled back", stopped["status"], "ROLLBACK_SUCCESSFUL")
claim("what came back is named", "serviceRevisionArn" in stopped["rollback"], stopped)
claim("when it stopped", "stoppedAt" in stopped and "finishedAt" in stopped, stopped)
equal("the breaker had no part in it", stopped["deploymentCircuitBreaker"]["status"],
      "MONITORING_COMPLETE")
service = ecs.describe_services(services=["op"])["services"][0]
equal("the service runs what it ran", service["taskDefinition"], second)
equal("and both deployments are told", [d["status"] for d in ecs.list_service_deployments(
    service="op")["serviceDeployments"]], ["ROLLBACK_SUCCESSFUL", "SUCCESSFUL"])
revision = ecs.describe_service_revisions(
    serviceRevisionArns=[service["currentServiceRevisions"][0]["arn"]])["serviceRevisions"][0]
equal("a revision names its images", [c["image"] for c in revision["containerImages"]], [IMAGE])
refused("stopping what is not there", "ServiceDeploymentNotFoundException", "not found",
        lambda: ecs.stop_service_deployment(serviceDeploymentArn=under_way[:-1] + "-"))
for text, part, configuration in [
    ("a threshold of 0", "must be between 1",
     {"deploymentCircuitBreaker": {"enable": True, "rollback": True, "thresholdConfiguration": {
         "type": "COUNT", "value": 0}}}),
    ("a share above 100 %", "must be between 1 and 100",
     {"deploymentCircuitBreaker": {"enable": True, "rollback": True, "thresholdConfiguration": {
         "type": "BOUNDED_PERCENT", "value": 101}}}),
    ("a kind that is none", "has no value",
     {"deploymentCircuitBreaker": {"enable": True, "rollback": True, "thresholdConfiguration": {
         "type": "SOME", "value": 1}}}),
]:
    refused(text, "InvalidParameterException", part, lambda: bare.update_service(
        service="op", deploymentConfiguration=configuration))
for text, part, configuration in [
    ("alarms", "alarms is not supported yet",
     {"alarms": {"alarmNames": ["a"], "enable": True, "rollback": True}}),
    ("hooks", "lifecycleHooks is not supported yet",
     {"lifecycleHooks": [{"targetType": "PAUSE"}]}),
    ("a bake time", "bakeTimeInMinutes is not supported yet", {"bakeTimeInMinutes": 5}),
]:
    refused(text, "ClientException", part, lambda: bare.update_service(
        service="op", deploymentConfiguration=configuration))
refused("rebalancing without room for one more", "InvalidParameterException",
        "availabilityZoneRebalancing", lambda: ecs.update_service(
            service="op", availabilityZoneRebalancing="ENABLED",
            deploymentConfiguration={"minimumHealthyPercent": 50, "maximumPercent": 100}))
ecs.delete_service(service="op", force=True)

# An instance that has no agent.
document = {"instanceId": "i-0123", "availabilityZone": "us-east-1b", "instanceType": "m5.large"}
instance = dict(
    instanceIdentityDocument=json.dumps(document),
    totalResources=[
        {"name": "CPU", "type": "INTEGER", "integerValue": 2048},
        {"name": "MEMORY", "type": "INTEGER", "integerValue": 2000},
        {"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22", "2375"]}],
    versionInfo={"agentVersion": "1.105.0"},
    attributes=[{"name": "disk", "value": "ssd"}])
shown = ecs.register_container_instance(
    **instance, tags=[{"key": "a", "value": "b"}])["containerInstance"]
arn = shown["containerInstanceArn"]
equal("it is ACTIVE without an agent", (shown["status"], shown["agentConnected"]),
      ("ACTIVE", False))
equal("its id", shown["ec2InstanceId"], "i-0123")
claim("its zone is an attribute", {"name": "ecs.availability-zone", "value": "us-east-1b"}
      in shown["attributes"], shown["attributes"])
equal("its size", {r["name"]: r["integerValue"] for r in shown["registeredResources"]
                   if r["type"] == "INTEGER"}, {"CPU": 2048, "MEMORY": 2000})
equal("it is listed by its id", ecs.list_container_instances(
    filter="ec2InstanceId == i-0123")["containerInstanceArns"], [arn])
started = ecs.start_task(taskDefinition="op:2", containerInstances=[arn])
equal("and takes no task", [f["reason"] for f in started["failures"]], ["AGENT"])
again = ecs.register_container_instance(**instance, containerInstanceArn=arn)["containerInstance"]
equal("the same again is the same", (again["containerInstanceArn"], again["version"]),
      (arn, shown["version"]))
node = [n for n in ecs.list_container_instances()["containerInstanceArns"] if n != arn][0]
refused("one that has an agent", "InvalidParameterException", "which alone registers it",
        lambda: ecs.register_container_instance(**instance, containerInstanceArn=node))
refused("without a size", "InvalidParameterException", "CPU and MEMORY",
        lambda: ecs.register_container_instance(totalResources=[]))
equal("it is deregistered", ecs.deregister_container_instance(
    containerInstance=arn)["containerInstance"]["status"], "INACTIVE")

# What there is not.
for operation, part in [
    ("CreateCapacityProvider", "capacity providers are not supported yet"),
    ("PutClusterCapacityProviders", "capacity providers are not supported yet"),
    ("DescribeCapacityProviders", "capacity providers are not supported yet"),
    ("CreateTaskSet", "task sets are not supported"),
    ("ListServicesByNamespace", "Cloud Map namespaces are not supported yet"),
    ("ContinueServiceDeployment", "lifecycle hooks are not supported"),
    ("SubmitTaskStateChange", "loadline.agent.v1"),
    ("DiscoverPollEndpoint", "loadline.agent.v1"),
]:
    raw_refused(operation, "UnsupportedFeatureException", f"{operation}: ", operation, {})
    raw_refused(operation, "UnsupportedFeatureException", part, operation, {})
raw_refused("a name that is none", "UnknownOperationException", "Frobnicate", "Frobnicate", {})
finish()
