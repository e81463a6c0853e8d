// The unmodified npm `openai` client and the Responses API; prints what it got as JSON.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(process.env.CONFIDE_NODE_MODULES + "/"));
const OpenAI = require("openai").default ?? require("openai");
const client = new OpenAI({ maxRetries: 0 });
const asked = { model: "demo-tiny", input: "Hello", max_output_tokens: 16 };

const whole = await client.responses.create(asked);
let streamed = "";
let last = null;
for await (const event of await client.responses.create({ ...asked, stream: true })) {
  if (event.type === "response.output_text.delta") streamed += event.delta;
  last = event.type;
}
let refused = null;
try {
  await client.responses.create({ ...asked, previous_response_id: "resp_0" });
} catch (error) {
  refused = { status: error.status, code: error.code, param: error.param };
}
console.log(JSON.stringify({ whole: whole.output_text, streamed, last, refused }));
