"""Attributes are put on a node, asked for by placement, and taken away again."""

from harness import claim, client, equal, finish, patient_client, refused

ecs = client()
node = ecs.list_container_instances()["containerInstanceArns"][0]
short = node.rsplit("/", 1)[1]
of = {"targetType": "container-instance", "targetId": short}


def listed(**more):
    found = ecs.list_attributes(targetType="container-instance", **more)["attributes"]
    return {a["name"]: a.get("value") for a in found}


before = listed()
ecs.put_attributes(attributes=[{"name": "rack", "value": "7"} | of, {"name": "ssd"} | of])
equal("put attributes are listed", listed(), before | {"rack": "7", "ssd": None})
equal("one by name", listed(attributeName="rack"), {"rack": "7"})
equal("by name and value", listed(attributeName="rack", attributeValue="8"), {})
shown = ecs.describe_container_instances(containerInstances=[node])["containerInstances"][0]
claim("the node shows them", {"name": "rack", "value": "7"} in shown["attributes"], shown)
ecs.register_task_definition(
    family="racked", containerDefinitions=[{"name": "c", "image": "i", "memory": 8}])


def place(expression):
    return ecs.run_task(taskDefinition="racked", placementConstraints=[
        {"type": "memberOf", "expression": expression}])


placed = place("attribute:rack == 7 and attribute:ssd exists")
equal("a task that asks for them is placed", len(placed["tasks"]), 1)
ecs.stop_task(task=placed["tasks"][0]["taskArn"])
over = place("attribute:rack == 8")
equal("and one that asks for another is told why not",
      ([], 1), (over["tasks"], len(over["failures"])))
ecs.put_attributes(attributes=[{"name": "rack", "value": "8"} | of])
equal("a value is replaced", listed(attributeName="rack"), {"rack": "8"})
ecs.delete_attributes(attributes=[{"name": "rack"} | of, {"name": "ssd"} | of])
equal("deleted attributes are gone", listed(), before)
for architecture, fits in [("X86_64", 1), ("ARM64", 0)]:
    ecs.register_task_definition(
        family="platform",
        runtimePlatform={"cpuArchitecture": architecture, "operatingSystemFamily": "LINUX"},
        containerDefinitions=[{"name": "c", "image": "i", "memory": 8}])
    ran = ecs.run_task(taskDefinition="platform")
    equal(f"a task for {architecture} is placed {fits} times", len(ran["tasks"]), fits)
    for task in ran["tasks"]:
        ecs.stop_task(task=task["taskArn"])
refused("Windows", "ClientException", "WINDOWS_SERVER_2022_CORE is not supported",
        lambda: ecs.register_task_definition(
            family="platform",
            runtimePlatform={"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"},
            containerDefinitions=[{"name": "c", "image": "i", "memory": 8}]))
for text, code, more in [
    ("a node that is not there", "TargetNotFoundException", {"targetId": "0" * 32}),
    ("no node", "InvalidParameterException", {"targetId": ""}),
    ("a reserved name", "InvalidParameterException", {"name": "ecs.os-type"}),
    ("a bad name", "InvalidParameterException", {"name": "a b"}),
    ("a value that ends with a space", "InvalidParameterException", {"value": "x "}),
]:
    refused(text, code, "attributes[0]", lambda: patient_client().put_attributes(
        attributes=[{"name": "n", "value": "v"} | of | more]))
equal("what was refused changed nothing", listed(), before)
finish()
