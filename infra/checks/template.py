"""What the template must say beside its roles, and no linter asks.

    template.py               looks at the template
    template.py --self-test   also spoils it in memory, each promise in turn, and sees that it is noticed

It works offline.
"""

import copy
import re
import sys
from pathlib import Path

from samtranslator.yaml_helper import yaml_parse

TOP = Path(__file__).parents[2]
SCHEMA = TOP / "shared/src/store/schema.rs"
STACK = TOP / "infra/local/src/stack.rs"
# Every status that CloudFront keeps and lets a template say how long.
ERRORS = [400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504]
# Whom CloudFront asks for what: the first that fits. Nothing answers payment files yet.
ROUTES = [
    ("/r/*", "redirect"),
    ("/i/*", "redirect"),
    ("/postback*", "postback"),
    ("/api/v1/payout-runs*", "payout"),
    ("/api/v1/payouts*", "payout"),
    ("/api/v1/payment-files*", "payout"),
    ("/api/v1/adjustments*", "payout"),
    ("/api/v1/reports*", "report"),
    ("/api/v1/periods*", "report"),
    ("/api/v1/statements*", "report"),
    ("/api/*", "console"),
]
# What a schedule's event says, as the functions read it.
EVENT = '{"scheduled_time": "<aws.scheduler.scheduled-time>"}'
CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"


class Wrong(Exception):
    """The template breaks a promise; the text says which."""


def check_caching(template):
    """Nothing that one visitor is answered is shown to another, errors least of all."""
    distribution = template["Resources"]["Distribution"]["Properties"]["DistributionConfig"]
    kept = {it["ErrorCode"]: it for it in distribution.get("CustomErrorResponses", [])}
    if sorted(kept) != ERRORS:
        raise Wrong(f"Distribution: its CustomErrorResponses must name exactly {ERRORS}")
    for code, response in kept.items():
        # Without a time it would be five minutes; with a page of its own, the problem's JSON would be lost.
        if response != {"ErrorCode": code, "ErrorCachingMinTTL": 0}:
            raise Wrong(f"Distribution: errors with {code} must be kept for 0 s, and left as they are")
    for behavior in [distribution["DefaultCacheBehavior"], *distribution["CacheBehaviors"]]:
        if behavior["CachePolicyId"] != CACHING_DISABLED:
            raise Wrong(f"Distribution: {behavior.get('PathPattern', 'the rest')} must have the policy CachingDisabled")


def check_tables(template):
    """The tables are those that the code reads and writes, and what the tests make for themselves."""
    indexes, expiry = in_the_code()
    for name, indexes, expiry in [("CoreTable", indexes, expiry), ("LedgerTable", {}, None)]:
        table = template["Resources"][name]["Properties"]
        keys = [("pk", "sk"), *indexes.values()]
        must = {
            "KeySchema": key_schema("pk", "sk"),
            "AttributeDefinitions": [
                {"AttributeName": attribute, "AttributeType": "S"} for pair in keys for attribute in pair
            ],
            "GlobalSecondaryIndexes": [
                {"IndexName": index, "KeySchema": key_schema(*pair), "Projection": {"ProjectionType": "ALL"}}
                for index, pair in indexes.items()
            ],
            "TimeToLiveSpecification": expiry and {"AttributeName": expiry, "Enabled": True},
        }
        for property, value in must.items():
            if table.get(property) != (value or None):
                raise Wrong(f"{name}: its {property} must be {value or 'left out'}, as in {SCHEMA.relative_to(TOP)}")


def in_the_code():
    """The core table's indexes by name, and the attribute by which it drops what has ended."""
    source = SCHEMA.read_text()
    listed = re.search(r"pub const CORE_INDEXES: [^=]*= \[(.*?)\];", source, re.DOTALL)
    expiry = re.search(r'pub const EXPIRES_AT: &str = "(\w+)";', source)
    if not listed or not expiry or '("pk".to_owned(), AttributeValue::S(self.pk' not in source:
        raise Wrong(f"{SCHEMA.relative_to(TOP)} spells its keys, indexes or expiry in a way that is not read here")
    indexes = re.findall(r'\("(\w+)", "(\w+)", "(\w+)"\)', listed[1])
    return {index: (pk, sk) for index, pk, sk in indexes}, expiry[1]


def key_schema(pk, sk):
    return [{"AttributeName": pk, "KeyType": "HASH"}, {"AttributeName": sk, "KeyType": "RANGE"}]


def check_protection(template):
    """No table goes with its stack, by a slip of the hand, or past the last weeks' backups."""
    for name in ["CoreTable", "LedgerTable"]:
        of_table, policies = properties(template, name), template["Resources"][name]
        for policy in ["DeletionPolicy", "UpdateReplacePolicy"]:
            if policies.get(policy) != "Retain":
                raise Wrong(f"{name}: its {policy} must be Retain")
        if of_table.get("DeletionProtectionEnabled") is not True:
            raise Wrong(f"{name}: its DeletionProtectionEnabled must be true")
        if of_table.get("PointInTimeRecoverySpecification") != {"PointInTimeRecoveryEnabled": True}:
            raise Wrong(f"{name}: its PointInTimeRecoverySpecification must be enabled")


def check_routes(template):
    """Each path leads to the function that answers it, as on one machine."""
    of_distribution = distribution(template)
    behaviors = [(it["PathPattern"], it["TargetOriginId"]) for it in of_distribution["CacheBehaviors"]]
    if behaviors != ROUTES or of_distribution["DefaultCacheBehavior"]["TargetOriginId"] != "console":
        raise Wrong(f"Distribution: its CacheBehaviors must be {ROUTES}, in this order, and console answers the rest")
    origins = {it["Id"]: it["DomainName"] for it in of_distribution["Origins"]}
    for function in ["redirect", "postback", "payout", "report", "console"]:
        address = {"Fn::GetAtt": [f"{function.capitalize()}Url", "FunctionUrl"]}
        if origins.get(function) != {"Fn::Select": [2, {"Fn::Split": ["/", address]}]}:
            raise Wrong(f"Distribution: its origin {function} must be {function.capitalize()}Url's host")
    source = STACK.read_text()
    for function in ["payout", "report"]:
        listed = re.search(rf"const {function.upper()}: [^=]*= \[(.*?)\];", source, re.DOTALL)
        paths = re.findall(r'"([^"]+)"', listed[1]) if listed else []
        if not paths or any((f"{path}*", function) not in ROUTES for path in paths):
            raise Wrong(f"{STACK.relative_to(TOP)}: what {function} answers there, {paths}, is not what CloudFront asks it")


def check_schedules(template):
    """A schedule's event says which day it is for."""
    for name in ["Payout", "Report"]:
        given = properties(template, name)["Events"]["Daily"]["Properties"].get("Input")
        if given != EVENT:
            raise Wrong(f"{name}: the Input of its schedule must be {EVENT}")


def check_public_url(template):
    """The output that PublicUrl is to be may be given as it is, and nothing that a link cannot go on from."""
    pattern = template["Parameters"]["PublicUrl"]["AllowedPattern"]
    function = "https://abcdefghijklmnopqrstuvwxyz012345.lambda-url.eu-central-1.on.aws"
    for text, may_be in [
        ("", True),
        (function, True),
        (f"{function}/", True),
        (f"{function}//", False),
        (f"{function}/r", False),
        (f"{function}/?a=b", False),
        (f"{function}#a", False),
        (function.replace("https", "http"), False),
    ]:
        if bool(re.search(pattern, text)) != may_be:
            raise Wrong(f"PublicUrl: its AllowedPattern must {'take' if may_be else 'refuse'} `{text}`")


def check_floods(template):
    """What bounds a flood reaches what it is to bound, and is left out where nothing was asked for."""
    web_acl = distribution(template).get("WebACLId")
    bounds = [("Distribution: its WebACLId", web_acl, "HasWebAcl", "WebAclArn", "")]
    for name in ["Redirect", "Console"]:
        bound = properties(template, name).get("ReservedConcurrentExecutions")
        parameter = f"{name}Concurrency"
        bounds.append((f"{name}: its ReservedConcurrentExecutions", bound, f"Has{parameter}", parameter, 0))
    for what, bound, condition, parameter, nothing in bounds:
        if bound != {"Fn::If": [condition, {"Ref": parameter}, {"Ref": "AWS::NoValue"}]}:
            raise Wrong(f"{what} must be {parameter} where {condition} holds, and else left out")
        is_given = {"Fn::Not": [{"Fn::Equals": [{"Ref": parameter}, nothing]}]}
        if template["Conditions"][condition] != is_given or template["Parameters"][parameter]["Default"] != nothing:
            raise Wrong(f"{condition} must hold unless {parameter} is {nothing!r}, its default")


CHECKS = [
    check_caching,
    check_tables,
    check_protection,
    check_routes,
    check_schedules,
    check_public_url,
    check_floods,
]


def check(template):
    for one in CHECKS:
        one(template)


def distribution(template):
    return template["Resources"]["Distribution"]["Properties"]["DistributionConfig"]


def properties(template, name):
    return template["Resources"][name]["Properties"]


def public_url(template):
    return template["Parameters"]["PublicUrl"]


# What may go wrong, by what it is called: each is done to a copy of the template.
SPOILT = {
    "no word on errors": lambda it: distribution(it).pop("CustomErrorResponses"),
    "no word on 503": lambda it: distribution(it)["CustomErrorResponses"].remove(
        {"ErrorCode": 503, "ErrorCachingMinTTL": 0}
    ),
    "errors for a second": lambda it: distribution(it)["CustomErrorResponses"][0].update(ErrorCachingMinTTL=1),
    "errors for the default time": lambda it: distribution(it)["CustomErrorResponses"][0].pop("ErrorCachingMinTTL"),
    "a page in place of 404": lambda it: distribution(it)["CustomErrorResponses"][2].update(ResponsePagePath="/404"),
    "links that are cached": lambda it: distribution(it)["CacheBehaviors"][0].update(CachePolicyId="another"),
    "a core table without an index": lambda it: properties(it, "CoreTable")["GlobalSecondaryIndexes"].pop(),
    "an index of another name": lambda it: properties(it, "CoreTable")["GlobalSecondaryIndexes"][0].update(
        IndexName="by_merchant"
    ),
    "an index by another key": lambda it: properties(it, "CoreTable")["GlobalSecondaryIndexes"][0].update(
        KeySchema=key_schema("affiliate_pk", "owner_sk")
    ),
    "an index that holds keys only": lambda it: properties(it, "CoreTable")["GlobalSecondaryIndexes"][1].update(
        Projection={"ProjectionType": "KEYS_ONLY"}
    ),
    "a number for a key": lambda it: properties(it, "LedgerTable")["AttributeDefinitions"][1].update(AttributeType="N"),
    "a ledger without a sort key": lambda it: properties(it, "LedgerTable")["KeySchema"].pop(),
    "clicks that are kept for ever": lambda it: properties(it, "CoreTable").pop("TimeToLiveSpecification"),
    "an expiry by another attribute": lambda it: properties(it, "CoreTable")["TimeToLiveSpecification"].update(
        AttributeName="expires"
    ),
    "an expiry that is off": lambda it: properties(it, "CoreTable")["TimeToLiveSpecification"].update(Enabled=False),
    "a ledger that expires": lambda it: properties(it, "LedgerTable").update(
        TimeToLiveSpecification={"AttributeName": "expires_at", "Enabled": True}
    ),
    "a PublicUrl without its slash only": lambda it: public_url(it).update(AllowedPattern="^(https://[^/?#]+)?$"),
    "a PublicUrl with a path": lambda it: public_url(it).update(AllowedPattern="^(https://.+)?$"),
    "a ledger that goes with its stack": lambda it: it["Resources"]["LedgerTable"].update(DeletionPolicy="Delete"),
    "a core table that goes when it is replaced": lambda it: it["Resources"]["CoreTable"].pop("UpdateReplacePolicy"),
    "a ledger that anybody may delete": lambda it: properties(it, "LedgerTable").pop("DeletionProtectionEnabled"),
    "a ledger without backups": lambda it: properties(it, "LedgerTable")["PointInTimeRecoverySpecification"].update(
        PointInTimeRecoveryEnabled=False
    ),
    "adjustments that console is asked for": lambda it: distribution(it)["CacheBehaviors"].pop(6),
    "a path for everything first": lambda it: distribution(it)["CacheBehaviors"].reverse(),
    "payouts that report is asked for": lambda it: distribution(it)["CacheBehaviors"][4].update(TargetOriginId="report"),
    "two functions under one name": lambda it: distribution(it)["Origins"][0].update(
        DomainName=distribution(it)["Origins"][1]["DomainName"]
    ),
    "a schedule that does not say its day": lambda it: properties(it, "Payout")["Events"]["Daily"]["Properties"].update(
        Input='{"scheduled_time": "<aws.scheduler.scheduled>"}'
    ),
    "a web ACL that nothing has": lambda it: distribution(it).pop("WebACLId"),
    "a web ACL that is always asked for": lambda it: distribution(it).update(WebACLId={"Ref": "WebAclArn"}),
    "redirect without its instances": lambda it: properties(it, "Redirect").pop("ReservedConcurrentExecutions"),
    "console bound by redirect's number": lambda it: properties(it, "Console").update(
        ReservedConcurrentExecutions=properties(it, "Redirect")["ReservedConcurrentExecutions"]
    ),
    "console that is bound by default": lambda it: it["Parameters"]["ConsoleConcurrency"].update(Default=5),
    "a PublicUrl that is never left out": lambda it: public_url(it).update(AllowedPattern="^https://[^/?#]+/?$"),
}


def self_test(template):
    for what, spoil in SPOILT.items():
        spoilt = copy.deepcopy(template)
        spoil(spoilt)
        try:
            check(spoilt)
        except Wrong:
            continue
        raise Wrong(f"self-test: {what} passed")
    return len(SPOILT)


def main(arguments):
    template = yaml_parse((TOP / "template.yaml").read_text())
    check(template)
    match arguments:
        case []:
            print(f"template: it keeps its {len(CHECKS)} promises")
        case ["--self-test"]:
            print(f"template: it keeps its {len(CHECKS)} promises; {self_test(template)} spoilt ones, all of them seen")
        case _:
            raise Wrong("usage: template.py [--self-test]")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (Wrong, OSError, ValueError) as problem:
        print(f"template: {problem}", file=sys.stderr)
        sys.exit(1)
