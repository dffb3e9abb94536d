"""Tags are put, listed and removed on whatever has an ARN."""

from harness import client, equal, finish, refused

ecs = client()
cluster = ecs.create_cluster(clusterName="tagged")["cluster"]["clusterArn"]
definition = ecs.register_task_definition(
    family="tagged", containerDefinitions=[{"name": "c", "image": "i", "memory": 8}]
)["taskDefinition"]["taskDefinitionArn"]
service = ecs.create_service(
    serviceName="tagged", taskDefinition="tagged", desiredCount=0)["service"]["serviceArn"]
task = ecs.run_task(taskDefinition="tagged")["tasks"][0]["taskArn"]
node = ecs.list_container_instances()["containerInstanceArns"][0]


def tags(arn):
    return {tag["key"]: tag["value"] for tag in ecs.list_tags_for_resource(resourceArn=arn)["tags"]}


for arn in (cluster, definition, service, task, node):
    kind = arn.split(":")[5].split("/")[0]
    equal(f"a new {kind} has no tags", tags(arn), {})
    ecs.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "1"}, {"key": "b", "value": ""}])
    ecs.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "2"}])
    equal(f"a {kind}'s tags are put and replaced", tags(arn), {"a": "2", "b": ""})
    ecs.untag_resource(resourceArn=arn, tagKeys=["b", "never"])
    equal(f"a {kind}'s tags are removed", tags(arn), {"a": "2"})
for arn in (cluster + "x", definition + "9", service + "x", task + "x", node + "x"):
    refused("tags of what is not there", "ResourceNotFoundException", "wasn't found",
            lambda: tags(arn))
described = ecs.describe_tasks(tasks=[task], include=["TAGS"])["tasks"][0]
equal("a task's tags are shown with it", described["tags"], [{"key": "a", "value": "2"}])
described = ecs.describe_container_instances(
    containerInstances=[node], include=["TAGS"])["containerInstances"][0]
equal("a node's tags are shown with it", described["tags"], [{"key": "a", "value": "2"}])
many = [{"key": str(n), "value": ""} for n in range(50)]
refused("more than 50 tags", "LimitExceededException", "at most 50",
        lambda: ecs.tag_resource(resourceArn=cluster, tags=many))
equal("what was refused changed nothing", tags(cluster), {"a": "2"})
ecs.stop_task(task=task)
ecs.delete_service(service="tagged")
ecs.delete_cluster(cluster=cluster)
finish()
