// Synthesizes stacks from the packaged template, without AWS. tools/dev/release_check.py deploys the example app.

import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { App, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { Keygate, KeygateParameters } from 'keygate-cdk';
import { PARAMETERS } from '../src/parameters';
import { Template as PackagedTemplate, parameterValues } from '../src/template';

// `make cdk` writes it: a package with empty functions.
const PACKAGE = process.env.KEYGATE_PACKAGE || resolve(__dirname, '../../../../../target/infra/package');
const packaged = JSON.parse(readFileSync(join(PACKAGE, 'template.json'), 'utf8')) as PackagedTemplate;
const manifest = JSON.parse(readFileSync(join(PACKAGE, 'manifest.json'), 'utf8')) as { functions: object };

// SAM's resources refer to each other in ways that are no cycle after their transform.
const OPTIONS = { skipCyclicalDependenciesCheck: true };

type Synthesized = Record<string, Record<string, any>>;

function synthesize(parameters: KeygateParameters = {}): Synthesized {
  const stack = new Stack(new App(), 'Keygate', { stackName: 'keygate' });
  new Keygate(stack, 'Keygate', { packageFolder: PACKAGE, ...parameters });
  return Template.fromStack(stack, OPTIONS).toJSON();
}

/** Every name that a value refers to by Ref, GetAtt or Sub. */
function* references(value: unknown): Generator<string> {
  if (Array.isArray(value)) {
    for (const element of value) yield* references(element);
  } else if (typeof value === 'object' && value) {
    for (const [name, member] of Object.entries(value)) {
      if (name === 'Ref') yield member;
      else if (name === 'Fn::GetAtt') yield Array.isArray(member) ? member[0] : member.split('.')[0];
      else if (name === 'Fn::Sub') {
        const [text, variables] = Array.isArray(member) ? member : [member, {}];
        for (const [, found] of text.matchAll(/\$\{([^!}][^}]*)\}/g)) if (!(found in variables)) yield found;
        yield* references(variables);
      } else yield* references(member);
    }
  }
}

// With everything that is off by default.
const ALL: KeygateParameters = {
  alarmTopicArn: 'arn:aws:sns:eu-central-1:123456789012:alarms',
  apiAccessLogGroup: '/aws/apigateway/orders',
  authorizerCaches: ['restapis/a/stages/b'],
  callActivity: 'off',
  corsAllowOrigins: 'https://app.example.com',
  certificateArn: 'arn:aws:acm:eu-central-1:123456789012:certificate/a',
  disableUnusedDays: 90,
  domainName: 'keys.example.com',
  gitHubReports: true,
  gradualDeployment: true,
  jwtAudiences: 'https://orders.example.com',
  jwtKeys: 'a,b',
  legacyPattern: 'old-[0-9]{9}',
  legacySunset: '2030-06-30T00:00:00Z',
  manageApiGatewayAccount: true,
  oidcAudience: 'a',
  oidcIssuer: 'https://id.example.com',
  oidcWorkspace: 'acme',
  pepperReplicaRegions: ['eu-west-1'],
  securityGroupIds: 'sg-1',
  subnetIds: 'subnet-1',
  tableKmsKeyArn: 'arn:aws:kms:eu-central-1:123456789012:key/a',
  userRemovalBus: 'users',
  userRemovalPattern: '{"source": ["users"]}',
  webAclArn: 'arn:aws:wafv2:eu-central-1:123456789012:regional/webacl/a/b',
  xRayTracing: true,
};

test('the stack has the resources and outputs of the template whose conditions are true', () => {
  for (const [parameters, unconditional] of [
    [{}, true],
    [ALL, false],
  ] as const) {
    const stack = synthesize(parameters);
    for (const section of ['Resources', 'Outputs'] as const) {
      const names = Object.keys(packaged[section]).filter((name) => {
        const { Condition } = packaged[section][name]!;
        // What is on by default.
        return !unconditional || Condition === undefined || ['HasDashboard', 'ServesConsole'].includes(String(Condition));
      });
      const missing = names.filter((name) => !(name in stack[section]!));
      const surplus = Object.keys(stack[section]!).filter((name) => !names.includes(name));
      assert.deepEqual({ missing, surplus }, { missing: [], surplus: [] });
    }
    assert.equal(stack.Conditions, undefined);
    for (const [id, resource] of Object.entries(stack.Resources!)) {
      const { Properties: _now, DependsOn: _before, Metadata: _one, ...now } = resource;
      const { Properties: _then, DependsOn: _after, Metadata: _two, Condition: _if, ...then } = packaged.Resources[id]!;
      assert.deepEqual(now, then, id);
    }
    assert.equal(stack.Transform, 'AWS::Serverless-2016-10-31');
  }
});

test('no parameter of the template is left, and every reference leads to something', () => {
  for (const parameters of [{}, ALL]) {
    const stack = synthesize(parameters);
    assert.deepEqual(Object.keys(stack.Parameters ?? {}), ['BootstrapVersion']);
    for (const name of references(stack)) {
      const target = name.split('.')[0]!;
      assert.ok(target.startsWith('AWS::') || target in stack.Resources! || target === 'BootstrapVersion', name);
    }
  }
});

test('each function is an asset', () => {
  const stack = synthesize(ALL);
  for (const id of Object.keys(manifest.functions)) {
    const { CodeUri } = stack.Resources![id].Properties;
    assert.match(CodeUri.Key, /^[0-9a-f]{64}\.zip$/);
    assert.match(CodeUri.Bucket['Fn::Sub'], /^cdk-/);
  }
  assert.ok(Object.keys(manifest.functions).length > 30);
});

test('parameters reach the functions, conditions and texts', () => {
  const stack = synthesize({
    brand: 'acme',
    deletionProtection: false,
    keysPerUser: 7,
    pepperVersions: ['1', '2'],
    stageName: 'keys',
  });
  const text = JSON.stringify(stack);
  assert.match(text, /"BRAND":"acme"/);
  assert.match(text, /"KEYS_PER_USER":"7"/);
  assert.equal(stack.Resources!.AuthorizeLogGroup.Properties.RetentionInDays, 90);
  assert.equal(stack.Resources!.KeysTable.Properties.DeletionProtectionEnabled, false);
  assert.match(text, /"PEPPER_VERSIONS":\{"Fn::Join":\[",",\["1","2"\]\]\}/);
  // Not a plain text: SAM would make another logical id of it.
  assert.deepEqual(stack.Resources!.ManagementApi.Properties.StageName, { 'Fn::Sub': 'keys' });
});

test('a value that is known at the deployment alone meets conditions, and stays a reference elsewhere', () => {
  const stack = new Stack(new App(), 'Keygate');
  const topic = new Topic(stack, 'Alarms');
  new Keygate(stack, 'Keygate', { packageFolder: PACKAGE, alarmTopicArn: topic.topicArn, gradualDeployment: true });
  const synthesized = Template.fromStack(stack, OPTIONS).toJSON() as Synthesized;
  const [action] = synthesized.Resources!.AuthorizerErrorsAlarm.Properties.AlarmActions;
  assert.ok(action.Ref in synthesized.Resources!);
});

test('a value that the template does not allow is refused', () => {
  for (const [parameters, message] of [
    [{ brand: 'Acme' }, /^Error: Brand must be a text that matches/],
    [{ keysPerUser: 0 }, /^Error: KeysPerUser must be at least 1, not `0`/],
    [{ keysPerUser: 1001 }, /at most 1000/],
    [{ leakPolicy: 'ignore' as 'delete' }, /LeakPolicy must be one of disable, delete/],
    [{ pepperVersions: ['1', 'b'] }, /PepperVersions must be a text/],
    [{ scopeDescriptions: `{${' '.repeat(2048)}}` }, /at most 2048 characters/],
    [{ unknown: 1 } as KeygateParameters, /Keygate has no parameter unknown/],
  ] as const) {
    assert.throws(() => synthesize(parameters), message);
  }
});

test('the rules of the template are checked', () => {
  for (const [parameters, message] of [
    [{ legacySunset: '2030-06-30T00:00:00Z' }, /LegacyPattern must be set/],
    [{ gradualDeployment: true }, /AlarmTopicArn/],
    [{ pepperVersions: ['1'], currentPepperVersion: 2 }, /CurrentPepperVersion must be one of PepperVersions/],
    [{ oidcIssuer: 'https://id.example.com', oidcAudience: 'a' }, /OidcWorkspace or OidcWorkspaceClaim must be set/],
  ] as const) {
    assert.throws(() => synthesize(parameters), message);
  }
  synthesize({ pepperVersions: ['1', '2'], currentPepperVersion: 2 });
});

test('every default is a value that is allowed', () => {
  const values = parameterValues(packaged, {});
  for (const [property, { name, list }] of Object.entries(PARAMETERS)) {
    const value = values[name]!;
    assert.equal(Array.isArray(value), list ?? false, name);
    const again = typeof value === 'string' && /^(true|false)$/.test(value) ? value === 'true' : value;
    parameterValues(packaged, { [property]: again });
  }
});

test('the revision of the configuration changes with the configuration, and with nothing else', () => {
  const revision = (parameters: KeygateParameters): string =>
    synthesize(parameters).Resources!.AuthorizeFunction.Properties.Environment.Variables.CONFIGURATION_REVISION;
  assert.match(revision({}), /^[0-9a-f]{32}$/);
  assert.equal(revision({}), revision({}));
  assert.notEqual(revision({}), revision({ cacheSeconds: 5 }));
});

test('a package of another version is refused', () => {
  const folder = mkdtempSync(join(tmpdir(), 'keygate-cdk-'));
  try {
    cpSync(PACKAGE, folder, { recursive: true });
    writeFileSync(join(folder, 'manifest.json'), JSON.stringify({ ...manifest, version: '0.0.9' }));
    const stack = new Stack(new App(), 'Keygate');
    assert.throws(() => new Keygate(stack, 'Keygate', { packageFolder: folder }), /version 0\.0\.9/);
  } finally {
    rmSync(folder, { recursive: true });
  }
  const stack = new Stack(new App(), 'Keygate');
  assert.throws(() => new Keygate(stack, 'Keygate', { packageFolder: '/nowhere' }), /does not exist/);
});
