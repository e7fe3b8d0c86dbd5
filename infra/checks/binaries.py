"""What `sam build` made: one bootstrap for each function, and one that Lambda can start.

Amazon Linux 2023 has glibc 2.34. A binary linked against a younger one builds, deploys, and
fails at its first start.
"""

import re
import sys
from pathlib import Path

from samtranslator.yaml_helper import yaml_parse

TOP = Path(__file__).parents[2]
GLIBC = (2, 34)
MACHINES = {62: "x86_64", 183: "arm64"}


def fault(path, architecture):
    """What is wrong with the file, or nothing."""
    if not path.is_file():
        return "was not built"
    content = path.read_bytes()
    if content[:4] != b"\x7fELF":
        return "is no program"
    machine = MACHINES.get(int.from_bytes(content[18:20], "little"))
    if machine != architecture:
        return f"is for {machine}, not {architecture}"
    if not path.stat().st_mode & 0o111:
        return "may not be executed"
    wanted = max((tuple(map(int, version)) for version in re.findall(rb"GLIBC_(\d+)\.(\d+)", content)), default=(0, 0))
    if wanted > GLIBC:
        return "needs glibc {}.{}, and Lambda has {}.{}".format(*wanted, *GLIBC)
    return None


def main():
    template = yaml_parse((TOP / "template.yaml").read_text())
    architecture = template["Parameters"]["Architecture"]["Default"]
    functions = [name for name, it in template["Resources"].items() if it["Type"] == "AWS::Serverless::Function"]
    faults = []
    for name in functions:
        path = TOP / ".aws-sam" / "build" / name / "bootstrap"
        what = fault(path, architecture)
        if what:
            faults.append(f"binaries: {path.relative_to(TOP)} {what}")
        else:
            print(f"binaries: {name} {path.stat().st_size / 1_048_576:.1f} MiB")
    if faults or not functions:
        sys.exit("\n".join(faults) or "binaries: the template has no function")


if __name__ == "__main__":
    main()
