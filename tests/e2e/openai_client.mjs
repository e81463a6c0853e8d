// The unmodified npm `openai` client against the local proxy; prints what it got as JSON.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(process.env.CONFIDE_NODE_MODULES + "/"));
const OpenAI = require("openai").default ?? require("openai");
const client = new OpenAI();
const messages = [{ role: "user", content: "alpha beta gamma delta" }];

const whole = await client.chat.completions.create({ model: "echo", messages });
let streamed = "";
let events = 0;
for await (const event of await client.chat.completions.create({ model: "slow", messages, stream: true })) {
  streamed += event.choices[0]?.delta?.content ?? "";
  events += 1;
}
const tools = [{ type: "function", function: { name: "get_weather", parameters: {
  type: "object", properties: { city: { type: "string" } }, required: ["city"] } } }];
const called = await client.chat.completions.create({
  model: "demo-tiny", temperature: 0, tools,
  messages: [{ role: "user", content: "What is the weather in Geneva?" }] });
let unknown = null;
try {
  await client.chat.completions.create({ model: "absent", messages });
} catch (error) {
  unknown = { status: error.status, code: error.code };
}
console.log(JSON.stringify({
  whole: whole.choices[0].message.content, streamed, events, unknown,
  tool: called.choices[0].message.tool_calls?.[0]?.function?.name ?? null,
}));
