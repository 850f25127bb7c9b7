// The openai package for Node: chat, /v1/responses and models.

import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { API_KEY, BASE_URL, CHILD_SAYS, CHILD_URL, MODEL, QUESTION, TOO_LONG, WEATHER, tell, user } from './told.mjs';

const clientOf = (baseURL, apiKey) => new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const client = clientOf(BASE_URL, API_KEY);
const stranger = clientOf(BASE_URL, 'wrong');
const child = clientOf(CHILD_URL, API_KEY);

const messages = [user(QUESTION)];
const Forecast = z.object({ city: z.string(), sky: z.string() });
const getWeather = {
  name: 'get_weather',
  description: 'The weather in a city.',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
};
const tools = [{ type: 'function', function: getWeather }];

const facts = ({ choices: [choice], usage }) => ({
  text: choice.message.content,
  finish: choice.finish_reason,
  tokens: usage.total_tokens,
});

const stream = async () => {
  let [text, finish, tokens] = ['', null, null];
  const asked = { model: MODEL, messages, stream: true, stream_options: { include_usage: true } };
  for await (const chunk of await client.chat.completions.create(asked)) {
    for (const choice of chunk.choices) {
      text += choice.delta.content ?? '';
      finish = choice.finish_reason ?? finish;
    }
    tokens = chunk.usage?.total_tokens ?? tokens;
  }
  return { text, finish, tokens };
};

// The client calls the tool itself and asks again with what it returned.
const roundTrip = async () => {
  const called = {};
  const runner = client.chat.completions.runTools({
    model: MODEL,
    messages,
    tools: [
      {
        type: 'function',
        function: {
          ...getWeather,
          parse: JSON.parse,
          function: (given) => {
            Object.assign(called, { name: 'get_weather', arguments: given });
            return WEATHER;
          },
        },
      },
    ],
  });
  const answer = await runner.finalContent();
  return { ...called, finish: runner.allChatCompletions()[0].choices[0].finish_reason, answer };
};

const toolsStream = async () => {
  const { choices: [choice] } = await client.chat.completions.stream({ model: MODEL, messages, tools }).finalChatCompletion();
  const call = choice.message.tool_calls[0].function;
  return { name: call.name, arguments: JSON.parse(call.arguments), finish: choice.finish_reason };
};

const structured = async () => {
  const asked = { model: MODEL, messages, response_format: zodResponseFormat(Forecast, 'Forecast') };
  return { value: (await client.chat.completions.parse(asked)).choices[0].message.parsed };
};

const talk = async () => {
  const said = [];
  const texts = [];
  for (const line of CHILD_SAYS) {
    said.push(user(line));
    const { choices: [choice] } = await child.chat.completions.create({ model: MODEL, messages: said });
    texts.push(choice.message.content);
    said.push({ role: 'assistant', content: choice.message.content });
  }
  return { texts };
};

await tell('openai-node', {
  whole: async () => facts(await client.chat.completions.create({ model: MODEL, messages })),
  stream,
  tools: roundTrip,
  tools_stream: toolsStream,
  structured,
  unknown_model: async () => facts(await client.chat.completions.create({ model: 'nobody', messages })),
  too_long: async () => facts(await client.chat.completions.create({ model: MODEL, messages: [user(TOO_LONG)] })),
  bad_key: async () => facts(await stranger.chat.completions.create({ model: MODEL, messages })),
  talk,
});

// -- /v1/responses ----------------------------------------------------------------------------------------------------

const responseFacts = (response) => ({
  text: response.output_text,
  finish: response.status,
  tokens: response.usage.total_tokens,
});

const responseStream = async () => {
  const events = client.responses.stream({ model: MODEL, input: QUESTION });
  let text = '';
  for await (const event of events) if (event.type === 'response.output_text.delta') text += event.delta;
  return { ...responseFacts(await events.finalResponse()), text };
};

await tell('openai-node responses', {
  whole: async () => responseFacts(await client.responses.create({ model: MODEL, input: QUESTION })),
  stream: responseStream,
  unknown_model: async () => responseFacts(await client.responses.create({ model: 'nobody', input: QUESTION })),
  too_long: async () => responseFacts(await client.responses.create({ model: MODEL, input: TOO_LONG })),
  bad_key: async () => responseFacts(await stranger.responses.create({ model: MODEL, input: QUESTION })),
});

await tell('openai-node models', {
  list: async () => ({ ids: (await client.models.list()).data.map((model) => model.id) }),
  one: async () => ({ id: (await client.models.retrieve(MODEL)).id }),
  unknown_model: async () => ({ id: (await client.models.retrieve('nobody')).id }),
});
