// The official OpenAI SDK for Node against a gateway: node node_sdk.mjs BASE_URL KEY. Prints one JSON document of what it saw.
import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 60_000 });
const messages = [{ role: "user", content: "hello" }];
const tools = [{ type: "function", function: { name: "look_up", parameters: { type: "object", properties: {} } } }];
const seen = {};

const { data, response } = await client.chat.completions.create({ model: "chat", messages }).withResponse();
seen.answer = data.choices[0].message.content;
seen.requestId = response.headers.get("x-request-id");

seen.streamed = "";
for await (const chunk of await client.chat.completions.create({ model: "chat", messages, stream: true })) {
  seen.streamed += chunk.choices[0]?.delta?.content ?? "";
}

const final = await client.chat.completions.stream({ model: "claude", messages, tools }).finalChatCompletion();
seen.tool = final.choices[0].message.tool_calls[0].function;

const picture = { type: "image_url", image_url: { url: "data:image/png;base64,iVBORw0KGgo=" } };
const look = [{ role: "user", content: [{ type: "text", text: "look" }, picture] }];
seen.looked = (await client.chat.completions.create({ model: "claude", messages: look })).choices[0].message.content;

const properties = { said: { type: "string" } };
const schema = { type: "object", properties, required: ["said"], additionalProperties: false };
const response_format = { type: "json_schema", json_schema: { name: "said", schema, strict: true } };
const told = [{ role: "user", content: 'say: {"said":"hello"}' }];
seen.parsed = (await client.chat.completions.parse({ model: "chat", messages: told, response_format })).choices[0].message.parsed;

seen.response = (await client.responses.create({ model: "chat", input: "hello" })).output_text;
seen.vector = (await client.embeddings.create({ model: "vectors", input: "a" })).data[0].embedding;

seen.models = [];
for await (const model of client.models.list()) seen.models.push(model.id);

seen.errors = {};
try {
  for await (const _ of await client.chat.completions.create({ model: "cut", messages, stream: true }));
} catch (error) {
  seen.errors.cut = { name: error.constructor.name, code: error.code };
}
for (const model of ["no-such-model", "failing"]) {
  try {
    await new OpenAI({ baseURL, apiKey, maxRetries: 2, timeout: 60_000 }).chat.completions.create({ model, messages });
  } catch (error) {
    seen.errors[model] = { name: error.constructor.name, status: error.status, code: error.code };
  }
}
console.log(JSON.stringify(seen));
