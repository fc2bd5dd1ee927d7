// AWS's SDK, version 3. Beside the endpoint it is told to sign for Lambda, as a function URL asks, and to talk
// HTTP/1.1: to Bedrock it talks HTTP/2, which at the function at home is a "Protocol error".

import {
  BedrockRuntimeClient,
  ConverseCommand,
  ConverseStreamCommand,
  CountTokensCommand,
  InvokeModelCommand,
  InvokeModelWithResponseStreamCommand,
} from '@aws-sdk/client-bedrock-runtime';
import { NodeHttpHandler } from '@smithy/node-http-handler';

import { attempts, failure } from './told.mjs';

export async function bedrock(asked) {
  const client = new BedrockRuntimeClient({
    endpoint: asked.url,
    region: 'us-east-1',
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    requestHandler: new NodeHttpHandler(),
    signingName: 'lambda',
    maxAttempts: 1,
  });
  let authorization;
  const note = next => args => {
    authorization = args.request.headers.authorization;
    return next(args);
  };
  client.middlewareStack.add(note, { step: 'finalizeRequest', priority: 'low' });
  const modelId = asked.model;
  const converse = (text, ...more) => ({
    modelId,
    messages: [{ role: 'user', content: [{ text }, ...more] }],
  });
  const tools = {
    toolConfig: {
      tools: asked.tools.map(name => ({ toolSpec: { name, inputSchema: { json: SCHEMA } } })),
    },
  };
  const thinking = {
    additionalModelRequestFields: { thinking: { type: 'enabled', budget_tokens: 1024 } },
  };
  const bytes = Buffer.from(asked.image, 'base64');
  const image = name => [
    `What does ${name} show?`,
    { image: { format: 'png', source: { bytes } } },
  ];
  const pdf = { format: 'pdf', name: 'report', source: { bytes: Buffer.from(asked.pdf, 'base64') } };
  const document = name => [`What does the report say to ${name}?`, { document: pdf }];
  const jsonSchema = { schema: JSON.stringify(SCHEMA), name: 'place' };
  const inJson = name => ({
    ...converse(`Where is that, in JSON, ${name}?`),
    outputConfig: { textFormat: { type: 'json_schema', structure: { jsonSchema } } },
  });
  const short = { inferenceConfig: { maxTokens: 3 } };
  const stopped = { inferenceConfig: { stopSequences: ['sooner'] } };
  const invoke = text => ({
    modelId,
    contentType: 'application/json',
    body: JSON.stringify({
      anthropic_version: 'bedrock-2023-05-31',
      max_tokens: 5000,
      messages: [{ role: 'user', content: text }],
    }),
  });
  const stream = input => streamed(client, new ConverseStreamCommand(input));
  const whole = async input => {
    const { output, stopReason, usage } = await client.send(new ConverseCommand(input));
    return { blocks: output.message.content.map(readable), stopReason, usage };
  };
  const documents = input =>
    documentsOf(client, new InvokeModelWithResponseStreamCommand(input));
  const ownDocument = async input => {
    const { body } = await client.send(new InvokeModelCommand(input));
    return JSON.parse(new TextDecoder().decode(body));
  };
  const seen = await attempts({
    'ConverseStream text': () => stream(converse(asked.question)),
    'ConverseStream tools': () => stream({ ...converse(asked.toolsQuestion), ...tools }),
    'ConverseStream reasoning': () => secondTurn(stream, converse, asked, thinking),
    'ConverseStream redacted': () => stream(converse(asked.redacted)),
    'ConverseStream image': () => stream(converse(...image('ConverseStream'))),
    'ConverseStream cached': () => stream(converse(asked.cached)),
    'ConverseStream document': () => stream(converse(...document('ConverseStream'))),
    'ConverseStream schema': () => stream(inJson('ConverseStream')),
    'ConverseStream max_tokens': () => stream({ ...converse(asked.question), ...short }),
    'ConverseStream stop_sequence': () => stream({ ...converse(asked.question), ...stopped }),
    'ConverseStream future_reason': () => stream(converse(asked.unknownStop)),
    'ConverseStream alias': () => stream({ ...converse(asked.question), modelId: asked.alias }),
    'ConverseStream not allowed': () =>
      stream({ ...converse(asked.question), modelId: 'other.model-v1:0' }),
    'ConverseStream blank': () => stream(converse(' ')),
    'ConverseStream silent': () => stream(converse(asked.silent)),
    'ConverseStream broken': () => stream(converse(asked.broken)),
    'ConverseStream cut': () => stream(converse(asked.cut)),
    'ConverseStream throttled': () => stream(converse(asked.throttled)),
    'Converse text': () => whole(converse(asked.question)),
    'Converse tools': () => whole({ ...converse(asked.toolsQuestion), ...tools }),
    'Converse reasoning': () => whole({ ...converse(asked.question), ...thinking }),
    'Converse image': () => whole(converse(...image('Converse'))),
    'Converse cached': () => whole(converse(asked.cached)),
    'Converse results': () => withResults(whole, { ...converse(asked.toolsQuestion), ...tools }),
    'Converse document': () => whole(converse(...document('Converse'))),
    'Converse schema': () => whole(inJson('Converse')),
    'Converse max_tokens': () => whole({ ...converse(asked.question), ...short }),
    'Converse stop_sequence': () => whole({ ...converse(asked.question), ...stopped }),
    'Converse future_reason': () => whole(converse(asked.unknownStop)),
    'Converse alias': () => whole({ ...converse(asked.question), modelId: asked.alias }),
    'Converse not allowed': () =>
      whole({ ...converse(asked.question), modelId: 'other.model-v1:0' }),
    'Converse blank': () => whole(converse(' ')),
    'Converse throttled': () => whole(converse(asked.throttled)),
    'InvokeModelWithResponseStream text': () => documents(invoke(asked.question)),
    'InvokeModelWithResponseStream silent': () => documents(invoke(asked.silent)),
    'InvokeModelWithResponseStream broken': () => documents(invoke(asked.broken)),
    'InvokeModelWithResponseStream cut': () => documents(invoke(asked.cut)),
    'InvokeModelWithResponseStream throttled': () => documents(invoke(asked.throttled)),
    'InvokeModel text': () => ownDocument(invoke(asked.question)),
    'InvokeModel throttled': () => ownDocument(invoke(asked.throttled)),
    CountTokens: async () => {
      const { messages } = converse(asked.question);
      const { inputTokens } = await client.send(
        new CountTokensCommand({ modelId, input: { converse: { messages } } }),
      );
      return { inputTokens };
    },
  });
  client.destroy();
  return { ...seen, authorization };
}

// Lets the model reason, and hands what it said back to it with another question.
async function secondTurn(stream, converse, asked, thinking) {
  const question = `${asked.question} ConverseStream thinks.`;
  const first = await stream({ ...converse(question), ...thinking });
  const [reasoning, answer] = first.blocks;
  const { text, signature } = reasoning;
  const content = [{ reasoningContent: { reasoningText: { text, signature } } }, answer];
  const again = converse('And then, ConverseStream?');
  again.messages.unshift(...converse(question).messages, { role: 'assistant', content });
  await stream({ ...again, ...thinking });
  return first;
}

// Hands the results of the tools that were called in, behind the answer that calls them.
async function withResults(whole, asking) {
  const { blocks } = await whole(asking);
  const text = '18 °C, says Converse';
  const toolResult = ({ toolUseId }) => ({ toolResult: { toolUseId, content: [{ text }] } });
  const content = blocks.map(block => (block.toolUseId ? { toolUse: block } : block));
  const results = blocks.filter(block => block.toolUseId).map(toolResult);
  const messages = [
    ...asking.messages,
    { role: 'assistant', content },
    { role: 'user', content: results },
  ];
  return { called: blocks.filter(block => block.toolUseId), ...(await whole({ ...asking, messages })) };
}

async function streamed(client, command) {
  const saw = { blocks: [], pieces: 0 };
  try {
    const { stream } = await client.send(command);
    for await (const event of stream) {
      const [{ contentBlockIndex: index, start, delta }] = Object.values(event);
      if (start?.toolUse) {
        saw.blocks[index] = { ...start.toolUse, input: '' };
      } else if (delta) {
        add((saw.blocks[index] ??= {}), delta);
        saw.pieces += 'text' in delta;
      }
      saw.stopReason ??= event.messageStop?.stopReason;
      saw.usage ??= event.metadata?.usage;
    }
  } catch (error) {
    saw.failure = failure(error);
  }
  return saw;
}

function add(block, { text, toolUse, reasoningContent }) {
  for (const [name, piece] of Object.entries({ text, ...toolUse, ...reasoningContent })) {
    if (name === 'redactedContent') {
      block[name] = Buffer.from(piece).toString('base64');
    } else if (piece !== undefined) {
      block[name] = (block[name] ?? '') + piece;
    }
  }
}

async function documentsOf(client, command) {
  const saw = { documents: [] };
  try {
    const { body } = await client.send(command);
    for await (const { chunk } of body) {
      if (chunk) {
        saw.documents.push(JSON.parse(new TextDecoder().decode(chunk.bytes)));
      }
    }
  } catch (error) {
    saw.failure = failure(error);
  }
  return saw;
}

// Returns a block of a whole answer as a stream puts it together.
function readable({ text, toolUse, reasoningContent }) {
  return toolUse ?? reasoningContent?.reasoningText ?? { text };
}

const SCHEMA = { type: 'object', properties: { city: { type: 'string' } } };
