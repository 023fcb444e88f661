// What is done to the packaged template before it becomes a part of a CDK stack. All of it is on plain JSON.

import { Token } from 'aws-cdk-lib';
import { KeygateParameters, PARAMETERS, ParameterDefinition } from './parameters';

export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json };
export type JsonObject = { [name: string]: Json };

/** The packaged template, with the sections that are read here. */
export interface Template {
  readonly Parameters: { readonly [name: string]: { readonly Type: string; readonly Default?: string | number } };
  readonly Rules: { readonly [name: string]: Rule };
  readonly Conditions: JsonObject;
  readonly Resources: { readonly [name: string]: JsonObject };
  readonly Outputs: { readonly [name: string]: JsonObject };
  readonly [section: string]: unknown;
}

interface Rule {
  readonly RuleCondition?: Json;
  readonly Assertions: ReadonlyArray<{ readonly Assert: Json; readonly AssertDescription: string }>;
}

/** The value of each parameter of the template, as its type says. A number that is known later is a text. */
export type Values = { readonly [name: string]: string | number | readonly string[] };

/** Conditions and rules compare values with texts. One that is known at the deployment alone is none of these, and not empty. */
const KNOWN_LATER = 'known at the deployment';

/**
 * The values of all parameters: those that are set, and the defaults of the others.
 *
 * @throws if a value is not one that the template allows.
 */
export function parameterValues(template: Template, parameters: KeygateParameters): Values {
  const set = new Map<string, string | readonly string[]>();
  for (const [property, value] of Object.entries(parameters)) {
    const definition = PARAMETERS[property as keyof KeygateParameters] as ParameterDefinition | undefined;
    if (!definition) {
      throw new Error(`Keygate has no parameter ${property}`);
    }
    if (value !== undefined) {
      set.set(definition.name, checked(definition, value));
    }
  }
  for (const name of set.keys()) {
    if (!(name in template.Parameters)) {
      throw new Error(`the package has no parameter ${name}: package and keygate-cdk must have the same version`);
    }
  }
  return Object.fromEntries(
    Object.entries(template.Parameters).map(([name, { Type, Default }]) => {
      const standard = String(Default ?? '');
      const value = set.get(name) ?? (Type === 'CommaDelimitedList' ? split(standard) : standard);
      return [name, Type === 'Number' && !Token.isUnresolved(value) ? Number(value) : value];
    }),
  );
}

/** CloudFormation makes a list with one empty text of an empty text. */
function split(list: string): string[] {
  return list.split(',');
}

function checked(
  definition: ParameterDefinition,
  value: string | number | boolean | readonly string[],
): string | readonly string[] {
  if (Array.isArray(value)) {
    const elements = value.length ? value.map(String) : [''];
    elements.forEach((element) => check(definition, element));
    return elements;
  }
  if (Token.isUnresolved(value)) {
    return typeof value === 'number' ? Token.asString(value) : String(value);
  }
  check(definition, String(value));
  return String(value);
}

/** The checks of CloudFormation, which sees no parameter of a stack of the CDK. */
function check(definition: ParameterDefinition, value: string): void {
  if (Token.isUnresolved(value)) {
    return;
  }
  const { name, pattern, values, min, max, maxLength } = definition;
  const fail = (allowed: string): never => {
    throw new Error(`${name} must be ${allowed}, not \`${value}\``);
  };
  if (values && !values.includes(value)) {
    fail(`one of ${values.join(', ')}`);
  }
  if (min !== undefined && !(Number(value) >= min)) {
    fail(`at least ${min}`);
  }
  if (max !== undefined && !(Number(value) <= max)) {
    fail(`at most ${max}`);
  }
  if (maxLength !== undefined && value.length > maxLength) {
    fail(`at most ${maxLength} characters long`);
  }
  if (pattern !== undefined && !new RegExp(`^(?:${pattern})$`).test(value)) {
    fail(`a text that matches ${pattern}`);
  }
}

/**
 * Checks the rules of the template, which CloudFormation would check on parameters.
 *
 * @throws with the text of the first rule that is broken.
 */
export function checkRules(template: Template, values: Values): void {
  for (const { RuleCondition, Assertions } of Object.values(template.Rules)) {
    if (RuleCondition !== undefined && !holds(RuleCondition, values)) {
      continue;
    }
    for (const { Assert, AssertDescription } of Assertions) {
      if (!holds(Assert, values)) {
        throw new Error(AssertDescription);
      }
    }
  }
}

/** The conditions of the template, each with whether it is true. */
export type Conditions = { readonly [name: string]: boolean };

export function conditionValues(template: Template, values: Values): Conditions {
  return Object.fromEntries(
    Object.entries(template.Conditions).map(([name, condition]) => [
      name,
      holds(condition, values, template.Conditions),
    ]),
  );
}

/** Whether an expression of a rule or a condition is true. */
function holds(expression: Json, values: Values, conditions: JsonObject = {}): boolean {
  const [operator, argument] = single(expression);
  if (operator === 'Condition') {
    return holds(conditions[String(argument)]!, values, conditions);
  }
  const operands = argument as readonly Json[];
  switch (operator) {
    case 'Fn::And':
      return operands.every((operand) => holds(operand, values, conditions));
    case 'Fn::Or':
      return operands.some((operand) => holds(operand, values, conditions));
    case 'Fn::Not':
      return !holds(operands[0]!, values, conditions);
    case 'Fn::Equals':
      return valueOf(operands[0]!, values) === valueOf(operands[1]!, values);
    case 'Fn::Contains':
      return listOf(operands[0]!, values).includes(valueOf(operands[1]!, values));
    default:
      throw new Error(`the template has the unknown function ${operator} in a rule or a condition`);
  }
}

function single(expression: Json): [string, Json] {
  const [entry, ...others] = Object.entries(expression as JsonObject);
  if (!entry || others.length) {
    throw new Error(`the template has a rule or a condition that is no function: ${JSON.stringify(expression)}`);
  }
  return entry;
}

function listOf(operand: Json, values: Values): readonly string[] {
  const list = typeof operand === 'object' && operand && 'Ref' in operand ? values[String(operand.Ref)] : operand;
  return (Array.isArray(list) ? list : [list]).map((element) => known(String(element)));
}

function valueOf(operand: Json, values: Values): string {
  if (typeof operand === 'object' && operand && 'Fn::Join' in operand) {
    const [separator, list] = operand['Fn::Join'] as [string, Json];
    return listOf(list, values).join(separator);
  }
  const value = typeof operand === 'object' && operand && 'Ref' in operand ? values[String(operand.Ref)] : operand;
  if (typeof value !== 'string' && typeof value !== 'number') {
    throw new Error(`a rule or a condition of the template compares ${JSON.stringify(operand)}, which is no parameter`);
  }
  return known(String(value));
}

function known(value: string): string {
  return Token.isUnresolved(value) ? KNOWN_LATER : value;
}

/** The section without the entries whose condition is false, and without conditions. */
export function selected(section: { readonly [name: string]: JsonObject }, conditions: Conditions): typeof section {
  return Object.fromEntries(
    Object.entries(section)
      .filter(([, { Condition }]) => Condition === undefined || conditions[String(Condition)])
      .map(([name, { Condition: _condition, ...entry }]) => [name, entry]),
  );
}

/** The value with every reference to a parameter replaced by its value, and every Fn::If by the branch that is taken. */
export function withValues(value: Json, values: Values, conditions: Conditions): Json {
  if (Array.isArray(value)) {
    return value.map((element: Json) => withValues(element, values, conditions)).filter((each) => !isNoValue(each));
  }
  if (typeof value !== 'object' || value === null) {
    return value;
  }
  const object = value as JsonObject;
  if (typeof object.Ref === 'string' && Object.keys(object).length === 1) {
    return (values[object.Ref] as Json | undefined) ?? object;
  }
  if ('Fn::If' in object) {
    const [condition, whenTrue, whenFalse] = object['Fn::If'] as [string, Json, Json];
    if (!(condition in conditions)) {
      throw new Error(`the template has no condition ${condition}`);
    }
    return withValues(conditions[condition] ? whenTrue : whenFalse, values, conditions);
  }
  if ('Fn::Sub' in object) {
    return substituted(object['Fn::Sub']!, values, conditions);
  }
  return Object.fromEntries(
    Object.entries(object)
      // The values of environment variables are texts.
      .map(([name, member]): [string, Json] => [
        name,
        withValues(member, name === 'Variables' ? texts(values) : values, conditions),
      ])
      .filter(([, member]) => !isNoValue(member)),
  );
}

function texts(values: Values): Values {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, typeof value === 'number' ? String(value) : value]),
  );
}

/** Whether a value stands for none. */
function isNoValue(value: Json): boolean {
  return typeof value === 'object' && value !== null && 'Ref' in value && value.Ref === 'AWS::NoValue';
}

/** Fn::Sub with the values of parameters among its variables. */
function substituted(argument: Json, values: Values, conditions: Conditions): Json {
  const [text, variables] = (Array.isArray(argument) ? argument : [argument, {}]) as [string, JsonObject];
  const replaced = withValues(variables, values, conditions) as JsonObject;
  for (const [, name] of text.matchAll(/\$\{([A-Za-z0-9]+)\}/g)) {
    const value = values[name!];
    if (value !== undefined && !(name! in replaced)) {
      if (Array.isArray(value)) {
        throw new Error(`Fn::Sub has the list ${name}`);
      }
      replaced[name!] = String(value);
    }
  }
  return { 'Fn::Sub': Object.keys(replaced).length ? [text, replaced] : text };
}
