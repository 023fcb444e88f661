import { Duration, Fn, Stack } from 'aws-cdk-lib';
import { IdentitySource, IRestApi, ResponseType, RestApiBase, TokenAuthorizer } from 'aws-cdk-lib/aws-apigateway';
import {
  AuthorizerPayloadVersion,
  HttpAuthorizer,
  HttpAuthorizerType,
  HttpRouteAuthorizerBindOptions,
  HttpRouteAuthorizerConfig,
  IHttpApi,
  IHttpRouteAuthorizer,
  IWebSocketRouteAuthorizer,
} from 'aws-cdk-lib/aws-apigatewayv2';
import { WebSocketLambdaAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2-authorizers';
import { ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { CfnPermission, Function as LambdaFunction, IFunction } from 'aws-cdk-lib/aws-lambda';
import { Construct } from 'constructs';
import { KeygateParameters } from './parameters';

/** The parameters of the deployment that its authorizers have to agree with. */
export type AuthorizerSettings = Pick<
  KeygateParameters,
  'authorizerResponse' | 'authorizerUncached' | 'legacyPattern'
>;

export interface AuthorizerOptions {
  /**
   * How long API Gateway reuses a response. A deleted key is accepted for that long, unless the stage is in the parameter
   * authorizerCaches.
   *
   * @default Duration.seconds(0)
   */
  readonly cacheTtl?: Duration;
}

/** Where the ARN of the authorizer is from: a stack of the same app, or text. */
interface Source {
  readonly functionArn: string;
  readonly stack?: Stack;
  readonly exportName?: string;
}

/** What can be an API key or an access token of any brand. */
const CREDENTIAL =
  '[a-z][a-z0-9]{1,9}_(key|tok_[0-7][0-9A-HJKMNP-TV-Z]{25})_[0-7][0-9A-HJKMNP-TV-Z]{25}_[0-9A-Za-z]{49}';
const BEARER = '^[Bb][Ee][Aa][Rr][Ee][Rr] +';

/** Attaches the authorizer of a deployment to APIs in the same account and Region. */
export class KeygateAuthorizer {
  /**
   * The authorizer of a deployment of another app.
   *
   * @param functionArn the output AuthorizerFunctionArn of its stack.
   * @param settings what is set in its stack.
   */
  public static fromFunctionArn(functionArn: string, settings: AuthorizerSettings): KeygateAuthorizer {
    return new KeygateAuthorizer({ functionArn }, settings);
  }

  /** @internal */
  public constructor(
    private readonly source: Source,
    private readonly settings: AuthorizerSettings,
  ) {}

  /**
   * An authorizer for the methods of one REST API, which refuses what cannot be a key before a function is invoked.
   *
   * Give the app the feature flag `@aws-cdk/aws-apigateway:authorizerChangeDeploymentLogicalId`, so that a changed authorizer
   * reaches the stage.
   */
  public forRestApi(scope: Construct, id: string, options: AuthorizerOptions = {}): TokenAuthorizer {
    const { legacyPattern } = this.settings;
    return new TokenAuthorizer(scope, id, {
      handler: this.aliasFor(scope, `${id}Function`),
      identitySource: IdentitySource.header('Authorization'),
      validationRegex: `${BEARER}${legacyPattern ? `(${legacyPattern}|${CREDENTIAL})` : CREDENTIAL} *$`,
      resultsCacheTtl: this.cacheTtl(options),
    });
  }

  /** Gives the 401 of a REST API the header WWW-Authenticate, which API Gateway leaves out (RFC 9110, section 11.6.1). */
  public addUnauthorizedResponse(api: IRestApi, realm: string): void {
    if (!/^[ !#-&(-\[\]-~]*$/.test(realm)) {
      throw new Error('a realm has printable characters of ASCII, without quotes and backslashes');
    }
    (api as RestApiBase).addGatewayResponse('KeygateUnauthorized', {
      type: ResponseType.UNAUTHORIZED,
      statusCode: '401',
      responseHeaders: { 'WWW-Authenticate': `'Bearer realm="${realm}"'` },
      templates: { 'application/json': '{"message":"Unauthorized"}' },
    });
  }

  /** An authorizer for the routes of one HTTP API. */
  public forHttpApi(scope: Construct, id: string, options: AuthorizerOptions = {}): IHttpRouteAuthorizer {
    if (this.settings.authorizerResponse === 'simple-uncached' && this.cacheTtl(options).toSeconds() > 0) {
      // A cached answer would serve the other routes and addresses that the key may not use.
      throw new Error('cacheTtl must be 0, because the deployment has authorizerResponse simple-uncached');
    }
    return new HttpRouteAuthorizer(scope, id, {
      handler: this.aliasFor(scope, `${id}Function`),
      isSimple: (this.settings.authorizerResponse ?? 'policy') !== 'policy',
      cacheTtl: this.cacheTtl(options),
    });
  }

  /** An authorizer for the route $connect of one WebSocket API, as `connectRouteOptions.authorizer`. */
  public forWebSocketApi(scope: Construct, id: string): IWebSocketRouteAuthorizer {
    return new WebSocketLambdaAuthorizer(id, this.aliasFor(scope, `${id}Function`), {
      authorizerName: 'keygate',
      identitySource: ['route.request.header.Authorization'],
    });
  }

  /** The alias of the authorizer's function, as a construct that permissions can be added to. */
  private aliasFor(scope: Construct, id: string): IFunction {
    const { stack, functionArn, exportName } = this.source;
    const own = Stack.of(scope);
    let arn = functionArn;
    if (stack && own !== stack) {
      // The ARN is that of an alias, and never changes: the export stands in the way of nothing but the deletion of the stack.
      arn = Fn.importValue(exportName!);
      own.addStackDependency(stack, 'its APIs have the authorizer');
    }
    return LambdaFunction.fromFunctionAttributes(scope, id, { functionArn: arn, sameEnvironment: true });
  }

  private cacheTtl({ cacheTtl = Duration.seconds(0) }: AuthorizerOptions): Duration {
    if (this.settings.authorizerUncached && cacheTtl.toSeconds() > 0) {
      throw new Error('cacheTtl must be 0, because the deployment has authorizerUncached');
    }
    return cacheTtl;
  }
}

interface HttpRouteAuthorizerProps {
  readonly handler: IFunction;
  readonly isSimple: boolean;
  readonly cacheTtl: Duration;
}

/** An authorizer with payload format 2.0, which the CDK's own has for simple responses alone. */
class HttpRouteAuthorizer implements IHttpRouteAuthorizer {
  private authorizer?: HttpAuthorizer;
  private api?: IHttpApi;

  public constructor(
    private readonly scope: Construct,
    private readonly id: string,
    private readonly props: HttpRouteAuthorizerProps,
  ) {}

  public bind({ route }: HttpRouteAuthorizerBindOptions): HttpRouteAuthorizerConfig {
    this.api ??= route.httpApi;
    if (this.api.apiId !== route.httpApi.apiId) {
      throw new Error('an authorizer belongs to one HTTP API: make another one with forHttpApi');
    }
    this.authorizer ??= this.create(route.httpApi);
    return { authorizerId: this.authorizer.authorizerId, authorizationType: 'CUSTOM' };
  }

  private create(httpApi: IHttpApi): HttpAuthorizer {
    const { handler, isSimple, cacheTtl } = this.props;
    const stack = Stack.of(this.scope);
    const authorizer = new HttpAuthorizer(this.scope, this.id, {
      httpApi,
      authorizerName: 'keygate',
      type: HttpAuthorizerType.LAMBDA,
      identitySource: ['$request.header.Authorization'],
      payloadFormatVersion: AuthorizerPayloadVersion.VERSION_2_0,
      enableSimpleResponses: isSimple,
      resultsCacheTtl: cacheTtl,
      authorizerUri: stack.formatArn({
        service: 'apigateway',
        account: 'lambda',
        resource: 'path/2015-03-31/functions',
        resourceName: `${handler.functionArn}/invocations`,
      }),
    });
    new CfnPermission(this.scope, `${this.id}Permission`, {
      action: 'lambda:InvokeFunction',
      functionName: handler.functionArn,
      principal: new ServicePrincipal('apigateway.amazonaws.com').service,
      sourceAccount: stack.account,
      sourceArn: stack.formatArn({
        service: 'execute-api',
        resource: httpApi.apiId,
        resourceName: `authorizers/${authorizer.authorizerId}`,
      }),
    });
    return authorizer;
  }
}
