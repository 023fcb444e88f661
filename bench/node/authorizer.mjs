// The authorizer that a team would write with the AWS SDK for JavaScript: the same key, the same table, the same pepper.
// It checks the same things as Keygate's, but writes nothing after its response and knows one kind of event.
import { createHmac, timingSafeEqual } from 'node:crypto';
import http from 'node:http';
import { crc32 } from 'node:zlib';
import { DynamoDBClient, GetItemCommand } from '@aws-sdk/client-dynamodb';
import { GenerateMacCommand, KMSClient } from '@aws-sdk/client-kms';

const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

const dynamodb = new DynamoDBClient({});
const kmsKey = process.env.PEPPER_KEY;
const version = process.env.CURRENT_PEPPER_VERSION;
const label = `keygate-pepper-${version}`;
const pepper = new KMSClient({})
  .send(new GenerateMacCommand({ KeyId: kmsKey, MacAlgorithm: 'HMAC_SHA_256', Message: Buffer.from(label) }))
  .then((answer) => answer.Mac);

function number(digits, alphabet, bytes) {
  let value = 0n;
  for (const digit of digits) value = value * BigInt(alphabet.length) + BigInt(alphabet.indexOf(digit));
  return Buffer.from(value.toString(16).padStart(2 * bytes, '0'), 'hex');
}

function parse(token) {
  const match = /^kg_key_([0-9A-Z]{26})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})$/.exec(token);
  if (!match) return null;
  let [, id, secret, checksum] = match;
  const crc = Buffer.alloc(4);
  crc.writeUInt32BE(crc32(Buffer.from(token.slice(0, -6))));
  if (!number(checksum, BASE62, 5).subarray(1).equals(crc)) return null;
  return { id, idBytes: number(id, CROCKFORD, 16), secret: number(secret, BASE62, 32) };
}

async function hash({ idBytes, secret }) {
  const mac = createHmac('sha256', await pepper);
  for (const field of [Buffer.from('keygate/credential/v1'), Buffer.from('key'), idBytes, secret]) {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(field.length);
    mac.update(length).update(field);
  }
  return mac.digest();
}

async function handler(event) {
  const credential = parse(/^bearer +(.*)$/i.exec(event.authorizationToken ?? '')?.[1] ?? '');
  if (!credential) throw new Error('Unauthorized');
  const { Item: item } = await dynamodb.send(
    new GetItemCommand({ TableName: process.env.KEYS_TABLE, Key: { key_id: { S: credential.id } }, ConsistentRead: true }),
  );
  const computed = await hash(credential);
  const expired = item?.expires_at && Number(item.expires_at.N) <= Date.now() / 1000;
  if (!item || item.pepper_version.N !== version || !timingSafeEqual(computed, item.hash.B) || expired || item.disabled_at) {
    throw new Error('Unauthorized');
  }
  return {
    principalId: item.user_id.S,
    policyDocument: {
      Version: '2012-10-17',
      Statement: [
        { Action: 'execute-api:Invoke', Effect: 'Allow', Resource: `${event.methodArn.split('/').slice(0, 2).join('/')}/*` },
      ],
    },
    context: {
      userId: item.user_id.S,
      workspaceId: item.workspace_id.S,
      keyId: credential.id,
      keyName: item.name.S,
      scopes: item.scopes.L.map((scope) => scope.S).join(' '),
      credential: 'api_key',
    },
  };
}

// Lambda's own runtime interface client needs a C++ library to be built where it is installed. This loop does the part
// of it that an invocation needs, and less than it.
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const [hostname, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(':');

function call(method, path, body) {
  return new Promise((resolve, reject) => {
    const request = http.request({ agent, hostname, port, method, path: `/2018-06-01/runtime/${path}` }, (answer) => {
      const chunks = [];
      answer.on('data', (chunk) => chunks.push(chunk));
      answer.on('end', () => resolve({ headers: answer.headers, body: Buffer.concat(chunks).toString() }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

async function run() {
  for (;;) {
    const event = await call('GET', 'invocation/next');
    const id = event.headers['lambda-runtime-aws-request-id'];
    try {
      await call('POST', `invocation/${id}/response`, JSON.stringify(await handler(JSON.parse(event.body))));
    } catch (error) {
      await call('POST', `invocation/${id}/error`, JSON.stringify({ errorMessage: error.message, errorType: error.name }));
    }
  }
}

run();
