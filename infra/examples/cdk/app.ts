// Keygate, and an app with a REST, an HTTP and a WebSocket API that its authorizer protects, deployed with the AWS CDK.
// docs/infrastructure.md says how to run it.

import { App, CfnOutput, Stack } from 'aws-cdk-lib';
import { LambdaIntegration, RestApi } from 'aws-cdk-lib/aws-apigateway';
import { HttpApi, HttpMethod, WebSocketApi, WebSocketStage } from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpLambdaIntegration, WebSocketLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import { Code, Function as LambdaFunction, Runtime } from 'aws-cdk-lib/aws-lambda';
import { Keygate } from 'keygate-cdk';

// Returns what the backend is told about the caller.
const ECHO = `
import json

def handler(event, context):
    authorizer = event["requestContext"].get("authorizer") or {}
    caller = authorizer.get("lambda", authorizer)
    body = {"user": caller.get("userId"), "workspace": caller.get("workspaceId"), "scopes": caller.get("scopes")}
    return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": json.dumps(body)}
`;

const app = new App({
  // A changed authorizer of a REST API reaches the stage.
  postCliContext: { '@aws-cdk/aws-apigateway:authorizerChangeDeploymentLogicalId': true },
});

const packageFolder = app.node.tryGetContext('package') as string | undefined;
if (!packageFolder) {
  throw new Error('say where the package is: -c package=keygate-0.1.0-x86_64');
}

// Tables and KMS keys are in a stack of their own, which is deployed rarely.
const keygateStack = new Stack(app, 'Keygate', { stackName: 'keygate' });
const keygate = new Keygate(keygateStack, 'Keygate', {
  packageFolder,
  // For a trial. Remove the line before you issue keys.
  deletionProtection: false,
  dashboard: false,
});

const orders = new Stack(app, 'Orders', { stackName: 'orders' });
const backend = new LambdaFunction(orders, 'Backend', {
  runtime: Runtime.PYTHON_3_13,
  handler: 'index.handler',
  code: Code.fromInline(ECHO),
});

const rest = new RestApi(orders, 'Rest', { cloudWatchRole: false });
rest.root.addResource('orders').addMethod('GET', new LambdaIntegration(backend), {
  authorizer: keygate.authorizer.forRestApi(orders, 'RestAuthorizer'),
});
keygate.authorizer.addUnauthorizedResponse(rest, 'orders');

const http = new HttpApi(orders, 'Http');
http.addRoutes({
  path: '/orders',
  methods: [HttpMethod.GET],
  integration: new HttpLambdaIntegration('Backend', backend),
  authorizer: keygate.authorizer.forHttpApi(orders, 'HttpAuthorizer'),
});

const webSocket = new WebSocketApi(orders, 'WebSocket', {
  connectRouteOptions: {
    integration: new WebSocketLambdaIntegration('Connect', backend),
    authorizer: keygate.authorizer.forWebSocketApi(orders, 'WebSocketAuthorizer'),
  },
});
const stage = new WebSocketStage(orders, 'Stage', { webSocketApi: webSocket, stageName: 'live', autoDeploy: true });

new CfnOutput(orders, 'RestUrl', { value: rest.urlForPath('/orders') });
new CfnOutput(orders, 'HttpUrl', { value: `${http.apiEndpoint}/orders` });
new CfnOutput(orders, 'WebSocketUrl', { value: stage.url });

app.synth();
