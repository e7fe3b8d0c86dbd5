"""What each function's role allows, read from the template, against what the function calls.

    roles.py                  prints the grants of every role
    roles.py --self-test      proves that a missing and a surplus grant are both seen
    roles.py RECORDING.json   compares them with recorded calls, both ways, exactly

A recording holds the calls to DynamoDB, by function: the action, the table, and the index of a
Query on one. A call inside a transaction counts under the action that IAM asks for: a Put as PutItem,
an Update as UpdateItem, a ConditionCheck as ConditionCheckItem, a Get as GetItem.

    {"console": [["dynamodb:PutItem", "core"], ["dynamodb:Query", "core", "by_owner"]]}

It works offline. The linters let a misspelt action pass, so this looks each one up as well.
"""

import copy
import json
import logging
import os
import re
import sys
from pathlib import Path

import botocore.session
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

TEMPLATE = Path(__file__).parents[2] / "template.yaml"
TABLES = {"CoreTable": "core", "LedgerTable": "ledger"}
# The one managed policy that SAM gives every function, to write its log.
LOGS = "AWSLambdaBasicExecutionRole"
# Actions that have no operation of their own in the SDK.
ONLY_IN_IAM = {"ConditionCheckItem", "PartiQLInsert", "PartiQLUpdate", "PartiQLDelete", "PartiQLSelect"}
# What roles hold beside the tables: the signing keys for all, failed runs for payout.
BESIDE = {"ssm:GetParameter": None, "sqs:SendMessage": {"payout"}}


class Wrong(Exception):
    """The template or the recording cannot be read as promised; the text says where."""


def expanded(source):
    """The CloudFormation that SAM makes of the template, with the roles."""
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    logging.getLogger("samtranslator").setLevel(logging.ERROR)  # It would tell of its own metrics.
    template = copy.deepcopy(source)
    # SAM takes code only from a bucket; which one does not matter to a role.
    template["Globals"]["Function"]["CodeUri"] = "s3://offline/code"
    policies = {LOGS: f"arn:aws:iam::aws:policy/service-role/{LOGS}"}
    return Translator(policies, Parser()).translate(template, parameter_values={})["Resources"]


def grants(source):
    """By function: the set of (action, table) and (action, table, index) that its role allows."""
    resources = expanded(source)
    found = {}
    for name, resource in resources.items():
        if resource["Type"] != "AWS::Lambda::Function":
            continue
        function = source["Resources"][name]["Metadata"]["BuildProperties"]["Binary"]
        role = resources[resource["Properties"]["Role"]["Fn::GetAtt"][0]]["Properties"]
        managed = [arn.rpartition("/")[2] for arn in role.get("ManagedPolicyArns", [])]
        if managed != [LOGS]:
            raise Wrong(f"the role of {function} has the managed policies {managed}, not only {LOGS}")
        found[function] = allowed(function, role.get("Policies", []))
    return found


def allowed(function, policies):
    tables, beside = set(), set()
    for policy in policies:
        for statement in listed(policy["PolicyDocument"]["Statement"]):
            if statement["Effect"] != "Allow" or not {"Action", "Resource"} <= statement.keys():
                raise Wrong(f"{function}: only statements of Allow, Action and Resource are read here")
            for action in listed(statement["Action"]):
                known(function, action)
                if action.startswith("dynamodb:"):
                    tables |= {(action, *place(function, arn)) for arn in listed(statement["Resource"])}
                else:
                    beside.add(action)
    expected = {action for action, only in BESIDE.items() if only is None or function in only}
    if beside != expected:
        raise Wrong(f"{function}: beside the tables it has {sorted(beside)}, not {sorted(expected)}")
    return tables


def known(where, action):
    service, _, operation = action.partition(":")
    operations = set(botocore.session.get_session().get_service_model(service).operation_names)
    if operation not in operations | ONLY_IN_IAM:
        raise Wrong(f"{where}: there is no action {action}")


def place(function, arn):
    """A table or one index of it, in the two forms that the template uses."""
    match arn:
        case {"Fn::GetAtt": [table, "Arn"] | (table, "Arn")} if table in TABLES:
            return (TABLES[table],)
        case {"Fn::Sub": str(text)}:
            parts = re.fullmatch(r"\$\{(\w+)\.Arn\}/index/([a-z_]+)", text)
            if parts and parts[1] in TABLES:
                return (TABLES[parts[1]], parts[2])
    raise Wrong(f"{function}: {json.dumps(arn)} is neither a table nor an index of one")


def listed(value):
    return value if isinstance(value, list) else [value]


def check_denials(source, found):
    """The ledger's own policy must deny what would change an entry, and no role may have it."""
    [statement] = source["Resources"]["LedgerTable"]["Properties"]["ResourcePolicy"]["PolicyDocument"]["Statement"]
    must = {"UpdateItem", "DeleteItem", "BatchWriteItem", "PartiQLInsert", "PartiQLUpdate", "PartiQLDelete"}
    denied = set(statement["Action"])
    if (statement["Effect"], statement["Principal"]) != ("Deny", "*") or denied != {f"dynamodb:{a}" for a in must}:
        raise Wrong(f"LedgerTable: its policy must deny everyone exactly {sorted(must)}")
    for function, grants_of in found.items():
        for action in sorted(denied & {grant[0] for grant in grants_of if grant[1] == "ledger"}):
            raise Wrong(f"{function}: has {action} on ledger, which the ledger denies to everyone")


def check_watch(source):
    """Whatever changes an entry must reach the queue, by a role that allows this and nothing else."""
    watch, role = (source["Resources"][name]["Properties"] for name in ("LedgerWatch", "LedgerWatchRole"))
    stream, queue = attribute("LedgerTable", "StreamArn"), attribute("LedgerChanges", "Arn")
    filters = [json.loads(it["Pattern"]) for it in watch["SourceParameters"]["FilterCriteria"]["Filters"]]
    ends = [watch["Source"], watch["Target"], watch["RoleArn"]]
    if ends != [stream, queue, attribute("LedgerWatchRole", "Arn")] or filters != [{"eventName": ["MODIFY", "REMOVE"]}]:
        raise Wrong("LedgerWatch: it must take every MODIFY and REMOVE of the ledger's stream to LedgerChanges")
    allowed = [
        (statement["Effect"], action, statement["Resource"])
        for policy in role["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
        for action in listed(statement["Action"])
    ]
    must = [("Allow", f"dynamodb:{action}", stream) for action in ("DescribeStream", "GetRecords", "GetShardIterator")]
    must += [("Allow", "dynamodb:ListStreams", "*"), ("Allow", "sqs:SendMessage", queue)]
    if allowed != must:
        raise Wrong(f"LedgerWatchRole: it must allow exactly {[action for _, action, _ in must]}, each where it is needed")


def attribute(resource, name):
    return {"Fn::GetAtt": [resource, name]}


def differences(found, recorded):
    """One line for each grant that is missing or surplus; none if both agree."""
    lines = [f"{name}: was recorded, but the template has no such function" for name in recorded.keys() - found.keys()]
    for function, grants_of in found.items():
        calls = {tuple(call) for call in recorded.get(function, [])}
        lines += [f"{function}: MISSING {said(call)}: called, but its role does not allow it" for call in calls - grants_of]
        lines += [f"{function}: SURPLUS {said(grant)}: allowed, but never called" for grant in grants_of - calls]
    return sorted(lines)


def said(grant):
    return f"{grant[0]} on {'/'.join(grant[1:])}"


def self_test(source, found):
    """Takes each grant away and adds one to each function, in memory, and sees every one of them."""
    recording = {function: sorted(map(list, grants_of)) for function, grants_of in found.items()}
    worlds = [("the template's own recording", found, recording, [])]
    surplus = ("dynamodb:BatchGetItem", "core")
    for function, grants_of in found.items():
        for grant in grants_of:
            expected = [f"{function}: MISSING {said(grant)}: called, but its role does not allow it"]
            worlds.append((f"{function} without {said(grant)}", {**found, function: grants_of - {grant}}, recording, expected))
        expected = [f"{function}: SURPLUS {said(surplus)}: allowed, but never called"]
        worlds.append((f"{function} with {said(surplus)}", {**found, function: grants_of | {surplus}}, recording, expected))
    expected = ["nobody: was recorded, but the template has no such function"]
    worlds.append(("an unknown function", found, {**recording, "nobody": []}, expected))
    for what, roles, calls, expected in worlds:
        if differences(roles, calls) != expected:
            raise Wrong(f"self-test: {what} gave {differences(roles, calls)}, not {expected}")

    spoilt_actions = ["dynamodb:PutItems", "dynamodb:*", "dynamodb:Put*"]
    for action in spoilt_actions:
        spoilt = copy.deepcopy(source)
        spoilt["Resources"]["Redirect"]["Properties"]["Policies"][0]["Statement"][0]["Action"] = action
        try:
            grants(spoilt)
        except Wrong:
            continue
        raise Wrong(f"self-test: {action} passed for an action")
    return len(worlds) - 1 + len(spoilt_actions)


def main(arguments):
    source = yaml_parse(TEMPLATE.read_text())
    found = grants(source)
    check_denials(source, found)
    check_watch(source)
    match arguments:
        case []:
            for function, grants_of in found.items():
                print(f"{function}:", *sorted(map(said, grants_of)), sep="\n  ")
        case ["--self-test"]:
            print(f"roles: {self_test(source, found)} spoilt roles and recordings, all of them seen")
        case [path] if not path.startswith("-"):
            lines = differences(found, json.loads(Path(path).read_text()))
            if lines:
                raise Wrong("\n".join(lines))
            print(f"roles: all {sum(map(len, found.values()))} grants of {len(found)} functions are called, and no other")
        case _:
            raise Wrong("usage: roles.py [--self-test | RECORDING.json]")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (Wrong, OSError, ValueError) as problem:
        print(f"roles: {problem}", file=sys.stderr)
        sys.exit(1)
