"""Translates the templates as AWS does: reads short tags, puts the included document in, and applies the SAM transform.

translate.py FOLDER

Writes into the folder the merged template (keygate.json) and the example stacks (examples.json, oauth-cloudfront.json)
as SAM translates them, with the parameters' defaults. The scanners read these, because they have every resource that is
created, the stages of the APIs too.
"""

from __future__ import annotations

import copy
import json
import logging
import sys
from pathlib import Path
from unittest import mock

import yaml
from samtranslator.translator.managed_policy_translator import ManagedPolicyLoader
from samtranslator.translator.transform import transform

import merge

# It reports what it does with metrics, which are of no interest here.
logging.getLogger("samtranslator").setLevel(logging.ERROR)

EXAMPLES = merge.INFRA / "examples" / "template.yaml"
OAUTH_CLOUDFRONT = merge.INFRA / "examples" / "oauth-cloudfront.yaml"


class LongFormLoader(yaml.SafeLoader):
    """Reads a template with short tags as CloudFormation does: `!Ref Name` is {"Ref": "Name"}."""


def long_form(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    if isinstance(node, yaml.MappingNode):
        return {name: loader.construct_mapping(node, deep=True)}
    value = loader.construct_scalar(node)
    return {name: value.split(".", 1) if suffix == "GetAtt" else value}


LongFormLoader.add_multi_constructor("!", long_form)


def main() -> int:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    templates = {"keygate": merged()}
    for name, path in (("examples", EXAMPLES), ("oauth-cloudfront", OAUTH_CLOUDFRONT)):
        templates[name] = load(path.read_text(encoding="utf-8"))
    for name, template in templates.items():
        translated = with_metadata_of_stages(translation(template))
        (folder / f"{name}.json").write_text(json.dumps(translated, indent=1), encoding="utf-8")
    return 0


def with_metadata_of_stages(template: dict) -> dict:
    """Copies the metadata of each REST API to its stages: SAM makes both of one resource, and only the API gets it."""
    resources = template["Resources"]
    for resource in resources.values():
        if resource["Type"] == "AWS::ApiGateway::Stage":
            metadata = resources[resource["Properties"]["RestApiId"]["Ref"]].get("Metadata", {})
            resource["Metadata"] = metadata | resource.get("Metadata", {})
    return template


def load(text: str) -> dict:
    return yaml.load(text, Loader=LongFormLoader)


def merged() -> dict:
    """The merged template with what it includes."""
    template = load(merge.merged_template(merge.FRAGMENTS))
    document = load(merge.import_document(merge.OPENAPI.read_text(encoding="utf-8")))
    template["Resources"]["ManagementApi"]["Properties"]["DefinitionBody"] = document
    return template


def translation(template: dict, **parameters: str) -> dict:
    """What SAM makes of a template, with its parameters' defaults but for those given."""
    defaults = {name: str(each.get("Default", "")) for name, each in template["Parameters"].items()}
    template = copy.deepcopy(template)
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            # As `sam package` does.
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    # Nothing in the template refers to AWS's managed policies by their short names.
    policies = mock.Mock(spec=ManagedPolicyLoader, **{"load.return_value": {}})
    with mock.patch.dict("os.environ", AWS_DEFAULT_REGION="us-east-1"):
        return transform(template, defaults | parameters, policies)


if __name__ == "__main__":
    sys.exit(main())
