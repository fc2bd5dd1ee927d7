// useChat itself, on a page that React renders without a browser.

import { useChat } from '@ai-sdk/react';
import {
  DefaultChatTransport,
  jsonSchema,
  lastAssistantMessageIsCompleteWithToolCalls,
  tool,
} from 'ai';
import { createElement } from 'react';
import { act, create } from 'react-test-renderer';

import { attempts, failure } from './told.mjs';

globalThis.IS_REACT_ACT_ENVIRONMENT = true;
const complain = console.error;
console.error = (...said) => {
  if (!String(said[0]).includes('react-test-renderer is deprecated')) {
    complain(...said);
  }
};

export async function useChatOnAPage(asked) {
  const tools = Object.fromEntries(
    asked.tools.map(name => [
      name,
      tool({
        description: 'What it is like in a city.',
        inputSchema: jsonSchema({ type: 'object', properties: { city: { type: 'string' } } }),
      }),
    ]),
  );
  const image = {
    type: 'file',
    mediaType: 'image/png',
    filename: 'a.png',
    url: `data:image/png;base64,${asked.image}`,
  };
  const pdf = {
    type: 'file',
    mediaType: 'application/pdf',
    filename: 'report.pdf',
    url: `data:application/pdf;base64,${asked.pdf}`,
  };
  return attempts({
    text: () => converse(asked, { system: 'Be brief, useChat.' }, [{ text: asked.question }]),
    image: () => converse(asked, {}, [{ text: 'What does useChat show?', files: [image] }]),
    tools: () => converse(asked, { tools }, [{ text: `${asked.toolsQuestion} useChat.` }]),
    reasoning: () =>
      converse(asked, { tools, reasoning: 'low' }, [
        { text: `${asked.toolsQuestion} useChat thinks.` },
        { text: 'And then, useChat?' },
      ]),
    'cut short': () =>
      converse(
        asked,
        { tools, maxOutputTokens: 20 },
        [{ text: asked.toolsQuestion }, { text: 'Whole this time, useChat!' }],
        { sendAutomaticallyWhen: undefined },
      ),
    'not begun': () =>
      converse(asked, { tools, maxOutputTokens: asked.beforeInput }, [{ text: asked.toolsQuestion }], {
        sendAutomaticallyWhen: undefined,
      }),
    document: () =>
      converse(asked, {}, [{ text: 'What does the report say to useChat?', files: [pdf] }]),
    short: () => converse(asked, { maxOutputTokens: 3 }, [{ text: asked.question }]),
    alias: () => converse(asked, { model: asked.alias }, [{ text: asked.question }]),
    'not allowed': () => converse(asked, { model: 'other-model' }, [{ text: asked.question }]),
    broken: () => converse(asked, {}, [{ text: asked.broken }, { text: 'Again, useChat!' }]),
    throttled: () => converse(asked, {}, [{ text: asked.throttled }]),
    refused: () => converse(asked, { temperature: 1.5 }, [{ text: asked.question }]),
    unknown: () => converse(asked, {}, [{ text: asked.unknown }]),
    again: () => converse(asked, {}, [{ text: asked.question }, null]),
  });
}

// Opens a page and says one thing after another; null stands for the button that asks for another answer.
async function converse(asked, body, said, options = {}) {
  const saw = { statuses: [], finished: [], called: [], data: [] };
  let chat;
  function Page() {
    chat = useChat({
      transport: new DefaultChatTransport({ api: `${asked.url}/ui/chat`, body }),
      sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls,
      onToolCall({ toolCall }) {
        saw.called.push(toolCall);
        const { toolCallId, toolName } = toolCall;
        void chat.addToolOutput({ tool: toolName, toolCallId, output: asked.toolResult });
      },
      onFinish({ finishReason, isError }) {
        saw.finished.push({ finishReason, isError });
      },
      onData(part) {
        saw.data.push(part);
      },
      onError(error) {
        saw.failure = failure(error);
      },
      ...options,
    });
    if (saw.statuses.at(-1) !== chat.status) {
      saw.statuses.push(chat.status);
    }
    return null;
  }
  let page;
  await act(async () => {
    page = create(createElement(Page));
  });
  for (const message of said) {
    await act(() => (message ? chat.sendMessage(message) : chat.regenerate()));
    await act(() => idle(() => chat.status));
  }
  saw.messages = chat.messages;
  saw.status = chat.status;
  await act(async () => page.unmount());
  return saw;
}

// Waits until nothing is on its way any more, an answer that is asked for automatically included.
async function idle(status) {
  for (let quiet = 0; quiet < 3; ) {
    await new Promise(resolve => setTimeout(resolve, 20));
    quiet = ['submitted', 'streaming'].includes(status()) ? 0 : quiet + 1;
  }
}
