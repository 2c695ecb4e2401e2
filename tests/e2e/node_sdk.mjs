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

seen.models = [];
for await (const model of client.models.list()) seen.models.push(model.id);

seen.errors = {};
for (const model of ["no-such-model", "failing"]) {
  try {
    await new OpenAI({ baseURL, apiKey, maxRetries: 2, timeout: 60_000 }).chat.completions.create({ model, messages });
  } catch (error) {
    seen.errors[model] = { name: error.constructor.name, status: error.status, code: error.code };
  }
}
console.log(JSON.stringify(seen));
