// The official OpenAI SDK for Node, unchanged, as a customer of the gateway. Each check is one promise.
// usage: node checks.mjs   with BASE_URL, KEYS (JSON: name -> key) and ORDERS_URL (the simulator) in the environment
// Prints one JSON line per check: {"name", "ok", "error"}. Exits 1 when one fails.

import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { makeParseableResponseFormat } from 'openai/lib/parser';

const env = process.env;
const keys = JSON.parse(env.KEYS);
const model = 'sim/model';
const messages = [{ role: 'user', content: 'How much water passed the gate?' }];
const schema = {
  type: 'object',
  properties: { gauge: { type: 'string' }, litres: { type: 'integer' } },
  required: ['gauge', 'litres'],
};
const tools = [{ type: 'function', function: { name: 'read_gauge', parameters: schema } }];

const client = (options = {}) =>
  new OpenAI({ baseURL: env.BASE_URL, apiKey: keys.plain, maxRetries: 0, logLevel: 'off', ...options });

async function order(...orders) {
  const reply = await fetch(env.ORDERS_URL, { method: 'POST', body: JSON.stringify({ orders }) });
  assert.equal(reply.status, 200);
}

async function refusal(promise, kind, status) {
  const error = await promise.then(() => null, (caught) => caught);
  assert.ok(error instanceof kind, `expected ${kind.name}, got ${error}`);
  if (status !== undefined) {
    assert.equal(error.status, status);
    assert.match(error.requestID, /^req_/);
    assert.ok(error.error.message);
  }
  return error;
}

const ask = (options, changes = {}, extra = {}) =>
  client(options).chat.completions.create({ model, messages, ...changes }, extra);

async function said(stream) {
  let text = '';
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
  return text;
}

const checks = [];
const check = (name, steps) => checks.push([name, steps]);

check('a chat is answered', async () => {
  const reply = await ask();
  assert.ok(reply.choices[0].message.content);
  assert.equal(reply.choices[0].finish_reason, 'stop');
  assert.ok(reply.usage.completion_tokens > 0);
  assert.match(reply._request_id, /^req_/);
});

check('a stream says what the whole answer says', async () => {
  const whole = await ask();
  assert.equal(await said(await ask({}, { stream: true })), whole.choices[0].message.content);
});

check('usage comes in one last chunk when asked for, else not', async () => {
  const asked = [], unasked = [];
  for await (const chunk of await ask({}, { stream: true, stream_options: { include_usage: true } })) asked.push(chunk);
  for await (const chunk of await ask({}, { stream: true })) unasked.push(chunk);
  assert.equal(asked.filter((chunk) => chunk.usage).length, 1);
  assert.deepEqual(asked.at(-1).choices, []);
  assert.equal(unasked.filter((chunk) => chunk.usage).length, 0);
});

check('tools are called and their results answered', async () => {
  const first = await ask({}, { tools });
  const [call] = first.choices[0].message.tool_calls;
  assert.equal(first.choices[0].finish_reason, 'tool_calls');
  assert.equal(typeof JSON.parse(call.function.arguments).gauge, 'string');
  const result = { role: 'tool', tool_call_id: call.id, content: '{"litres":1200}' };
  const second = await ask({}, { tools, messages: [...messages, first.choices[0].message, result] });
  assert.ok(second.choices[0].message.content);
});

check('the SDK runs tools by itself, streamed', async () => {
  const runnable = {
    type: 'function',
    function: { name: 'read_gauge', parameters: schema, parse: JSON.parse, function: () => '{"litres":1200}' },
  };
  const runner = client().chat.completions.runTools({ model, messages, tools: [runnable], stream: true });
  assert.ok(await runner.finalContent());
});

check('parse returns a value that fits the schema', async () => {
  const format = makeParseableResponseFormat(
    { type: 'json_schema', json_schema: { name: 'reading', schema, strict: true } }, JSON.parse,
  );
  const reply = await client().chat.completions.parse({ model, messages, response_format: format });
  assert.equal(typeof reply.choices[0].message.parsed.litres, 'number');
});

check('a picture and several choices are served', async () => {
  const url = 'data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==';
  const content = [{ type: 'text', text: 'What is this?' }, { type: 'image_url', image_url: { url } }];
  const reply = await ask({}, { messages: [{ role: 'user', content }], n: 2 });
  assert.equal(reply.choices.length, 2);
});

check('models are listed', async () => {
  const names = [];
  for await (const each of client().models.list()) names.push(each.id);
  assert.ok(names.includes(model));
});

check('raw headers tell request, limits, cost and route', async () => {
  const { data, response } = await client({ apiKey: keys.limited })
    .chat.completions.create({ model, messages }).withResponse();
  const header = (name) => response.headers.get(name);
  assert.equal(header('x-request-id'), data._request_id);
  assert.equal(header('x-ratelimit-limit-requests'), '60');
  assert.equal(header('x-ratelimit-remaining-requests'), '59');
  assert.ok(Number(header('x-penstock-cost-nanos')) > 0);
  assert.equal(header('x-penstock-route'), 'sim/sim/model');
});

check('400 is a BadRequestError that names the field', async () => {
  const error = await refusal(ask({}, { temperature: 3 }), OpenAI.BadRequestError, 400);
  assert.equal(error.param, 'temperature');
});
check('401 is an AuthenticationError', () =>
  refusal(ask({ apiKey: 'pen-000000000000-A1b2C3d4A1b2C3d4A1b2C3d4A1b2C3d4' }), OpenAI.AuthenticationError, 401));
check('403 is a PermissionDeniedError', () =>
  refusal(ask({ apiKey: keys.narrow }), OpenAI.PermissionDeniedError, 403));
check('404 is a NotFoundError', () => refusal(ask({}, { model: 'gpt-99' }), OpenAI.NotFoundError, 404));

check('409 is a ConflictError, and the same body is replayed', async () => {
  const once = { headers: { 'Idempotency-Key': 'node-order-1' } };
  const first = await ask({}, {}, once);
  assert.deepEqual(await ask({}, {}, once), first);
  await refusal(ask({}, { temperature: 1 }, once), OpenAI.ConflictError, 409);
});

check('413 is told for a body over the bound', () =>
  refusal(ask({}, { messages: [{ role: 'user', content: 'x'.repeat(300_000) }] }), OpenAI.APIError, 413));

check('429 is a RateLimitError that says when to come back', async () => {
  const options = { apiKey: keys.slow };
  await ask(options);
  const error = await refusal(ask(options), OpenAI.RateLimitError, 429);
  assert.equal(error.code, 'rate_limit_exceeded');
  assert.ok(Number(error.headers.get('retry-after-ms')) > 0);
});

check('429 insufficient_quota is not retried', async () => {
  const error = await refusal(ask({ apiKey: keys.poor, maxRetries: 2 }), OpenAI.RateLimitError, 429);
  assert.equal(error.code, 'insufficient_quota');
  assert.equal(error.headers.get('x-should-retry'), 'false');
});

check('5xx is an InternalServerError', async () => {
  await order('server_error');
  await refusal(ask(), OpenAI.InternalServerError, 502);
});

check("the SDK's own retries succeed", async () => {
  await order('overloaded', 'rate_limit;seconds=0.1');
  assert.ok((await ask({ maxRetries: 2 })).choices[0].message.content);
});

check('what must not be repeated is not repeated', async () => {
  await order('quota', 'server_error');
  await refusal(ask({ maxRetries: 2 }), OpenAI.APIError);
  await refusal(ask(), OpenAI.InternalServerError, 502); // the second order is still there
});

check('a stream that fails raises in the middle', async () => {
  await order('error_mid_stream;after=3');
  await refusal(ask({}, { stream: true }).then(said), OpenAI.APIError);
});

check('a timeout of the SDK is told as such', () =>
  refusal(ask({ timeout: 300 }, { model: 'sim/slow_first_byte;seconds=30' }), OpenAI.APIConnectionTimeoutError));

check('a stream can be aborted and the client goes on', async () => {
  const stream = await ask({}, { stream: true });
  for await (const _chunk of stream) break;
  stream.controller.abort();
  assert.ok((await ask()).choices[0].message.content);
});

let failed = 0;
for (const [name, steps] of checks) {
  let error = '';
  try {
    await steps();
  } catch (caught) {
    failed += 1;
    error = String(caught?.stack ?? caught).slice(0, 600);
  }
  console.log(JSON.stringify({ name, ok: !error, error }));
}
process.exit(failed ? 1 : 0);
