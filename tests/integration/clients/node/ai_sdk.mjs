// The AI SDK's own providers for OpenAI's and Anthropic's APIs, each with another base URL and nothing else.

import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { generateText, isStepCount, jsonSchema, Output, streamText, tool } from 'ai';

import { attempts, failure } from './told.mjs';

globalThis.AI_SDK_LOG_WARNINGS = false;

export async function aiSdk(asked) {
  const options = { baseURL: `${asked.url}/v1`, apiKey: 'test' };
  const openai = createOpenAI(options);
  const anthropic = createAnthropic(options);
  return {
    'openai.chat': await everything(openai.chat, 'openai.chat', asked),
    'openai.responses': await everything(openai.responses, 'openai.responses', asked, {
      openai: {
        forceReasoning: true,
        include: ['reasoning.encrypted_content'],
        reasoningEffort: 'low',
        store: false,
      },
    }),
    anthropic: await everything(anthropic, 'anthropic', asked, {
      anthropic: { thinking: { type: 'enabled', budgetTokens: 1024 } },
    }),
  };
}

async function everything(modelOf, name, asked, providerOptions) {
  const plain = { model: modelOf(asked.model), maxOutputTokens: 5000 };
  const tools = Object.fromEntries(asked.tools.map(name => [name, weather(asked)]));
  const file = { type: 'file', mediaType: 'image/png', data: asked.image };
  const image = [{ type: 'text', text: `What does ${name} show?` }, file];
  const pdf = { type: 'file', mediaType: 'application/pdf', data: asked.pdf, filename: 'a.pdf' };
  const document = [{ type: 'text', text: `What does the report say to ${name}?` }, pdf];
  const output = Output.object({ name: 'place', schema: jsonSchema(PLACE) });
  const inSteps = { ...plain, tools, stopWhen: isStepCount(2) };
  const thinking = { ...inSteps, providerOptions };
  // Answers are not kept here: OpenAI's Responses are to go back whole, instead of references to them.
  const unkept = { ...inSteps, providerOptions: { openai: { store: false } } };
  return attempts({
    stream: () => streamed({ ...plain, prompt: asked.question }),
    whole: () => generated({ ...plain, prompt: asked.question }),
    'cached stream': () => streamed({ ...plain, prompt: asked.cached }),
    'cached whole': () => generated({ ...plain, prompt: asked.cached }),
    'tools stream': () => streamed({ ...unkept, prompt: `${asked.toolsQuestion} ${name}, stream.` }),
    'tools whole': () => generated({ ...unkept, prompt: `${asked.toolsQuestion} ${name}, whole.` }),
    thinking: () => streamed({ ...thinking, prompt: `${asked.toolsQuestion} ${name} thinks.` }),
    image: () => streamed({ ...plain, messages: [{ role: 'user', content: image }] }),
    document: () => streamed({ ...plain, messages: [{ role: 'user', content: document }] }),
    schema: () => streamed({ ...plain, output, prompt: `Where is that, in JSON, ${name}?` }),
    short: () => streamed({ ...plain, maxOutputTokens: 3, prompt: asked.question }),
    alias: () => generated({ ...plain, model: modelOf(asked.alias), prompt: asked.question }),
    'not allowed': () =>
      generated({ ...plain, model: modelOf('other-model'), prompt: asked.question }),
    refused: () =>
      generated({ ...plain, model: modelOf(asked.nova), topP: 1.5, prompt: asked.question }),
    blank: () => generated({ ...plain, prompt: ' ' }),
    kept: () => streamed({ ...inSteps, prompt: `${asked.toolsQuestion} ${name} keeps.` }),
    unforced: () =>
      streamed({
        ...inSteps,
        prompt: `${asked.toolsQuestion} ${name} is not forced. [fault: reasoning]`,
        providerOptions: { openai: { reasoningEffort: 'low', store: false } },
      }),
    silent: () => streamed({ ...plain, prompt: asked.silent }),
    broken: () => streamed({ ...plain, prompt: asked.broken }),
    cut: () => streamed({ ...plain, prompt: asked.cut }),
    'throttled stream': () => streamed({ ...plain, prompt: asked.throttled }),
    'throttled whole': () => generated({ ...plain, prompt: asked.throttled }),
  });
}

const PLACE = {
  type: 'object',
  properties: { city: { type: 'string' } },
  required: ['city'],
  additionalProperties: false,
};

function weather(asked) {
  return tool({
    inputSchema: jsonSchema({ type: 'object', properties: { city: { type: 'string' } } }),
    execute: () => asked.toolResult,
  });
}

async function streamed(options) {
  const saw = { pieces: [], times: [], failures: [], steps: [] };
  const result = streamText({ maxRetries: 0, onError() {}, ...options });
  try {
    for await (const part of result.stream) {
      if (part.type === 'text-delta') {
        saw.pieces.push(part.text);
        saw.times.push(performance.now());
      } else if (part.type === 'error') {
        saw.failures.push(failure(part.error));
      } else if (part.type === 'finish') {
        saw.finishReason = part.finishReason;
        saw.usage = part.totalUsage;
      }
    }
  } catch (error) {
    saw.failures.push(failure(error)); // after an error in the stream, that the connection was broken off, too
  }
  if (saw.failures.length === 0) {
    saw.steps = (await result.steps).map(told);
  }
  return saw;
}

async function generated(options) {
  const { finishReason, totalUsage, usage, steps } = await generateText({
    maxRetries: 0,
    ...options,
  });
  return { finishReason, usage: totalUsage ?? usage, steps: steps.map(told) };
}

function told(step) {
  return {
    text: step.text,
    finishReason: step.finishReason,
    calls: step.toolCalls.map(({ toolCallId, toolName, input }) => [toolCallId, toolName, input]),
    reasoning: step.content
      .filter(part => part.type === 'reasoning')
      .map(({ text, providerMetadata }) => ({ text, providerMetadata })),
  };
}
