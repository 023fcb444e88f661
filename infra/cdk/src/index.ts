/**
 * Keygate for the AWS CDK.
 *
 * {@link Keygate} deploys a package of Keygate in a stack. {@link KeygateAuthorizer} attaches its authorizer to REST, HTTP and
 * WebSocket APIs, also to those of other apps.
 */
export { Keygate, type KeygateProps } from './keygate';
export { KeygateAuthorizer, type AuthorizerOptions, type AuthorizerSettings } from './authorizer';
export type { KeygateParameters } from './parameters';
