// What useChat stands on: its transport, which checks every chunk by a schema, and its reader, which makes messages.

import { DefaultChatTransport, readUIMessageStream } from 'ai';

import { attempts, failure } from './told.mjs';

export async function transport(asked) {
  return attempts({
    stream: () => read(asked, asked.question),
    cached: () => read(asked, asked.cached),
    redacted: () => read(asked, asked.redacted),
    silent: () => read(asked, asked.silent),
    broken: () => read(asked, asked.broken),
    cut: () => read(asked, asked.cut),
    throttled: () => read(asked, asked.throttled),
    drawn: () => drawn(asked.drawn),
  });
}

async function read(asked, text) {
  const chat = new DefaultChatTransport({ api: `${asked.url}/ui/chat` });
  const message = { id: 'm1', role: 'user', parts: [{ type: 'text', text }] };
  const asking = { chatId: 'c', messages: [message], trigger: 'submit-message' };
  return messageOf(await chat.sendMessages(asking));
}

async function messageOf(stream) {
  const saw = { types: [], pieces: [], times: [], failures: [] };
  const noted = stream.pipeThrough(
    new TransformStream({
      transform(chunk, controller) {
        saw.types.push(chunk.type);
        if (chunk.type === 'text-delta') {
          saw.pieces.push(chunk.delta);
          saw.times.push(performance.now());
        } else if (chunk.type === 'finish') {
          saw.finishReason = chunk.finishReason;
        }
        controller.enqueue(chunk);
      },
    }),
  );
  const onError = error => saw.failures.push(failure(error));
  for await (const message of readUIMessageStream({ stream: noted, onError })) {
    saw.message = message;
  }
  return saw;
}

// Answers that were drawn at random: the SDK's schema and reader must have nothing against any of them.
async function drawn(bodies) {
  const seen = [];
  for (const body of bodies) {
    const chat = new DefaultChatTransport({ fetch: async () => new Response(body) });
    const stream = await chat.sendMessages({ messages: [] });
    const { message, failures } = await messageOf(stream);
    seen.push({ message, failures });
  }
  return seen;
}
