"""Pin the allow-list: ``python -m node_service.image.lock`` writes `requirements.lock` anew.

Needs uv. The lock holds every version that may be taken, for every machine, with its hashes, and
names no package index.
"""

import subprocess
import sys

from node_service.image.recipe import DEFAULT, PYTHON, AllowList


def main() -> None:
    """Resolve the allow-list and write the lock."""
    wanted = AllowList.load().wanted
    lines = "".join(f"{name}{version}\n" for name, version in wanted.items())
    done = subprocess.run(
        [
            "uv", "pip", "compile", "-", "--universal", "--python-version", PYTHON,
            "--only-binary", ":all:", "--generate-hashes",
            "--no-emit-index-url", "--no-header", "--no-annotate", "--quiet",
        ],
        input=lines, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        sys.exit(done.returncode)
    (DEFAULT / "requirements.lock").write_text(done.stdout)


if __name__ == "__main__":
    main()
