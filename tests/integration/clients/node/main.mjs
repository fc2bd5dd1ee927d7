// Clients in JavaScript at a function URL: each makes its calls, and what it saw is printed as one JSON object.
//
// What to ask comes as a JSON object on standard input: see test_node.py, which puts this folder beside the packages
// that `make judges` has put aside.

import { text } from 'node:stream/consumers';

import { aiSdk } from './ai_sdk.mjs';
import { bedrock } from './bedrock.mjs';
import { transport } from './transport.mjs';
import { useChatOnAPage } from './use_chat.mjs';

const asked = JSON.parse(await text(process.stdin));
const seen = {
  ...(await aiSdk(asked)),
  transport: await transport(asked),
  useChat: await useChatOnAPage(asked),
  bedrock: await bedrock(asked),
};
process.stdout.write(JSON.stringify(seen), () => process.exit());
