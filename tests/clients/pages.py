"""Lists come in pages that join to the whole, by boto3's own paginators."""

from harness import claim, client, equal, finish, refused

ecs = client()
for n in range(7):
    for _ in range(2):
        ecs.register_task_definition(
            family=f"page-{n}",
            containerDefinitions=[{"name": "c", "image": "i", "memory": 8}],
        )
    ecs.create_cluster(clusterName=f"page-{n}")


def collect(operation, key, size, **more):
    pages = ecs.get_paginator(operation).paginate(PaginationConfig={"PageSize": size}, **more)
    return [item for page in pages for item in page[key]]


whole = ecs.list_task_definitions(maxResults=100)["taskDefinitionArns"]
whole = [arn for arn in whole if "/page-" in arn]
equal("two revisions of each family", len(whole), 14)
for size in (1, 3, 14, 100):
    seen = collect("list_task_definitions", "taskDefinitionArns", size)
    equal(f"definitions in pages of {size}", [a for a in seen if "/page-" in a], whole)
    seen = collect("list_task_definitions", "taskDefinitionArns", size, sort="DESC")
    equal(f"backwards in pages of {size}", [a for a in seen if "/page-" in a], whole[::-1])
    seen = collect("list_task_definition_families", "families", size, familyPrefix="page-")
    equal(f"families in pages of {size}", seen, [f"page-{n}" for n in range(7)])
    seen = collect("list_clusters", "clusterArns", size)
    equal(f"clusters in pages of {size}", len([a for a in seen if "/page-" in a]), 7)

token = ecs.list_task_definitions(maxResults=1)["nextToken"]
refused("a token of another list", "InvalidParameterException", "nextToken",
        lambda: ecs.list_clusters(nextToken=token))
refused("a token under another filter", "InvalidParameterException", "nextToken",
        lambda: ecs.list_task_definitions(nextToken=token, sort="DESC"))

arns = []
for _ in range(2):
    ran = ecs.run_task(taskDefinition="page-0", count=3, startedBy="pages")
    arns += [task["taskArn"] for task in ran["tasks"]]
equal("six tasks are placed", len(arns), 6)
seen = collect("list_tasks", "taskArns", 4, startedBy="pages")
equal("tasks in pages of 4", sorted(seen), sorted(arns))
for arn in arns:
    ecs.stop_task(task=arn)
for n in range(7):
    ecs.delete_cluster(cluster=f"page-{n}")
claim("deleted clusters are no longer listed",
      not [a for a in ecs.list_clusters()["clusterArns"] if "/page-" in a])
finish()
