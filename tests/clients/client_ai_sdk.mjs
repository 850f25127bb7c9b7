// The Vercel AI SDK with its three ways to a server like this one: `openai('m')` (/v1/responses), `openai.chat('m')`,
// and the provider for whatever is OpenAI-compatible.

import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { Output, generateText, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';
import { API_KEY, BASE_URL, CHILD_SAYS, CHILD_URL, MODEL, QUESTION, TOO_LONG, WEATHER, tell, user } from './told.mjs';

const Forecast = z.object({ city: z.string(), sky: z.string() });
const tools = {
  get_weather: tool({
    description: 'The weather in a city.',
    inputSchema: z.object({ city: z.string() }),
    execute: async () => WEATHER,
  }),
};

const ways = {
  responses: (url, key) => createOpenAI({ baseURL: url, apiKey: key }),
  chat: (url, key) => createOpenAI({ baseURL: url, apiKey: key }).chat,
  compatible: (url, key) =>
    createOpenAICompatible({ name: 'kindrail', baseURL: url, apiKey: key, includeUsage: true, supportsStructuredOutputs: true }),
};

const facts = async (answer) => ({
  text: await answer.text,
  finish: await answer.finishReason,
  tokens: (await answer.usage).totalTokens,
});

const called = (step) => {
  const [call] = step.toolCalls;
  return { name: call.toolName, arguments: call.input, finish: step.finishReason };
};

const scenarios = (way) => {
  const of = (url = BASE_URL, key = API_KEY, name = MODEL) => ({ model: way(url, key)(name), maxRetries: 0 });
  const ask = (model, prompt = QUESTION, more = {}) => generateText({ ...model, prompt, ...more });
  // By default the SDK only logs what goes wrong on a stream.
  const streamed = async (more = {}) => {
    let broke;
    const answer = streamText({ ...of(), prompt: QUESTION, ...more, onError: ({ error }) => (broke = error) });
    await answer.consumeStream();
    if (broke) throw broke;
    return answer;
  };
  // Three turns, each with all that was said before, as the SDK itself keeps it.
  const talk = async (more = {}) => {
    const messages = [];
    const texts = [];
    for (const line of CHILD_SAYS) {
      messages.push(user(line));
      const answer = await generateText({ ...of(CHILD_URL), messages, ...more });
      messages.push(...answer.response.messages);
      texts.push(answer.text);
    }
    return { texts };
  };
  return {
    whole: async () => facts(await ask(of())),
    stream: async () => facts(await streamed()),
    tools: async () => {
      const answer = await ask(of(), QUESTION, { tools, stopWhen: stepCountIs(2) });
      return { ...called(answer.steps[0]), answer: answer.text };
    },
    tools_stream: async () => called((await (await streamed({ tools })).steps)[0]),
    structured: async () => ({ value: (await ask(of(), QUESTION, { output: Output.object({ schema: Forecast }) })).output }),
    structured_stream: async () => ({ value: await (await streamed({ output: Output.object({ schema: Forecast }) })).output }),
    unknown_model: async () => facts(await ask(of(BASE_URL, API_KEY, 'nobody'))),
    too_long: async () => facts(await ask(of(), TOO_LONG)),
    bad_key: async () => facts(await ask(of(BASE_URL, 'wrong'))),
    talk,
  };
};

// Three turns of which each brings only what is new and names the answer before it.
const talkByReference = async () => {
  const texts = [];
  let previousResponseId;
  for (const line of CHILD_SAYS) {
    const answer = await generateText({
      model: ways.responses(CHILD_URL, API_KEY)(MODEL),
      maxRetries: 0,
      prompt: line,
      providerOptions: { openai: { previousResponseId } },
    });
    previousResponseId = answer.providerMetadata.openai.responseId;
    texts.push(answer.text);
  }
  return { texts };
};

// The same three turns, streamed; how often each refers to an earlier item by its id.
const talkStreamed = async () => {
  const references = [];
  const spy = (url, options) => {
    references.push(JSON.parse(options.body).input.filter((item) => item.type === 'item_reference').length);
    return fetch(url, options);
  };
  const model = createOpenAI({ baseURL: CHILD_URL, apiKey: API_KEY, fetch: spy })(MODEL);
  const messages = [];
  const texts = [];
  for (const line of CHILD_SAYS) {
    messages.push(user(line));
    const answer = streamText({ model, maxRetries: 0, messages });
    texts.push(await answer.text);
    messages.push(...(await answer.response).messages);
  }
  return { texts, references };
};

await tell('ai-sdk responses', {
  ...scenarios(ways.responses),
  talk_by_reference: talkByReference,
  talk_streamed: talkStreamed,
});
await tell('ai-sdk chat', scenarios(ways.chat));
await tell('ai-sdk compatible', scenarios(ways.compatible));
