"""What the template must say beside its roles, and no linter asks.

    template.py               looks at the template
    template.py --self-test   also spoils it in memory, each promise in turn, and sees that it is noticed

It works offline.
"""

import copy
import sys
from pathlib import Path

from samtranslator.yaml_helper import yaml_parse

TOP = Path(__file__).parents[2]
# Every status that CloudFront keeps and lets a template say how long.
ERRORS = [400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504]
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


CHECKS = [check_caching]


def check(template):
    for one in CHECKS:
        one(template)


def distribution(template):
    return template["Resources"]["Distribution"]["Properties"]["DistributionConfig"]


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
