// The authorizer before each kind of API, as CloudFormation gets it.

import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { App, Duration, Stack } from 'aws-cdk-lib';
import { MockIntegration, RestApi } from 'aws-cdk-lib/aws-apigateway';
import { HttpApi, HttpMethod, WebSocketApi } from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpUrlIntegration, WebSocketMockIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { AuthorizerOptions, AuthorizerSettings, Keygate, KeygateAuthorizer } from 'keygate-cdk';

const PACKAGE = process.env.KEYGATE_PACKAGE || resolve(__dirname, '../../../../../target/infra/package');
const ARN = 'arn:aws:lambda:eu-central-1:123456789012:function:keygate-AuthorizeFunction-1A2B:live';
const KEY = `kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_${'0'.repeat(49)}`;

function authorizer(settings: AuthorizerSettings = {}): KeygateAuthorizer {
  return KeygateAuthorizer.fromFunctionArn(ARN, settings);
}

function restApi(settings: AuthorizerSettings, options?: AuthorizerOptions): Template {
  const stack = new Stack(new App(), 'Orders');
  const api = new RestApi(stack, 'Api');
  const keygate = authorizer(settings);
  api.root.addMethod('GET', new MockIntegration(), { authorizer: keygate.forRestApi(stack, 'Keygate', options) });
  keygate.addUnauthorizedResponse(api, 'orders');
  return Template.fromStack(stack);
}

function httpApi(settings: AuthorizerSettings, options?: AuthorizerOptions): Template {
  const stack = new Stack(new App(), 'Orders');
  const api = new HttpApi(stack, 'Api');
  const keygate = authorizer(settings).forHttpApi(stack, 'Keygate', options);
  const integration = new HttpUrlIntegration('Backend', 'https://backend.example.com');
  api.addRoutes({ path: '/a', methods: [HttpMethod.GET], integration, authorizer: keygate });
  api.addRoutes({ path: '/b', methods: [HttpMethod.GET], integration, authorizer: keygate });
  return Template.fromStack(stack);
}

test('a REST API', () => {
  const template = restApi({});
  template.hasResourceProperties('AWS::ApiGateway::Authorizer', {
    Type: 'TOKEN',
    IdentitySource: 'method.request.header.Authorization',
    AuthorizerResultTtlInSeconds: 0,
  });
  template.hasResourceProperties('AWS::ApiGateway::Method', { AuthorizationType: 'CUSTOM' });
  template.hasResourceProperties('AWS::Lambda::Permission', {
    FunctionName: ARN,
    Principal: 'apigateway.amazonaws.com',
    SourceArn: Match.objectLike({ 'Fn::Join': Match.anyValue() }),
  });
  template.hasResourceProperties('AWS::ApiGateway::GatewayResponse', {
    ResponseType: 'UNAUTHORIZED',
    ResponseParameters: { 'gatewayresponse.header.WWW-Authenticate': `'Bearer realm="orders"'` },
  });
});

test('what a REST API refuses by itself', () => {
  const expression = (settings: AuthorizerSettings): RegExp => {
    const [found] = Object.values(restApi(settings).findResources('AWS::ApiGateway::Authorizer'));
    return new RegExp(found!.Properties.IdentityValidationExpression);
  };
  const [plain, legacy] = [expression({}), expression({ legacyPattern: 'old-[0-9a-f]{32}' })];
  const old = `Bearer old-${'0'.repeat(32)}`;
  for (const each of [plain, legacy]) {
    assert.match(`Bearer ${KEY}`, each);
    assert.match(`bearer  ${KEY} `, each);
    assert.doesNotMatch(`Basic ${KEY}`, each);
    assert.doesNotMatch(`Bearer ${KEY}0`, each);
    assert.doesNotMatch(`x Bearer ${KEY}`, each);
  }
  assert.match(old, legacy);
  assert.doesNotMatch(old, plain);
});

test('an HTTP API', () => {
  const template = httpApi({}, { cacheTtl: Duration.minutes(1) });
  template.resourceCountIs('AWS::ApiGatewayV2::Authorizer', 1);
  template.hasResourceProperties('AWS::ApiGatewayV2::Authorizer', {
    AuthorizerType: 'REQUEST',
    AuthorizerPayloadFormatVersion: '2.0',
    EnableSimpleResponses: false,
    IdentitySource: ['$request.header.Authorization'],
    AuthorizerResultTtlInSeconds: 60,
  });
  template.allResourcesProperties('AWS::ApiGatewayV2::Route', { AuthorizationType: 'CUSTOM' });
  template.hasResourceProperties('AWS::Lambda::Permission', {
    FunctionName: ARN,
    SourceAccount: { Ref: 'AWS::AccountId' },
  });
  const [found] = Object.values(template.findResources('AWS::ApiGatewayV2::Authorizer'));
  assert.equal(
    found!.Properties.AuthorizerUri['Fn::Join'][1].map((part: any) => part.Ref ?? part).join(''),
    `arn:AWS::Partition:apigateway:AWS::Region:lambda:path/2015-03-31/functions/${ARN}/invocations`,
  );
});

test('an HTTP API with simple responses, and without a cache', () => {
  for (const authorizerResponse of ['simple', 'simple-uncached'] as const) {
    httpApi({ authorizerResponse }).hasResourceProperties('AWS::ApiGatewayV2::Authorizer', {
      EnableSimpleResponses: true,
      AuthorizerResultTtlInSeconds: 0,
    });
  }
});

test('a response that is for one call only is not cached', () => {
  const cached = { cacheTtl: Duration.minutes(5) };
  assert.throws(() => httpApi({ authorizerResponse: 'simple-uncached' }, cached), /cacheTtl must be 0.*simple-uncached/);
  httpApi({ authorizerResponse: 'simple' }, cached).hasResourceProperties('AWS::ApiGatewayV2::Authorizer', {
    AuthorizerResultTtlInSeconds: 300,
  });
});

test('a WebSocket API', () => {
  const stack = new Stack(new App(), 'Orders');
  new WebSocketApi(stack, 'Api', {
    connectRouteOptions: {
      integration: new WebSocketMockIntegration('Connect'),
      authorizer: authorizer().forWebSocketApi(stack, 'Keygate'),
    },
  });
  const template = Template.fromStack(stack);
  template.hasResourceProperties('AWS::ApiGatewayV2::Authorizer', {
    AuthorizerType: 'REQUEST',
    IdentitySource: ['route.request.header.Authorization'],
  });
  template.hasResourceProperties('AWS::ApiGatewayV2::Route', { RouteKey: '$connect', AuthorizationType: 'CUSTOM' });
  template.hasResourceProperties('AWS::Lambda::Permission', { FunctionName: ARN });
});

test('one HTTP authorizer is for one API', () => {
  const stack = new Stack(new App(), 'Orders');
  const keygate = authorizer().forHttpApi(stack, 'Keygate');
  const integration = (id: string) => new HttpUrlIntegration(id, 'https://backend.example.com');
  new HttpApi(stack, 'One').addRoutes({ path: '/', integration: integration('Backend'), authorizer: keygate });
  assert.throws(
    () => new HttpApi(stack, 'Two').addRoutes({ path: '/', integration: integration('Backend'), authorizer: keygate }),
    /belongs to one HTTP API/,
  );
});

test('a deployment that counts every call has no caches', () => {
  for (const make of [restApi, httpApi]) {
    make({ authorizerUncached: true });
    assert.throws(() => make({ authorizerUncached: true }, { cacheTtl: Duration.seconds(1) }), /cacheTtl must be 0/);
  }
});

test('a realm stays within its quotes', () => {
  const api = new RestApi(new Stack(new App(), 'Orders'), 'Api');
  for (const realm of ['a"', "a'", 'a\\', 'a\n']) {
    assert.throws(() => authorizer().addUnauthorizedResponse(api, realm), /a realm has/);
  }
});

test('an API in another stack of the app imports the ARN, and is deployed later', () => {
  const app = new App();
  const stack = new Stack(app, 'Keygate', { stackName: 'keygate' });
  const keygate = new Keygate(stack, 'Keygate', { packageFolder: PACKAGE, authorizerResponse: 'simple' });
  const orders = new Stack(app, 'Orders');
  new HttpApi(orders, 'Api').addRoutes({
    path: '/',
    integration: new HttpUrlIntegration('Backend', 'https://backend.example.com'),
    authorizer: keygate.authorizer.forHttpApi(orders, 'Authorizer'),
  });
  assert.deepEqual(orders.dependencies, [stack]);
  const template = Template.fromStack(orders);
  template.hasResourceProperties('AWS::ApiGatewayV2::Authorizer', { EnableSimpleResponses: true });
  template.hasResourceProperties('AWS::Lambda::Permission', {
    FunctionName: { 'Fn::ImportValue': 'keygate-AuthorizerFunctionArn' },
  });
  assert.deepEqual(Template.fromStack(stack).toJSON().Outputs.AuthorizerFunctionArn.Export, {
    Name: { 'Fn::Sub': '${AWS::StackName}-AuthorizerFunctionArn' },
  });
});

test('an API in the same stack refers to the alias', () => {
  const stack = new Stack(new App(), 'Keygate');
  const keygate = new Keygate(stack, 'Keygate', { packageFolder: PACKAGE });
  new HttpApi(stack, 'Api').addRoutes({
    path: '/',
    integration: new HttpUrlIntegration('Backend', 'https://backend.example.com'),
    authorizer: keygate.authorizer.forHttpApi(stack, 'Authorizer'),
  });
  Template.fromStack(stack).hasResourceProperties('AWS::Lambda::Permission', {
    FunctionName: { Ref: 'AuthorizeFunction.Alias' },
    Principal: 'apigateway.amazonaws.com',
  });
});
