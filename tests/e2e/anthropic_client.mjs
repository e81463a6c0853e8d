// The unmodified npm `@anthropic-ai/sdk` client against the local proxy; prints what it got.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(process.env.CONFIDE_NODE_MODULES + "/"));
const Anthropic = require("@anthropic-ai/sdk").default ?? require("@anthropic-ai/sdk");
const client = new Anthropic();
const messages = [{ role: "user", content: "alpha beta gamma delta" }];
const max_tokens = 50;

const whole = await client.messages.create({ model: "echo", max_tokens, messages });
let events = 0;
const stream = client.messages.stream({ model: "slow", max_tokens, messages });
stream.on("streamEvent", () => { events += 1; });
const streamed = await stream.finalMessage();
const tools = [{ name: "get_weather", input_schema: {
  type: "object", properties: { city: { type: "string" } }, required: ["city"] } }];
const called = await client.messages.create({ model: "demo-tiny", max_tokens, tools,
  messages: [{ role: "user", content: "What is the weather in Geneva?" }] });
const counted = await client.messages.countTokens({ model: "demo-tiny", messages });
let unknown = null;
try {
  await client.messages.create({ model: "absent", max_tokens, messages });
} catch (error) {
  unknown = { status: error.status, type: error.error?.error?.type, id: error.requestID };
}
console.log(JSON.stringify({
  whole: whole.content[0].text, streamed: streamed.content[0].text, events, unknown,
  stop: streamed.stop_reason, counted: counted.input_tokens,
  tool: called.content.find((block) => block.type === "tool_use")?.name ?? null,
}));
