// The parameters of infra/template/parameters.yaml. Written by `make tables`: change that file, not this one.

/** What a parameter of the template is called, and which values it takes. */
export interface ParameterDefinition {
  readonly name: string;
  readonly pattern?: string;
  readonly values?: readonly string[];
  readonly min?: number;
  readonly max?: number;
  readonly maxLength?: number;
  /** Whether the parameter is a list, each of whose elements matches the pattern. */
  readonly list?: boolean;
}

/** The parameters of a deployment. Each that is not set has the default of the template. */
export interface KeygateParameters {
  /**
   * The prefix of every credential that this deployment issues. Choose it once: after a change, credentials with
   * the earlier prefix are refused as malformed.
   * @default kg
   */
  readonly brand?: string;
  /**
   * The maximum number of unexpired keys that a user may have in a workspace. 1 to 1,000.
   * @default 100
   */
  readonly keysPerUser?: number;
  /**
   * The longest lifetime of a key, in days, counted from the moment its expiry is set. 0 sets no maximum and allows
   * keys without an expiry. A change does not affect existing keys. 0 to 36,500.
   * @default 0
   */
  readonly maxLifetimeDays?: number;
  /**
   * Descriptions of scopes, which GET /policy shows to pages that create keys: a JSON object such as
   * {"orders:read":"See orders"}, with at most 200 characters for each scope and 2,048 bytes in all. It may replace
   * the descriptions of Keygate's own scopes. With another value GET /policy fails, and its log says why.
   * @default {}
   */
  readonly scopeDescriptions?: string;
  /**
   * How long, in days, an expired key remains visible, with the status expired, before it is purged. 1 to 3,650.
   * @default 30
   */
  readonly expiredKeyRetentionDays?: number;
  /**
   * How long, in days, events stay in the audit trail. 1 to 3,650.
   * @default 365
   */
  readonly activityRetentionDays?: number;
  /**
   * The number of days without use after which a key is disabled, 2 or more. 0 disables no unused keys. 0 to 3,650.
   * @default 0
   */
  readonly disableUnusedDays?: number;
  /**
   * How many days before an unused key is disabled the event key.unused is published. Must be less than
   * DisableUnusedDays. 1 to 3,649.
   * @default 14
   */
  readonly unusedNoticeDays?: number;
  /**
   * The format of the authorizer's responses to HTTP APIs (payload 2.0). With policy it returns an IAM policy. With
   * simple it returns a simple response, which must be enabled in the API's authorizer, and refuses keys with
   * endpoint rules, because API Gateway may reuse a cached response for other routes. With simple-uncached it
   * returns a simple response and evaluates endpoint rules; use this only with an authorizer cache time of 0. It
   * refuses keys with endpoint rules behind a custom domain. All other kinds of API always get a policy. One of
   * `policy`, `simple`, `simple-uncached`.
   * @default policy
   */
  readonly authorizerResponse?: "policy" | "simple" | "simple-uncached";
  /**
   * Whether every API behind the authorizer has an authorizer cache time of 0. Only then every call is counted, and
   * keys can have limits. With false a key with limits cannot be created, and one that exists is denied. Set it to
   * true only if it is so: a cached response lets calls beyond a limit through. One of `true`, `false`.
   * @default false
   */
  readonly authorizerUncached?: boolean;
  /**
   * The maximum time, in milliseconds, that the authorizer waits for DynamoDB, retries included. After that the
   * call fails with an error. 100 to 4,000.
   * @default 2000
   */
  readonly authorizerBudgetMs?: number;
  /**
   * How long, in seconds, each execution environment of the authorizer may reuse a verification result. A deleted
   * or disabled key remains accepted for that long, in addition to the cache time of the API's authorizer. 0
   * verifies every request. 0 to 300.
   * @default 0
   */
  readonly cacheSeconds?: number;
  /**
   * How long, in seconds, each execution environment of the authorizer may reuse the verification of an accepted
   * credential while DynamoDB does not respond, throttles, or responds with a server error. Such an environment
   * accepts a revoked key for at most that long. Calls that DynamoDB rejects, because the role lacks a permission
   * or the table does not exist, are errors regardless. 0 fails every request while DynamoDB fails. 0 to 3,600.
   * @default 60
   */
  readonly staleIfErrorSeconds?: number;
  /**
   * The number of execution environments that are reserved for the authorizer and are its maximum too. The other
   * functions of the account share the rest, of which Lambda keeps at least 100. 0 reserves none. 0 to 100,000.
   * @default 0
   */
  readonly authorizerReservedConcurrency?: number;
  /**
   * How long, in days, the calls of keys by hour are kept (GET /api-keys/{id}/usage). A change affects the calls of
   * later hours. 1 to 3,650.
   * @default 90
   */
  readonly usageRetentionDays?: number;
  /**
   * The number of execution environments of the authorizer that Lambda keeps ready, at a cost for each hour, so
   * that their calls wait for no cold start. Not more than AuthorizerReservedConcurrency, if that is set. 0 keeps
   * none ready. 0 to 100,000.
   * @default 0
   */
  readonly authorizerProvisionedConcurrency?: number;
  /**
   * The number of execution environments that are reserved for the authorizer of the management API and are its
   * maximum too, as AuthorizerReservedConcurrency is for that of your own APIs. 0 reserves none. 0 to 100,000.
   * @default 0
   */
  readonly managementAuthorizerReservedConcurrency?: number;
  /**
   * The number of execution environments of the authorizer of the management API that Lambda keeps ready, at a cost
   * for each hour. Not more than ManagementAuthorizerReservedConcurrency, if that is set. 0 keeps none ready. 0 to
   * 100,000.
   * @default 0
   */
  readonly managementAuthorizerProvisionedConcurrency?: number;
  /**
   * The minimum time, in seconds, between two updates of a credential's last_used_at, and between two writes of the
   * number of a key's calls. 0 writes both at every verification. 0 to 86,400.
   * @default 900
   */
  readonly lastUsedInterval?: number;
  /**
   * How the authorizer records calls in the audit trail. With minute it writes one event a minute, with a count,
   * for the calls of one key with one method to one route. With each it writes one event for each call, but still
   * counts calls with a credential that does not work by the minute. With off it writes none. Calls that API
   * Gateway serves from an authorizer cache are not seen; for those, see ApiAccessLogGroup. The same holds for the
   * calls that introspection decides on. Refused clients of the OAuth API are always recorded. One of `minute`,
   * `each`, `off`.
   * @default minute
   */
  readonly callActivity?: "minute" | "each" | "off";
  /**
   * Which calls that the authorizer allows it also writes to its log. With off it writes none, with sampled the
   * first of each execution environment and every hundredth after it, with all every one. A line has about 220
   * bytes. Refusals and failures are always written. The audit trail has allowed calls too (CallActivity), and so
   * have the access logs of APIs. One of `off`, `sampled`, `all`.
   * @default off
   */
  readonly allowedCallLog?: "off" | "sampled" | "all";
  /**
   * The default and maximum lifetime of an access token, in seconds. A client may request a shorter one. 60 to
   * 86,400.
   * @default 3600
   */
  readonly accessTokenSeconds?: number;
  /**
   * How long, in days, a client can renew its access token without presenting the key again. Renewals do not extend
   * it. 1 to 365.
   * @default 30
   */
  readonly refreshTokenDays?: number;
  /**
   * How long, in seconds, after its first use a refresh token may be used again, for clients that lost the
   * response. Any later use revokes the grant. 0 allows one use. A stolen copy that is used within this time is not
   * detected. 0 to 60.
   * @default 0
   */
  readonly refreshReuseSeconds?: number;
  /**
   * The maximum number of active tokens of a key; further token requests are refused. An access token counts until
   * it expires or is revoked, a refresh token until it is used. 2 to 100,000.
   * @default 1000
   */
  readonly tokensPerKey?: number;
  /**
   * The issuer URL of the OAuth API, such as https://auth.example.com, a custom domain that you map to the API
   * without a path. Clients read the metadata at the root of this host. The API's own host is disabled then, so
   * that the API has one issuer. Empty uses the API's own host.
   * @default empty
   */
  readonly oAuthIssuer?: string;
  /**
   * The steady-state limit of each route of the OAuth API, in requests per second, of all clients together. The API
   * is public, so one client can use it up. 1 to 10,000.
   * @default 100
   */
  readonly oAuthThrottleRate?: number;
  /**
   * The burst limit of each route of the OAuth API, in requests. 1 to 5,000.
   * @default 200
   */
  readonly oAuthThrottleBurst?: number;
  /**
   * The APIs, separated by commas, for which clients get JWTs by naming one of them as resource: absolute URIs such
   * as https://orders.example.com. A JWT cannot be revoked; see [jwt.md](jwt.md). Empty issues no JWTs and creates
   * no key for them; clearing it later deletes the keys.
   * @default empty
   */
  readonly jwtAudiences?: string;
  /**
   * The default and maximum lifetime of a JWT, in seconds. A revoked or disabled key's JWTs remain accepted for
   * that long. A client may request a shorter one. 60 to 900.
   * @default 300
   */
  readonly jwtSeconds?: number;
  /**
   * The slots, a and b, whose KMS keys are published for the verification of JWTs. The first one signs. A slot that
   * is listed anew gets a new key, and a slot that is not listed has none. To rotate the key see
   * [runbooks.md](runbooks.md): with a wrong order valid tokens are refused. One of `a`, `a,b`, `b,a`, `b`.
   * @default a
   */
  readonly jwtKeys?: "a" | "a,b" | "b,a" | "b";
  /**
   * The issuer of the identity provider whose tokens people may use at the management API, word for word as its
   * tokens have it in iss. Not the value of OAuthIssuer. Empty accepts no tokens of an identity provider.
   * @default empty
   */
  readonly oidcIssuer?: string;
  /**
   * The audience that a token of a person must have. For ID tokens and for access tokens of Amazon Cognito, the id
   * of the client.
   * @default empty
   */
  readonly oidcAudience?: string;
  /**
   * The kind of token that people present, access tokens or ID tokens. The other kind is refused. One of `access`,
   * `id`.
   * @default access
   */
  readonly oidcTokenUse?: "access" | "id";
  /**
   * The claim with the user id of a person. A claim is named by its name, or by a JSON pointer that begins with a
   * slash. With email, email_verified must be true. Its value must never be given to another person.
   * @default sub
   */
  readonly oidcUserClaim?: string;
  /**
   * The workspace of every person. Set it or OidcWorkspaceClaim.
   * @default empty
   */
  readonly oidcWorkspace?: string;
  /**
   * The claim with the workspace of a person, named as in OidcUserClaim. It must be a claim that people cannot
   * change themselves. A person whose workspace does not exist is refused.
   * @default empty
   */
  readonly oidcWorkspaceClaim?: string;
  /**
   * The claim with the groups of a person, named as in OidcUserClaim: an array of strings, or one string with
   * groups separated by spaces.
   * @default groups
   */
  readonly oidcGroupsClaim?: string;
  /**
   * The scopes of groups: a JSON object with the name of each group and its scopes separated by spaces. Groups that
   * are not named give nothing.
   * @default {}
   */
  readonly oidcGroupScopes?: string;
  /**
   * The scopes of every person who can sign in, separated by spaces. workspace:admin is refused here, only a group
   * can give it.
   * @default empty
   */
  readonly oidcScopes?: string;
  /**
   * The signing keys of the identity provider as a JSON Web Key Set, for functions in subnets without a way to the
   * provider. With it they are not fetched, and a new key takes a deployment. Empty fetches them from OidcIssuer.
   * @default empty
   */
  readonly oidcJwks?: string;
  /**
   * The time from which all legacy keys are refused, such as 2030-06-30T00:00:00Z; see
   * [migration.md](migration.md). Empty disables legacy keys and creates no table for them; clearing the parameter
   * later deletes that table with all legacy keys.
   * @default empty
   */
  readonly legacySunset?: string;
  /**
   * A regular expression that must match a whole legacy key, such as old-[0-9a-f]{32}. Texts that do not match are
   * refused without a read, so make it narrow. Requests whose query string contains a match are refused too.
   * @default empty
   */
  readonly legacyPattern?: string;
  /**
   * The header in which legacy keys may be sent, such as X-Api-Key, in addition to Authorization with Bearer. Empty
   * allows only Authorization.
   * @default empty
   */
  readonly legacyHeader?: string;
  /**
   * The log group of your APIs' access logs, whose lines are written to the audit trail as calls, including calls
   * that API Gateway serves from an authorizer cache. Set CallActivity to off with it, or calls are recorded twice.
   * With off, the calls of keys by hour are counted from these logs too. Empty ingests no access logs.
   * @default empty
   */
  readonly apiAccessLogGroup?: string;
  /**
   * What happens to a key whose current secret is reported as leaked. disable disables it until it is rotated
   * without an overlap; delete deletes it. One of `disable`, `delete`.
   * @default disable
   */
  readonly leakPolicy?: "disable" | "delete";
  /**
   * Whether POST /leaks/github accepts the reports of GitHub's secret scanning, for which you are registered with
   * GitHub's partner program; see [leaks.md](leaks.md). With false, the route is a 404. One of `true`, `false`.
   * @default false
   */
  readonly gitHubReports?: boolean;
  /**
   * The address of the public keys with which GitHub signs reports. The server behind it decides who can sign
   * reports.
   * @default https://api.github.com/meta/public_keys/secret_scanning
   */
  readonly gitHubKeysUrl?: string;
  /**
   * The maximum number of users without a key, present or past, that requests may remove from a workspace. The
   * removal of such a user leaves a permanent entry. Users who have or had a key, and removals by events, do not
   * count. 1 to 1,000,000.
   * @default 10000
   */
  readonly maxRemovedUsers?: number;
  /**
   * The EventBridge event pattern, as JSON, of the events that remove users. Every sender of a matching event can
   * remove users of every workspace. Empty disables removal by events.
   * @default empty
   */
  readonly userRemovalPattern?: string;
  /**
   * The name or ARN of the event bus on which those events arrive.
   * @default default
   */
  readonly userRemovalBus?: string;
  /**
   * The JSON path of the workspace in such an event. UserRemovalInput refers to it as workspace.
   * @default $.detail.workspace_id
   */
  readonly userRemovalWorkspacePath?: string;
  /**
   * The JSON path of the user's id in such an event. UserRemovalInput refers to it as user.
   * @default $.detail.user_id
   */
  readonly userRemovalUserPath?: string;
  /**
   * The EventBridge input template that turns such an event into the request. Add "transfer_to" to transfer the
   * user's keys instead of deleting them.
   * @default {"workspace_id": <workspace>, "user_id": <user>, "time": <time>}
   */
  readonly userRemovalInput?: string;
  /**
   * The EventBridge bus of this account and region on which events are published; see [events.md](events.md).
   * @default default
   */
  readonly eventBusName?: string;
  /**
   * How often, in minutes, Keygate checks for keys that are about to expire, have expired, or whose rotation
   * overlap has ended. The event of each is late by at most this time. 2 to 60.
   * @default 5
   */
  readonly lifecycleCheckMinutes?: number;
  /**
   * The API stages whose authorizer caches are cleared after a revocation, separated by commas:
   * restapis/{id}/stages/{stage} for REST APIs, apis/{id}/stages/{stage} for HTTP APIs. Empty clears no caches.
   * @default empty
   */
  readonly authorizerCaches?: readonly string[];
  /**
   * The stage name of the management API, which is the first segment of its path.
   * @default v1
   */
  readonly stageName?: string;
  /**
   * The steady-state limit of each method of the management API, in requests per second. 1 to 10,000.
   * @default 100
   */
  readonly throttleRate?: number;
  /**
   * The burst limit of each method of the management API, in requests. 1 to 5,000.
   * @default 200
   */
  readonly throttleBurst?: number;
  /**
   * The origins whose pages may call the management API from a browser, separated by commas, such as
   * https://dashboard.example.com,http://localhost:5173, or * for all. At most 20, as browsers send them: in lower
   * case, without a default port and without a path. Empty allows none.
   * @default empty
   */
  readonly corsAllowOrigins?: string;
  /**
   * Whether the management API serves the keys page and its web component at /console. With false, every address of
   * them is a 404, and the page_url of a session leads to a page only if ConsoleUrl names another one. One of
   * `true`, `false`.
   * @default true
   */
  readonly consoleEnabled?: boolean;
  /**
   * The address of the keys page, to which POST /sessions directs the user's browser, such as
   * https://keys.example.com/console, without a / at the end. Set it if a proxy serves the page at another address.
   * Empty takes the path /console of the management API.
   * @default empty
   */
  readonly consoleUrl?: string;
  /**
   * The id of the keys page as a public client of the identity provider, with the page's address as its only
   * redirect URI. Requires OidcIssuer, ConsoleAuthorizationEndpoint and ConsoleTokenEndpoint. Empty offers no
   * sign-in with the provider on the page.
   * @default empty
   */
  readonly consoleClientId?: string;
  /**
   * The authorization endpoint of the identity provider, to which the keys page sends people who sign in. The
   * provider's discovery document has it as authorization_endpoint.
   * @default empty
   */
  readonly consoleAuthorizationEndpoint?: string;
  /**
   * The token endpoint of the identity provider, which the keys page calls from the browser. The provider has to
   * allow the page's origin to do so. The provider's discovery document has it as token_endpoint.
   * @default empty
   */
  readonly consoleTokenEndpoint?: string;
  /**
   * The scopes that the keys page asks the identity provider for, separated by spaces.
   * @default openid
   */
  readonly consoleScope?: string;
  /**
   * The resource indicator (RFC 8707) of the management API, which the keys page sends to identity providers that
   * issue access tokens for a named resource. Empty sends none.
   * @default empty
   */
  readonly consoleResource?: string;
  /**
   * The origins whose pages may show the keys page in a frame, separated by commas. Such a page can trick users
   * into clicks on the keys page, so prefer the web component. Empty allows none.
   * @default empty
   */
  readonly consoleFrameAncestors?: string;
  /**
   * The custom domain name of the management API, such as keys.example.com, without a stage in its paths. Requires
   * CertificateArn, and a DNS record that you point to the output DomainTarget. The API's own host is disabled
   * then. Empty uses the API's own host.
   * @default empty
   */
  readonly domainName?: string;
  /**
   * The ARN of the certificate of DomainName in AWS Certificate Manager of this Region.
   * @default empty
   */
  readonly certificateArn?: string;
  /**
   * The security policy of the management API for TLS, on its own host and on DomainName. Empty leaves API
   * Gateway's own policies: TLS 1.0 or newer on the API's own host, TLS 1.2 or newer on DomainName. Each value
   * refuses TLS 1.0 and 1.1; those with TLS13_1_3 refuse TLS 1.2 too. Older clients cannot connect then, and a
   * change takes about 15 minutes. One of ``, `SecurityPolicy_TLS13_1_2_2021_06`,
   * `SecurityPolicy_TLS13_1_2_PQ_2025_09`, `SecurityPolicy_TLS13_1_2_PFS_PQ_2025_09`,
   * `SecurityPolicy_TLS13_1_2_FIPS_PQ_2025_09`, `SecurityPolicy_TLS13_1_3_2025_09`,
   * `SecurityPolicy_TLS13_1_3_FIPS_2025_09`.
   * @default empty
   */
  readonly tlsPolicy?: "" | "SecurityPolicy_TLS13_1_2_2021_06" | "SecurityPolicy_TLS13_1_2_PQ_2025_09" | "SecurityPolicy_TLS13_1_2_PFS_PQ_2025_09" | "SecurityPolicy_TLS13_1_2_FIPS_PQ_2025_09" | "SecurityPolicy_TLS13_1_3_2025_09" | "SecurityPolicy_TLS13_1_3_FIPS_2025_09";
  /**
   * The ARN of a regional AWS WAF web ACL that checks requests to the management API before the authorizer does.
   * WAF charges for each request. The OAuth API cannot have one, because WAF does not support HTTP APIs; see
   * [oauth-cloudfront.md](oauth-cloudfront.md). Empty uses no WAF.
   * @default empty
   */
  readonly webAclArn?: string;
  /**
   * Whether this stack sets the role with which API Gateway writes the logs of all APIs of the account in this
   * Region. Set it to true only if the account has no such role: true replaces the role of the other APIs. With
   * false a deployment fails in an account without one; see [deploying.md](deploying.md). One of `true`, `false`.
   * @default false
   */
  readonly manageApiGatewayAccount?: boolean;
  /**
   * Whether a new version of the authorizer decides on a tenth of the calls for ten minutes before it gets all of
   * them. The version before decides on all calls again if the authorizer's errors or crashes raise an alarm
   * meanwhile. Requires AlarmTopicArn. A deployment takes ten minutes longer then, and so do changed parameters of
   * the authorizer. One of `true`, `false`.
   * @default false
   */
  readonly gradualDeployment?: boolean;
  /**
   * Whether the tables and the KMS keys refuse to be deleted. Set it to false for a first deployment that you may
   * want to remove, and to true before you issue keys; see [runbooks.md](runbooks.md). Deleting the stack keeps
   * them with either value. One of `true`, `false`.
   * @default true
   */
  readonly deletionProtection?: boolean;
  /**
   * The pepper versions whose hashes are accepted, separated by commas. Before you remove one, see in
   * [runbooks.md](runbooks.md) how to count what depends on it: a credential under a version that is not listed
   * gets an error.
   * @default 1
   */
  readonly pepperVersions?: readonly string[];
  /**
   * The pepper version of new hashes, one of PepperVersions. List a new version in one deployment, and make it the
   * current one in the next, so that every function knows it before one uses it. 1 to 999,999,999.
   * @default 1
   */
  readonly currentPepperVersion?: number;
  /**
   * The other Regions, separated by commas, to which the KMS key of the peppers may be replicated; see
   * [runbooks.md](runbooks.md). Empty allows none.
   * @default empty
   */
  readonly pepperReplicaRegions?: readonly string[];
  /**
   * The ARN of the replica in this Region of the KMS key of the peppers of another stack, from which the peppers
   * are derived instead of from this stack's own key. It lets this stack take over the data of a Region that is
   * lost; see [runbooks.md](runbooks.md). Empty uses the stack's own key. A change makes all credentials that were
   * issued before unusable.
   * @default empty
   */
  readonly pepperReplicaArn?: string;
  /**
   * The ARN of the IAM policy that is the permissions boundary of every role of the stack. It must allow what the
   * roles allow, or calls fail. Empty sets no boundary.
   * @default empty
   */
  readonly permissionsBoundaryArn?: string;
  /**
   * The path of every role and policy of the stack, such as /keygate/. A change replaces the roles.
   * @default /
   */
  readonly rolePath?: string;
  /**
   * The ARN of the KMS key of yours under which DynamoDB encrypts every table. KMS charges for the key and its use,
   * and if the key is disabled or deleted, every request fails. Empty uses the key aws/dynamodb.
   * @default empty
   */
  readonly tableKmsKeyArn?: string;
  /**
   * The ARN of the KMS key of yours under which CloudWatch Logs encrypts every log group. The policy of the key
   * must allow CloudWatch Logs to use it; see [deploying.md](deploying.md). Empty uses a key of AWS.
   * @default empty
   */
  readonly logsKmsKeyArn?: string;
  /**
   * The subnets, separated by commas, in which the functions run. Requires SecurityGroupIds, and a way to the AWS
   * services that the functions call; see [deploying.md](deploying.md). Empty runs them outside of your VPCs.
   * @default empty
   */
  readonly subnetIds?: string;
  /**
   * The security groups of the functions, separated by commas. They must allow HTTPS to the AWS services.
   * @default empty
   */
  readonly securityGroupIds?: string;
  /**
   * The minimum severity of the log lines that the functions write. One of `error`, `warn`, `info`, `debug`.
   * @default info
   */
  readonly logLevel?: "error" | "warn" | "info" | "debug";
  /**
   * How long, in days, logs are kept. One of `1`, `3`, `5`, `7`, `14`, `30`, `60`, `90`, `120`, `150`, `180`,
   * `365`, `400`, `545`, `731`, `1096`, `1827`, `2192`, `2557`, `2922`, `3288`, `3653`.
   * @default 90
   */
  readonly logRetentionDays?: 1 | 3 | 5 | 7 | 14 | 30 | 60 | 90 | 120 | 150 | 180 | 365 | 400 | 545 | 731 | 1096 | 1827 | 2192 | 2557 | 2922 | 3288 | 3653;
  /**
   * The ARN of the SNS topic that receives alarms. Empty creates no alarms.
   * @default empty
   */
  readonly alarmTopicArn?: string;
  /**
   * Whether to create a CloudWatch dashboard, named after the stack and the Region, and saved queries of the logs.
   * One of `true`, `false`.
   * @default true
   */
  readonly dashboard?: boolean;
  /**
   * Whether API Gateway and Lambda send traces of requests to X-Ray. One of `true`, `false`.
   * @default false
   */
  readonly xRayTracing?: boolean;
}

export const PARAMETERS: { readonly [property in keyof KeygateParameters]-?: ParameterDefinition } = {
  brand: { name: "Brand", pattern: "^[a-z][a-z0-9]{1,9}$" },
  keysPerUser: { name: "KeysPerUser", min: 1, max: 1000 },
  maxLifetimeDays: { name: "MaxLifetimeDays", min: 0, max: 36500 },
  scopeDescriptions: { name: "ScopeDescriptions", maxLength: 2048, pattern: "^\\{[^\\r\\n]*\\}$" },
  expiredKeyRetentionDays: { name: "ExpiredKeyRetentionDays", min: 1, max: 3650 },
  activityRetentionDays: { name: "ActivityRetentionDays", min: 1, max: 3650 },
  disableUnusedDays: { name: "DisableUnusedDays", min: 0, max: 3650 },
  unusedNoticeDays: { name: "UnusedNoticeDays", min: 1, max: 3649 },
  authorizerResponse: { name: "AuthorizerResponse", values: ["policy", "simple", "simple-uncached"] },
  authorizerUncached: { name: "AuthorizerUncached", values: ["true", "false"] },
  authorizerBudgetMs: { name: "AuthorizerBudgetMs", min: 100, max: 4000 },
  cacheSeconds: { name: "CacheSeconds", min: 0, max: 300 },
  staleIfErrorSeconds: { name: "StaleIfErrorSeconds", min: 0, max: 3600 },
  authorizerReservedConcurrency: { name: "AuthorizerReservedConcurrency", min: 0, max: 100000 },
  usageRetentionDays: { name: "UsageRetentionDays", min: 1, max: 3650 },
  authorizerProvisionedConcurrency: { name: "AuthorizerProvisionedConcurrency", min: 0, max: 100000 },
  managementAuthorizerReservedConcurrency: { name: "ManagementAuthorizerReservedConcurrency", min: 0, max: 100000 },
  managementAuthorizerProvisionedConcurrency: { name: "ManagementAuthorizerProvisionedConcurrency", min: 0, max: 100000 },
  lastUsedInterval: { name: "LastUsedInterval", min: 0, max: 86400 },
  callActivity: { name: "CallActivity", values: ["minute", "each", "off"] },
  allowedCallLog: { name: "AllowedCallLog", values: ["off", "sampled", "all"] },
  accessTokenSeconds: { name: "AccessTokenSeconds", min: 60, max: 86400 },
  refreshTokenDays: { name: "RefreshTokenDays", min: 1, max: 365 },
  refreshReuseSeconds: { name: "RefreshReuseSeconds", min: 0, max: 60 },
  tokensPerKey: { name: "TokensPerKey", min: 2, max: 100000 },
  oAuthIssuer: { name: "OAuthIssuer", maxLength: 256, pattern: "^$|^https://[^/?#]+$|^http://127\\.0\\.0\\.1:[0-9]+$" },
  oAuthThrottleRate: { name: "OAuthThrottleRate", min: 1, max: 10000 },
  oAuthThrottleBurst: { name: "OAuthThrottleBurst", min: 1, max: 5000 },
  jwtAudiences: { name: "JwtAudiences", maxLength: 600, pattern: "^$|^[A-Za-z][A-Za-z0-9+.-]*:[^ #,]+(,[A-Za-z][A-Za-z0-9+.-]*:[^ #,]+)*$" },
  jwtSeconds: { name: "JwtSeconds", min: 60, max: 900 },
  jwtKeys: { name: "JwtKeys", values: ["a", "a,b", "b,a", "b"] },
  oidcIssuer: { name: "OidcIssuer", pattern: "^(https://[!-~]{1,150})?$" },
  oidcAudience: { name: "OidcAudience", pattern: "^[!-~]{0,100}$" },
  oidcTokenUse: { name: "OidcTokenUse", values: ["access", "id"] },
  oidcUserClaim: { name: "OidcUserClaim", pattern: "^[!-~]{1,60}$" },
  oidcWorkspace: { name: "OidcWorkspace", pattern: "^[a-z0-9-]{0,64}$" },
  oidcWorkspaceClaim: { name: "OidcWorkspaceClaim", pattern: "^[!-~]{0,100}$" },
  oidcGroupsClaim: { name: "OidcGroupsClaim", pattern: "^[!-~]{1,60}$" },
  oidcGroupScopes: { name: "OidcGroupScopes", maxLength: 500, pattern: "^\\{.*\\}$" },
  oidcScopes: { name: "OidcScopes", pattern: "^[a-z0-9:._ -]{0,150}$" },
  oidcJwks: { name: "OidcJwks", maxLength: 850 },
  legacySunset: { name: "LegacySunset", pattern: "^$|^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$" },
  legacyPattern: { name: "LegacyPattern", maxLength: 256 },
  legacyHeader: { name: "LegacyHeader", pattern: "^[A-Za-z0-9-]{0,64}$" },
  apiAccessLogGroup: { name: "ApiAccessLogGroup", pattern: "^[A-Za-z0-9_/.#-]{0,512}$" },
  leakPolicy: { name: "LeakPolicy", values: ["disable", "delete"] },
  gitHubReports: { name: "GitHubReports", values: ["true", "false"] },
  gitHubKeysUrl: { name: "GitHubKeysUrl", pattern: "^https://[^\\s@]{1,500}$" },
  maxRemovedUsers: { name: "MaxRemovedUsers", min: 1, max: 1000000 },
  userRemovalPattern: { name: "UserRemovalPattern" },
  userRemovalBus: { name: "UserRemovalBus" },
  userRemovalWorkspacePath: { name: "UserRemovalWorkspacePath", pattern: "^\\$\\.[A-Za-z0-9_.$-]+$" },
  userRemovalUserPath: { name: "UserRemovalUserPath", pattern: "^\\$\\.[A-Za-z0-9_.$-]+$" },
  userRemovalInput: { name: "UserRemovalInput" },
  eventBusName: { name: "EventBusName", pattern: "^[A-Za-z0-9._/-]{1,256}$" },
  lifecycleCheckMinutes: { name: "LifecycleCheckMinutes", min: 2, max: 60 },
  authorizerCaches: { name: "AuthorizerCaches", list: true },
  stageName: { name: "StageName", pattern: "^[A-Za-z0-9_-]{1,128}$" },
  throttleRate: { name: "ThrottleRate", min: 1, max: 10000 },
  throttleBurst: { name: "ThrottleBurst", min: 1, max: 5000 },
  corsAllowOrigins: { name: "CorsAllowOrigins", maxLength: 900, pattern: "^$|^\\*$|^https?://[a-z0-9.:\\[\\]-]+(,https?://[a-z0-9.:\\[\\]-]+){0,19}$" },
  consoleEnabled: { name: "ConsoleEnabled", values: ["true", "false"] },
  consoleUrl: { name: "ConsoleUrl", maxLength: 256, pattern: "^$|^https?://[A-Za-z0-9.:/_~-]*[A-Za-z0-9_~-]$" },
  consoleClientId: { name: "ConsoleClientId", maxLength: 256, pattern: "^[A-Za-z0-9._~:/@-]*$" },
  consoleAuthorizationEndpoint: { name: "ConsoleAuthorizationEndpoint", maxLength: 512, pattern: "^$|^https?://[A-Za-z0-9.:/_~%-]+$" },
  consoleTokenEndpoint: { name: "ConsoleTokenEndpoint", maxLength: 512, pattern: "^$|^https?://[A-Za-z0-9.:/_~%-]+$" },
  consoleScope: { name: "ConsoleScope", maxLength: 512, pattern: "^[!#-\\[\\]-~]+( [!#-\\[\\]-~]+)*$" },
  consoleResource: { name: "ConsoleResource", maxLength: 512, pattern: "^$|^[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9.:/_~%@?=&-]+$" },
  consoleFrameAncestors: { name: "ConsoleFrameAncestors", maxLength: 900, pattern: "^$|^https?://[a-z0-9.:-]+(,https?://[a-z0-9.:-]+){0,19}$" },
  domainName: { name: "DomainName", maxLength: 253, pattern: "^$|^[a-z0-9-]+(\\.[a-z0-9-]+)+$" },
  certificateArn: { name: "CertificateArn", maxLength: 256, pattern: "^$|^arn:[a-z-]+:acm:[a-z0-9-]+:[0-9]{12}:certificate/[A-Za-z0-9-]+$" },
  tlsPolicy: { name: "TlsPolicy", values: ["", "SecurityPolicy_TLS13_1_2_2021_06", "SecurityPolicy_TLS13_1_2_PQ_2025_09", "SecurityPolicy_TLS13_1_2_PFS_PQ_2025_09", "SecurityPolicy_TLS13_1_2_FIPS_PQ_2025_09", "SecurityPolicy_TLS13_1_3_2025_09", "SecurityPolicy_TLS13_1_3_FIPS_2025_09"] },
  webAclArn: { name: "WebAclArn", maxLength: 512, pattern: "^$|^arn:[a-z-]+:wafv2:[a-z0-9-]+:[0-9]{12}:regional/webacl/[A-Za-z0-9_-]+/[A-Za-z0-9-]+$" },
  manageApiGatewayAccount: { name: "ManageApiGatewayAccount", values: ["true", "false"] },
  gradualDeployment: { name: "GradualDeployment", values: ["true", "false"] },
  deletionProtection: { name: "DeletionProtection", values: ["true", "false"] },
  pepperVersions: { name: "PepperVersions", pattern: "^[1-9][0-9]{0,8}$", list: true },
  currentPepperVersion: { name: "CurrentPepperVersion", min: 1, max: 999999999 },
  pepperReplicaRegions: { name: "PepperReplicaRegions", list: true },
  pepperReplicaArn: { name: "PepperReplicaArn", maxLength: 256, pattern: "^$|^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$" },
  permissionsBoundaryArn: { name: "PermissionsBoundaryArn", maxLength: 1024, pattern: "^$|^arn:[a-z-]+:iam::([0-9]{12}|aws):policy/[A-Za-z0-9_+=,.@/-]+$" },
  rolePath: { name: "RolePath", maxLength: 512, pattern: "^/([A-Za-z0-9_+=,.@-]+/)*$" },
  tableKmsKeyArn: { name: "TableKmsKeyArn", maxLength: 256, pattern: "^$|^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$" },
  logsKmsKeyArn: { name: "LogsKmsKeyArn", maxLength: 256, pattern: "^$|^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$" },
  subnetIds: { name: "SubnetIds", pattern: "(subnet-[0-9a-z]+(,subnet-[0-9a-z]+)*)?" },
  securityGroupIds: { name: "SecurityGroupIds", pattern: "(sg-[0-9a-z]+(,sg-[0-9a-z]+)*)?" },
  logLevel: { name: "LogLevel", values: ["error", "warn", "info", "debug"] },
  logRetentionDays: { name: "LogRetentionDays", values: ["1", "3", "5", "7", "14", "30", "60", "90", "120", "150", "180", "365", "400", "545", "731", "1096", "1827", "2192", "2557", "2922", "3288", "3653"] },
  alarmTopicArn: { name: "AlarmTopicArn", pattern: "^$|^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_.-]+$" },
  dashboard: { name: "Dashboard", values: ["true", "false"] },
  xRayTracing: { name: "XRayTracing", values: ["true", "false"] },
};
