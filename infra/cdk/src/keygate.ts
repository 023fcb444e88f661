import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CfnElement, Lazy, Stack, Token } from 'aws-cdk-lib';
import { Asset } from 'aws-cdk-lib/aws-s3-assets';
import { Construct } from 'constructs';
import { KeygateAuthorizer } from './authorizer';
import { KeygateParameters } from './parameters';
import {
  checkRules,
  conditionValues,
  Json,
  JsonObject,
  parameterValues,
  selected,
  Template,
  withValues,
} from './template';

/** What a package of Keygate says of itself, in manifest.json. */
interface Manifest {
  readonly version: string;
  readonly architecture: string;
  /** The archive of each function, by its logical id, relative to the package. */
  readonly functions: { readonly [logicalId: string]: string };
}

export interface KeygateProps extends KeygateParameters {
  /** The folder of a package, such as keygate-0.1.0-x86_64, of the version of this module. */
  readonly packageFolder: string;
}

const AUTHORIZER_OUTPUT = 'AuthorizerFunctionArn';

/**
 * Keygate, deployed from a package.
 *
 * The resources have the logical ids of the template, so a stack has one Keygate, and should have nothing else: the tables and
 * keys of a stack that is deleted are kept. A stack that was deployed from the template alone can be continued with this
 * construct under its name.
 *
 * The values of the parameters are written into the template, and its conditions are decided when the app is synthesized.
 */
export class Keygate extends Construct {
  /** Attaches the authorizer to APIs of this app. */
  public readonly authorizer: KeygateAuthorizer;
  /** The URL of the management API. */
  public readonly apiUrl: string;
  /** The URL of the OAuth API. */
  public readonly oauthUrl: string;

  public constructor(scope: Construct, id: string, props: KeygateProps) {
    super(scope, id);
    const { packageFolder, ...parameters } = props;
    const stack = Stack.of(this);
    const manifest = readJson<Manifest>(packageFolder, 'manifest.json');
    const template = readJson<Template>(packageFolder, 'template.json');
    const { version } = readJson<{ version: string }>(join(__dirname, '..', '..', '..'), 'package.json');
    if (manifest.version !== version) {
      throw new Error(`the package has version ${manifest.version}, and keygate-cdk ${version}: use the same version`);
    }

    const values = parameterValues(template, parameters);
    checkRules(template, values);
    const conditions = conditionValues(template, values);
    const { Parameters: _parameters, Rules: _rules, Conditions: _conditions, Metadata: _metadata, ...sections } = template;
    const resources = selected(this.withAssets(template.Resources, packageFolder, manifest), conditions);
    const chosen = {
      ...sections,
      Resources: withoutMissing(resources),
      Outputs: selected(template.Outputs, conditions),
    } as unknown as Json;
    const filled = (ConfigurationRevision: string): JsonObject =>
      withSameStage(withValues(chosen, { ...values, ConfigurationRevision }, conditions) as JsonObject);
    // The alias of the authorizer gets a new version when anything of the template or of the functions has changed.
    const revision = Lazy.string({ produce: () => digest(JSON.stringify(stack.resolve(filled('')))) });
    const document = filled(revision);
    const outputs = document.Outputs as { [name: string]: JsonObject };
    outputs[AUTHORIZER_OUTPUT]!.Export = { Name: { 'Fn::Sub': `\${AWS::StackName}-${AUTHORIZER_OUTPUT}` } };
    new PackagedTemplate(this, 'Template', document);

    const output = (name: string): string => Token.asString(outputs[name]!.Value);
    this.apiUrl = output('ApiUrl');
    this.oauthUrl = output('OAuthUrl');
    this.authorizer = new KeygateAuthorizer(
      { stack, functionArn: output(AUTHORIZER_OUTPUT), exportName: `${stack.stackName}-${AUTHORIZER_OUTPUT}` },
      {
        authorizerResponse: props.authorizerResponse,
        authorizerUncached: props.authorizerUncached,
        legacyPattern: props.legacyPattern,
      },
    );
  }

  /** The resources with the functions as assets of the CDK. */
  private withAssets(
    resources: Template['Resources'],
    packageFolder: string,
    manifest: Manifest,
  ): { [name: string]: JsonObject } {
    return Object.fromEntries(
      Object.entries(resources).map(([logicalId, resource]) => {
        const archive = manifest.functions[logicalId];
        if (archive === undefined) {
          return [logicalId, resource];
        }
        const asset = new Asset(this, logicalId, { path: join(packageFolder, archive) });
        const properties = { ...(resource.Properties as JsonObject) };
        properties.CodeUri = { Bucket: asset.s3BucketName, Key: asset.s3ObjectKey };
        return [logicalId, { ...resource, Properties: properties }];
      }),
    );
  }
}

/** The resources without dependencies on those that are not there. */
function withoutMissing(resources: { readonly [name: string]: JsonObject }): { [name: string]: JsonObject } {
  return Object.fromEntries(
    Object.entries(resources).map(([name, { DependsOn, ...resource }]) => {
      const targets = [DependsOn ?? []].flat().filter((target) => String(target) in resources);
      return [name, targets.length ? { ...resource, DependsOn: targets } : resource];
    }),
  );
}

/**
 * The document with the stage of the management API under the logical id that it has in a stack without the CDK.
 *
 * SAM makes the id of a stage's name if that is a plain text, and a stage with another id could not be created beside the
 * one that it replaces.
 */
function withSameStage(document: JsonObject): JsonObject {
  const resources = document.Resources as { [name: string]: { Properties: JsonObject } };
  const properties = resources.ManagementApi!.Properties;
  properties.StageName = { 'Fn::Sub': properties.StageName! };
  return document;
}

/** A part of a stack's template, as it is. The CDK merges it with those of the other constructs of the stack. */
class PackagedTemplate extends CfnElement {
  public constructor(
    scope: Construct,
    id: string,
    private readonly document: JsonObject,
  ) {
    super(scope, id);
  }

  /** What CfnElement has instead of a public way to add a section. */
  public _toCloudFormation(): object {
    return this.document;
  }
}

function readJson<T>(folder: string, name: string): T {
  const path = join(folder, name);
  if (!existsSync(path)) {
    throw new Error(`${path} does not exist: packageFolder must be the folder of a package of Keygate`);
  }
  return JSON.parse(readFileSync(path, 'utf8')) as T;
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}
