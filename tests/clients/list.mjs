// The JavaScript SDK v3, unmodified but for the endpoint, lists and refuses as AWS does.

import { createRequire } from "node:module";

const require = createRequire(process.env.LOADLINE_NODE_MODULES + "/");
const sdk = require("@aws-sdk/client-ecs");

const region = process.env.AWS_DEFAULT_REGION;
const ecs = new sdk.ECSClient({ endpoint: process.argv[2], region });
let failed = 0;

function claim(text, holds, seen) {
  console.log(holds ? `ok      ${text}` : `FAILED  ${text}: saw ${JSON.stringify(seen)}`);
  failed += holds ? 0 : 1;
}

const send = (Command, input) => ecs.send(new Command(input));
const made = await send(sdk.RegisterTaskDefinitionCommand, {
  family: "js",
  containerDefinitions: [{ name: "c", image: "i", memory: 16 }],
});
claim("a definition is registered", made.taskDefinition.revision === 1, made);
const ran = await send(sdk.RunTaskCommand, { taskDefinition: "js", count: 2 });
const tasks = ran.tasks.map((task) => task.taskArn);
claim("tasks are placed", tasks.length === 2 && ran.failures.length === 0, ran);
await sdk.waitUntilTasksRunning({ client: ecs, maxWaitTime: 90, minDelay: 1 }, { tasks });
const listed = await send(sdk.ListTasksCommand, { family: "js" });
claim("they are listed", listed.taskArns.sort().join() === tasks.sort().join(), listed);
const shown = await send(sdk.DescribeTasksCommand, { tasks });
claim("times are dates", shown.tasks[0].createdAt instanceof Date, shown.tasks[0]);
for (const task of tasks) await send(sdk.StopTaskCommand, { task });
await sdk.waitUntilTasksStopped({ client: ecs, maxWaitTime: 90, minDelay: 1 }, { tasks });
try {
  await send(sdk.RunTaskCommand, { taskDefinition: "js", cluster: "nobody" });
  claim("a missing cluster is refused", false);
} catch (error) {
  claim("a refusal has its type", error instanceof sdk.ClusterNotFoundException, error);
}
process.exit(failed ? 1 : 0);
